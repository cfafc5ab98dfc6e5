// The page from its sources: `npm ci && npm run build` writes ../static; `npm run check` says whether it is what these give.
import * as esbuild from "esbuild";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "static");

const built = await esbuild.build({
  absWorkingDir: here,
  entryPoints: ["src/main.js", "src/view.js"],
  outdir: target,
  bundle: true,
  splitting: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  entryNames: "[name]",
  chunkNames: "part-[hash]",
  legalComments: "none",
  charset: "utf8",
  write: false,
  logLevel: "warning",
});

const files = new Map(built.outputFiles.map((file) => [file.path.slice(target.length + 1), Buffer.from(file.contents)]));
for (const name of ["index.html", "view.html", "style.css", "icon.svg"]) {
  files.set(name, readFileSync(join(here, "src", name)));
}
const licences = ["three", "@sparkjsdev/spark", "fflate"].map((name) => {
  const folder = join(here, "node_modules", name);
  const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  return `${name} ${version}\n\n${readFileSync(join(folder, "LICENSE"), "utf8").trim()}\n`;
});
files.set("licences.txt", Buffer.from(`What the page holds besides our own code.\n\n${licences.join("\n\n")}`));

if (process.argv.includes("--check")) {
  const there = existsSync(target) ? readdirSync(target) : [];
  const other = [...files].filter(([name, data]) => !there.includes(name) || !readFileSync(join(target, name)).equals(data));
  const wrong = [...other.map(([name]) => name), ...there.filter((name) => !files.has(name))];
  if (wrong.length) {
    console.error(`static/ is not what src/ gives: ${wrong.join(", ")}; run npm run build`);
    process.exit(1);
  }
} else {
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target);
  for (const [name, data] of files) writeFileSync(join(target, name), data);
  for (const [name, data] of files) console.log(`${name}  ${(data.length / 1000).toFixed(1)} kB`);
}
