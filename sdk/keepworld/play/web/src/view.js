// The page of `keepworld view`.

import { $ } from "./dom.js";
import { lookAt, switchKey } from "./looking.js";

document.addEventListener("keydown", (event) => {
  if (switchKey(event)) event.preventDefault();
});
const viewer = await lookAt("/view/index.json", (file) => `/view/${file}`);
$("step-back").onclick = () => viewer?.step(-1);
$("step-on").onclick = () => viewer?.step(1);
$("view").focus();
