// node draw.mjs CHROMIUM JOBS.json: draws files in a headless browser, as "spark" or "three" reads them, and writes a PNG for each.
// A job is {reader, file, out, width, height, fovY, c2w}; one JSON object a line says how much the reader found, or its error.
import { createServer } from "node:http";
import { readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const here = dirname(fileURLToPath(import.meta.url));
const [browserPath, jobsPath] = process.argv.slice(2);
const jobs = JSON.parse(readFileSync(jobsPath));
const types = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };
const server = createServer((request, response) => {
  const path = new URL(request.url, "http://localhost").pathname;
  const job = /^\/job\/(\d+)\/([^/]+)$/.exec(path); // what lies beside a file is found there too: materials, textures
  const file = job ? join(dirname(jobs[job[1]].file), decodeURIComponent(job[2])) : join(here, normalize(path));
  try {
    const data = readFileSync(file);
    response.writeHead(200, { "content-type": types[extname(file)] ?? "application/octet-stream" }).end(data);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const root = `http://127.0.0.1:${server.address().port}`;
const browser = await chromium.launch({
  executablePath: browserPath,
  args: ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"],
});
try {
  for (const [number, job] of jobs.entries()) {
    const page = await browser.newPage();
    const errors = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    try {
      page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
      await page.goto(`${root}/${job.reader}_page.html`);
      await page.waitForFunction("window.ready", null, { timeout: 60000 });
      const asked = { ...job, folder: `/job/${number}/`, name: basename(job.file) };
      const { count, picture } = await page.evaluate((job) => window.draw(job), asked);
      writeFileSync(job.out, Buffer.from(picture.split(",")[1], "base64"));
      console.log(JSON.stringify({ file: job.file, count, errors }));
    } catch (error) {
      console.log(JSON.stringify({ file: job.file, errors: [...errors, String(error)] }));
    }
    await page.close();
  }
} finally {
  await browser.close();
  server.close();
}
