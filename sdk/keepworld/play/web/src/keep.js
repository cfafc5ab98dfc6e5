// Keeping: what of the walk, as what, how well, for which program; how far it is; and what came of it.

import { $, bytes, el, fill } from "./dom.js";

const KINDS = { splats: "Splats", mesh: "Mesh", points: "Points", film: "Film" };
const QUALITIES = { quick: "Quick — a minute or two", standard: "Standard — many minutes", final: "Final — up to an hour" };
const TARGETS = { "as it is": "Any program", unity: "Unity", unreal: "Unreal", blender: "Blender", godot: "Godot", web: "Web" };

export class Keep {
  constructor({ send, look }) {
    this.send = send;
    this.look = look;
    this.line = null;
    $("keep-form").onsubmit = (event) => {
      event.preventDefault();
      this.begin();
    };
    $("keep-cancel").onclick = () => $("keep-dialog").close();
    $("keep-stop").onclick = () => send({ do: "unkeep" });
    $("result-look").onclick = () => this.look(this.result);
    $("keep-hide").onclick = () => ($("keeping").hidden = true);
  }

  offer({ kinds, qualities, targets, why_not: whyNot }) {
    fill($("kinds"), ...kinds.map((kind) =>
      el("label", { className: "choice" }, el("input", { type: "checkbox", name: "kind", value: kind, checked: kind === "splats" || kind === "mesh" }), KINDS[kind] ?? kind)));
    fill($("quality"), ...qualities.map((name) => el("option", { value: name }, QUALITIES[name] ?? name)));
    fill($("target"), ...targets.map((name) => el("option", { value: name }, TARGETS[name] ?? name)));
    this.whyNot = whyNot;
    $("keep-why").textContent = whyNot ?? "";
    $("keep-begin").disabled = Boolean(whyNot);
  }

  show(line, chunks) {
    this.line = line;
    this.chunks = chunks;
    const takes = line.takes.map(([first, last], index) =>
      el("option", { value: `${first} ${last ?? chunks}` }, `Take ${index + 1}: chunks ${first} to ${(last ?? chunks) - 1}`));
    fill($("stretch"), ...takes.reverse(), el("option", { value: `0 ${chunks}` }, `The whole walk: ${chunks} chunks`));
    $("keep-depth").hidden = line.has_depth;
    $("keep-dialog").showModal();
  }

  begin() {
    const kinds = [...document.querySelectorAll("#kinds input:checked")].map((input) => input.value);
    if (!kinds.length) {
      $("keep-why").textContent = "Choose at least one kind of file.";
      return;
    }
    const [first, last] = $("stretch").value.split(" ").map(Number);
    this.send({ do: "keep", kinds, quality: $("quality").value, target: $("target").value, first, last });
    $("keep-dialog").close();
    this.progress({ stage: "beginning", share: 0 });
  }

  progress({ stage, share, left_s: left }) {
    $("keeping").hidden = false;
    $("keep-done").hidden = true;
    $("keep-running").hidden = false;
    $("keep-bar").value = share;
    $("keep-stage").textContent = `${Math.round(share * 100)} % · ${stage}${left ? ` · about ${Math.ceil(left)} s of this part left` : ""}`;
  }

  done(result) {
    this.result = result;
    $("keeping").hidden = false;
    $("keep-running").hidden = true;
    $("keep-done").hidden = false;
    $("result-look").hidden = false;
    const { psnr } = result.metrics;
    $("keep-headline").textContent = psnr
      ? `Kept from ${result.frames} frames. Read back, the splats show held-out frames at ${psnr.toFixed(1)} dB.`
      : `Kept from ${result.frames} frames.`;
    fill($("downloads"), ...result.files.map(({ name, bytes: size }, index) =>
      el("a", { href: `/kept/${encodeURIComponent(result.id)}/${encodeURIComponent(name)}`, download: name, className: index ? "file" : "file first" },
        el("span", {}, name), el("small", {}, bytes(size)))));
  }

  failed(text) {
    $("keeping").hidden = false;
    $("keep-running").hidden = true;
    $("keep-done").hidden = false;
    $("result-look").hidden = true;
    $("keep-headline").textContent = text;
    fill($("downloads"));
  }
}
