// Where a world begins: words, or a picture, or a video; the family, its size, a seed.

import { $, el, fill } from "./dom.js";

const EXAMPLES = [
  "meadow village with a windmill by a lake, summer morning",
  "mossy ruined abbey in a pine forest, morning fog",
  "desert with standing stones, sunset",
  "snowy mountains, a cottage by a frozen river, dusk",
  "coast with a lighthouse, storm",
];
const MAX_IMAGE_BYTES = 4e6;
const MAX_IMAGE_WIDTH = 1280;
const CLIP_FRAMES = 49;
const TAKES = { image: "takes_image", video: "takes_clip" };

export class Opening {
  constructor({ open, say }) {
    this.open = open;
    this.say = say;
    this.server = null;
    this.given = null; // "image" or "video", which the bridge has
    $("open-form").onsubmit = (event) => {
      event.preventDefault();
      this.submit();
    };
    $("vocabulary").ontoggle = () => $("words").scrollIntoView({ block: "nearest" });
    $("family").onchange = () => this.showFamily();
    $("given").onchange = (event) => this.give(event.target.files[0]);
    $("ungive").onclick = () => this.ungive();
    fill($("examples"), ...EXAMPLES.map((text) => el("button", { type: "button", className: "chip", onclick: () => this.use(text) }, text)));
    $("prompt").onkeydown = (event) => {
      if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        this.submit();
      }
    };
  }

  use(text) {
    $("prompt").value = text;
    $("prompt").focus();
  }

  offer(server) {
    const chosen = $("family").value;
    this.server = server;
    fill($("family"), ...server.families.map(({ name }) => el("option", { value: name }, name)));
    if (server.families.some(({ name }) => name === chosen)) $("family").value = chosen;
    this.showFamily();
    this.wait(false);
  }

  // Whether the bridge is at it.
  wait(isWaiting) {
    $("open").disabled = isWaiting;
    $("open").textContent = isWaiting ? "Opening…" : "Open the world";
  }

  get family() {
    return this.server.families.find(({ name }) => name === $("family").value);
  }

  showFamily() {
    const { family } = this;
    $("family-summary").textContent = family.summary;
    fill($("size"), ...family.sizes.map(([width, height], index) =>
      el("option", { value: `${width}x${height}`, selected: index === 0 }, `${width} × ${height}`)));
    fill($("mode"), ...Object.keys(family.modes).map((mode) => el("option", { value: mode }, mode)));
    $("prompt").maxLength = family.max_prompt_chars;
    const takes = [family.takes_image && "an image", family.takes_clip && "a video"].filter(Boolean);
    if (this.given && !family[TAKES[this.given]]) this.ungive();
    $("given").disabled = !takes.length;
    $("given").accept = [family.takes_image && "image/png,image/jpeg", family.takes_clip && "video/*"].filter(Boolean).join(",");
    $("drop").classList.toggle("cannot", !takes.length);
    $("drop-text").textContent = takes.length
      ? `or drop ${takes.join(" or ")} to begin with`
      : `${family.name} makes its worlds from words alone: it takes no image and no video`;
    const words = Object.entries(family.prompt_words);
    $("vocabulary").hidden = !words.length;
    fill($("words"), ...words.map(([heading, known]) =>
      el("p", {}, el("b", {}, heading), ...known.map((word) =>
        el("button", { type: "button", className: "chip", onclick: () => this.append(word) }, word)))));
  }

  append(word) {
    const before = $("prompt").value.trimEnd();
    $("prompt").value = before ? `${before}, ${word}` : word;
  }

  async give(file) {
    if (!file) return;
    const kind = file.type.split("/")[0];
    const wrong = this.whyNot(file.name, kind);
    if (wrong) return this.say(wrong, "wrong");
    this.ungive();
    this.showGiven(`Reading ${file.name}…`);
    try {
      await (kind === "image" ? this.giveImage(file) : this.giveClip(file, $("size").value.split("x").map(Number)));
      this.given = kind;
      this.showGiven(file.name);
    } catch (error) {
      this.ungive();
      this.say(`${file.name}: ${error.message}`, "wrong");
    }
  }

  // Why a world cannot begin with such a file; null if it can.
  whyNot(name, kind) {
    const takes = TAKES[kind];
    if (!takes) return `${name} is neither an image nor a video.`;
    if (this.family[takes]) return null;
    const others = this.server.families.filter((family) => family[takes]).map((family) => family.name);
    return `${this.family.name} takes no ${kind} to begin with${others.length ? `; ${others.join(" and ")} would` : ""}.`;
  }

  showGiven(text) {
    $("given-name").textContent = text;
    $("given-row").hidden = false;
  }

  async giveImage(file) {
    let data = file;
    if (file.size > MAX_IMAGE_BYTES || !["image/png", "image/jpeg"].includes(file.type)) {
      const picture = await createImageBitmap(file);
      const scale = Math.min(1, MAX_IMAGE_WIDTH / picture.width);
      const canvas = new OffscreenCanvas(Math.ceil(picture.width * scale), Math.ceil(picture.height * scale));
      canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
      data = await canvas.convertToBlob({ type: "image/png" });
    }
    await post("/image", data);
  }

  // The browser reads the video: what is sent are pixels, and nothing behind it has to open a file.
  async giveClip(file, [width, height]) {
    const video = el("video", { muted: true, src: URL.createObjectURL(file), preload: "auto" });
    await new Promise((done, fail) => {
      video.onloadeddata = done;
      video.onerror = () => fail(new Error("this browser cannot read that video"));
    });
    if (!Number.isFinite(video.duration)) await seek(video, 1e6); // what was recorded live does not say how long it is
    const duration = Number.isFinite(video.duration) ? video.duration : video.currentTime;
    const { fps } = this.family;
    const most = Math.min(CLIP_FRAMES, this.server.asset_frames, Math.floor(duration * fps));
    const number = Math.max(1, most - ((most - 1) % 4)); // a latent holds four frames, and the first its own
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const body = new Uint8Array(12 + number * width * height * 3);
    new DataView(body.buffer).setUint32(0, number, true);
    new DataView(body.buffer).setUint32(4, height, true);
    new DataView(body.buffer).setUint32(8, width, true);
    const scale = Math.max(width / video.videoWidth, height / video.videoHeight);
    const [w, h] = [video.videoWidth * scale, video.videoHeight * scale];
    for (let frame = 0, to = 12; frame < number; frame += 1) {
      await seek(video, Math.max(0, duration - (number - frame - 0.5) / fps)); // at a frame's edge it may be either one
      this.showGiven(`Reading ${file.name}: ${frame + 1} of ${number} frames`);
      context.drawImage(video, (width - w) / 2, (height - h) / 2, w, h);
      const { data } = context.getImageData(0, 0, width, height);
      for (let from = 0; from < data.length; from += 4) {
        body[to] = data[from];
        body[to + 1] = data[from + 1];
        body[to + 2] = data[from + 2];
        to += 3;
      }
    }
    URL.revokeObjectURL(video.src);
    await post("/clip", body);
  }

  ungive() {
    this.given = null;
    $("given").value = "";
    $("given-row").hidden = true;
  }

  submit() {
    const seed = $("seed").value.trim();
    this.wait(true);
    this.open({
      do: "open",
      model: $("family").value,
      prompt: $("prompt").value.trim(),
      seed: seed === "" ? null : Number(seed),
      size: $("size").value.split("x").map(Number),
      mode: $("mode").value,
      begins: { image: "image", video: "clip" }[this.given] ?? "words",
    });
  }
}

// "seeked" may come before the picture does. No picture comes to a page that nobody sees, so that it is not waited for long.
async function seek(video, seconds) {
  const painted = new Promise((done) => video.requestVideoFrameCallback?.(done) ?? done());
  await new Promise((done) => {
    video.onseeked = done;
    video.currentTime = seconds;
  });
  await Promise.race([painted, new Promise((done) => setTimeout(done, 1000))]);
}

async function post(path, body) {
  const answer = await fetch(path, { method: "POST", body });
  if (!answer.ok) throw new Error((await answer.text()).trim() || `The studio answered ${answer.status}.`);
}
