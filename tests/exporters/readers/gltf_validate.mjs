// node gltf_validate.mjs FILE...: what Khronos' validator says of each, as one JSON object a line.
import { readFileSync } from "node:fs";
import { validateBytes } from "gltf-validator";

for (const file of process.argv.slice(2)) {
  const report = await validateBytes(new Uint8Array(readFileSync(file)), { maxIssues: 10000 });
  console.log(JSON.stringify({ file, messages: report.issues.messages }));
}
