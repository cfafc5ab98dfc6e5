// The viewer with its switches, wherever it is shown: in the studio beside the walk, or on a page of its own.

import { $, el, fill } from "./dom.js";

let viewer = null;

export async function lookAt(address, at) {
  $("view-wait").hidden = false;
  $("view-wait").textContent = "Loading…";
  try {
    const { Viewer } = await import("./viewer.js");
    viewer ??= new Viewer($("view"), {});
    const items = await viewer.load(address, at);
    fill($("switches"), ...items.map((item, index) =>
      el("label", { className: "choice" },
        el("input", { type: "checkbox", checked: item.object.visible, onchange: (event) => viewer.show(item, event.target.checked) }),
        el("span", {}, item.title), el("small", {}, `${item.count}${index < 9 ? `  ${index + 1}` : ""}`))));
    $("view-wait").hidden = true;
    $("view").dataset.ready = String(items.length);
  } catch (error) {
    $("view-wait").textContent = `It cannot be shown: ${error.message}`;
  }
  return viewer;
}

export function switchKey(event) {
  const number = Number(event.key) - 1;
  const box = $("switches").querySelectorAll("input")[number];
  if (!(number >= 0) || !box || event.ctrlKey || event.metaKey || event.altKey) return false;
  box.click();
  return true;
}
