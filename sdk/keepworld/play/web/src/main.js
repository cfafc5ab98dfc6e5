// The studio's page: what comes over the line goes to the parts that show it, what people do goes back.

import { $, el, fill } from "./dom.js";
import { canH264 } from "./frames.js";
import { Hands } from "./hands.js";
import { Keep } from "./keep.js";
import { Latency } from "./latency.js";
import { lookAt, switchKey } from "./looking.js";
import { WalkMap } from "./map.js";
import { Opening } from "./opening.js";
import { usePads } from "./pads.js";
import { Stage } from "./stage.js";
import { Talk } from "./talk.js";
import { Timeline, chunks, growLine, showLines } from "./timeline.js";

const SILENT_MS = 1500;
const TOAST_MS = 6000;
const MOST_IDLE = 180; // chunks, two minutes in real time: then a world that nobody is at waits, and costs nobody anything

const latency = new Latency();
const stage = new Stage($("stage"), {
  painted: (frame, now) => {
    latency.shown(frame, now);
    if (awaiting) unveil();
  },
  fail: (text) => say(text, "wrong"),
});
const map = new WalkMap($("map"));
const timeline = new Timeline($("timeline"), { choose: showChosen });
const hands = new Hands({
  send: (control, at) => {
    if (at !== null) {
      touch();
      latency.input(control.serial, at);
    }
    talk.send(control);
  },
  owed: showOwed,
});
const keep = new Keep({ send: (content) => talk.send(content), look: showResult });
const opening = new Opening({
  open: (content) => talk.send(content),
  say,
});
let world = { line: null, lines: [], snapshots: [], paused: false };
let server = null;
let heard = 0;
let slow = false; // the server cannot keep to the clock
let line = "connecting";
let hidden = false;
let choosing = false; // another world, beside the one that is open
let goesOn = false; // if none is chosen
let awaiting = false; // the first picture of a world
let idle = 0; // chunks since somebody did something
let rests = false; // because nobody did

const does = {
  server(content) {
    server = content;
    opening.offer(content);
    keep.offer(content.keeps);
  },
  world(content) {
    const isOther = content.line?.id !== world.line?.id || content.line?.chunks < world.line?.notes.length;
    world = content;
    opening.wait(false);
    if (world.line && isOther) {
      choosing = false;
      awaiting = !world.paused && !world.line.notes.length;
      if (String(stage.size) !== String(world.line.size)) stage.resize(world.line.size);
      else stage.clear();
    }
    latency.begin();
    if (world.line) hands.begin(world.line);
    else hands.world = null;
    map.reset(world.line);
    timeline.reset(world.line, world.snapshots);
    showWorld();
  },
  chunk(content) {
    const { steered, cells, share, slow: isSlow, ...note } = content;
    slow = isSlow;
    timeline.add(note);
    growLine(timeline.notes.length);
    map.note(note);
    map.see(cells);
    showShare(share);
    $("chunk").textContent = `${Math.round(note.ms)} ms`;
    if (timeline.chosen === null) showChosen(null);
    if (steered) latency.steered(steered);
    idle += 1;
    if (idle === MOST_IDLE && $("record").getAttribute("aria-pressed") !== "true") {
      rests = true;
      talk.send({ do: "pause", away: true });
    }
  },
  receipt({ text, chunk, used, ignored }) {
    timeline.wait(text, chunk);
    const words = ignored.length ? ` — not understood: ${ignored.join(", ")}` : "";
    say(`“${text}” begins with chunk ${chunk}${used.length ? ` (${used.join(", ")})` : ""}${words}`, "event");
  },
  wrong({ text, about }) {
    say(text, "wrong");
    if (about === "open") opening.wait(false);
  },
  slow: ({ text }) => say(text),
  stopped({ text }) {
    world.paused = true;
    awaiting = false;
    veil(text, "Go on");
  },
  keeping: (content) => keep.progress(content),
  kept: (content) => keep.done(content),
  unkept: ({ text }) => keep.failed(text),
};

const talk = new Talk({
  message: (content) => does[content.is]?.(content),
  frame: (buffer, arrived) => {
    heard = arrived;
    const frame = stage.take(buffer, arrived);
    hands.saw(frame);
    map.frame(frame);
  },
  state: async (now) => {
    line = now;
    if (now === "open") talk.send({ do: "hello", h264: await canH264() });
    if (now === "gone") veil("The line to the studio broke. Trying again…");
    if (now === "over") veil("This run of the studio has ended. Open the link that the terminal shows now.");
    if (now === "elsewhere") veil("The studio is open in another tab.", "Take it back here", () => location.reload());
  },
});

// What is shown

function showWorld() {
  const { line: here, paused } = world;
  $("opening").hidden = Boolean(here) && !choosing;
  $("open-cancel").hidden = !here;
  $("title").textContent = here ? `${here.prompt || "(no words)"} · ${here.model} · seed ${here.seed}` : "";
  document.title = here?.prompt ? `${here.prompt} — keepworld` : "keepworld";
  for (const id of ["pause", "undo", "branch", "snapshot", "record", "keep", "event", "event-send", "new"]) $(id).disabled = !here;
  $("pause").firstChild.textContent = paused ? "Go on " : "Pause ";
  const isRecording = Boolean(here?.takes.length && here.takes.at(-1)[1] === null);
  $("record").setAttribute("aria-pressed", String(isRecording));
  $("record").lastChild.textContent = isRecording ? "Stop recording" : "Record";
  $("pads").hidden = !here || !matchMedia("(pointer: coarse)").matches;
  fill($("reading"),
    ...(here?.used ?? []).map((word) => el("span", { className: "word", title: "understood" }, word)),
    ...(here?.ignored ?? []).map((word) => el("span", { className: "word ignored", title: "not understood, left out" }, word)));
  const phrases = server?.families.find(({ name }) => name === here?.model)?.event_phrases ?? {};
  fill($("phrases"), ...Object.values(phrases).flat().map((value) => el("option", { value })));
  showShare(here?.share ?? 0);
  showLines(world, (content) => talk.send(content));
  if (here && paused) veil(rests ? "Nobody has moved for a while: the world waits." : "Paused. The world waits as it is.", "Go on");
  else if (awaiting) veil("The first pictures are being made…");
  else if (line === "open") unveil();
  const keys = here?.axes.includes("move_down") ? "W A S D R F fly" : "W A S D walk";
  $("hint").textContent = here ? `${keys} · arrows or mouse look (click) · Shift runs · Enter: an event` : "";
}

function showShare(share) {
  $("share").textContent = world.line ? `${Math.round(share * 100)} % seen from three sides` : "";
}

function veil(text, button = null, act = () => talk.send({ do: "go" })) {
  $("veil").hidden = false;
  $("veil-text").textContent = text;
  $("veil-go").hidden = button === null;
  $("veil-go").textContent = button ?? "";
  $("veil-go").onclick = act;
}

function unveil() {
  awaiting = false;
  $("veil").hidden = true;
}

function say(text, kind = "") {
  const toast = el("p", { className: kind }, text);
  $("toasts").append(toast);
  while ($("toasts").children.length > 4) $("toasts").firstChild.remove();
  setTimeout(() => toast.remove(), TOAST_MS);
}

function showOwed([yaw, pitch]) {
  const reticle = $("reticle");
  reticle.hidden = Math.hypot(yaw, pitch) < 0.02;
  const { clientWidth: width } = $("stage");
  const far = width / 2 / Math.tan(0.65); // the angle at which the picture ends, about
  const at = (angle, most) => Math.max(-most, Math.min(most, Math.tan(Math.max(-1.2, Math.min(1.2, angle))) * far));
  reticle.style.transform = `translate(${at(yaw, width * 0.47)}px, ${-at(pitch, width * 0.25)}px)`;
}

function showChosen(chunk, note) {
  const text = $("timeline-text");
  if (chunk === null || !note) {
    const number = timeline.notes.length;
    return fill(text, number ? `${chunks(number)}. Choose one to go back to it or to branch from it.` : "");
  }
  const back = timeline.notes.length - chunk;
  fill(text,
    el("span", {}, `Chunk ${chunk}, ${note.ms} ms${note.events.length ? `: ${note.events.join(", ")}` : ""}`),
    el("button", { onclick: () => talk.send({ do: "undo", chunks: back }) }, "Go back to before it"),
    el("button", { onclick: () => talk.send({ do: "branch", at: chunk }) }, "Branch from here"));
}

async function showResult({ id }) {
  $("looking").hidden = false;
  if (world.line && !world.paused) talk.send({ do: "pause" });
  await lookAt(`/kept/${encodeURIComponent(id)}/view-index.json`, (file) => `/kept/${encodeURIComponent(id)}/view-${file}`);
  $("view").focus();
}

function showReadings() {
  const now = performance.now();
  const isWalking = world.line && !world.paused;
  const state = line !== "open" ? ["bad", "no line to the studio"]
    : !world.line ? ["good", "ready"]
    : world.paused ? ["good", "paused"]
    : now - heard > SILENT_MS ? ["busy", "waiting for the server"]
    : slow ? ["busy", "walking slower than real time"]
    : ["good", "walking"];
  $("state").className = state[0];
  $("state").lastChild.textContent = state[1];
  $("fps").textContent = isWalking ? stage.rate(now).toFixed(1) : "–";
  const [p50, p95, ours] = [latency.quantile(0.5), latency.quantile(0.95), latency.quantile(0.95, "rest")];
  $("latency").textContent = p50 === null ? "–" : `${Math.round(p50)} / ${Math.round(p95)} ms`;
  $("ours").textContent = ours === null ? "–" : `${Math.round(ours)} ms`;
  map.draw();
}

// What people do

function touch() {
  if (rests && world.paused) talk.send({ do: "go" });
  [idle, rests] = [0, false];
}
for (const kind of ["keydown", "pointerdown", "mousemove"]) document.addEventListener(kind, touch);

const isTyping = (target) => target.matches?.("input:not([type=checkbox]), textarea, select") || $("keep-dialog").open;
const commands = {
  KeyP: () => $("pause").click(), Backspace: () => $("undo").click(), KeyB: () => $("branch").click(), KeyN: () => $("snapshot").click(),
  KeyK: () => $("keep").click(), Enter: () => $("event").focus(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || !$("opening").hidden) return;
  if (!$("looking").hidden) {
    if (event.code === "Escape") $("back").click();
    else if (switchKey(event)) event.preventDefault();
    return;
  }
  const isButton = event.target.matches?.("button, a, summary") && ["Enter", "Space"].includes(event.code);
  if (!world.line || isButton || (event.target === $("timeline") && event.code.startsWith("Arrow"))) return;
  if (!event.repeat && commands[event.code]) {
    commands[event.code]();
    event.preventDefault();
  } else if (hands.key(event.code, true, event.timeStamp)) {
    event.preventDefault();
    $("hint").classList.add("gone");
  }
});
document.addEventListener("keyup", (event) => hands.key(event.code, false, event.timeStamp));

$("stage").onclick = () => {
  $("stage").focus();
  if (world.line && !world.paused && matchMedia("(pointer: fine)").matches) $("stage").requestPointerLock?.()?.catch?.(() => {});
};
document.addEventListener("mousemove", (event) => {
  if (document.pointerLockElement === $("stage")) hands.look(event.movementX, event.movementY, event.timeStamp);
});
document.addEventListener("pointerlockchange", () => document.pointerLockElement || hands.owe([0, 0]));
document.addEventListener("visibilitychange", () => {
  if (document.hidden && world.line && !world.paused) {
    hidden = true;
    talk.send({ do: "pause", away: true });
  } else if (!document.hidden && hidden) {
    hidden = false;
    talk.send({ do: "go" });
  }
});
usePads(hands);

$("event-form").onsubmit = (event) => {
  event.preventDefault();
  const text = $("event").value.trim();
  if (!text) return;
  talk.send({ do: "event", text });
  $("event").value = "";
  $("stage").focus();
};
$("event").onkeydown = (event) => {
  if (event.code === "Escape") $("stage").focus();
};
$("pause").onclick = () => talk.send({ do: world.paused ? "go" : "pause" });
$("undo").onclick = () => talk.send({ do: "undo", chunks: 1 });
$("branch").onclick = () => talk.send({ do: "branch", at: timeline.notes.length });
$("snapshot").onclick = () => talk.send({ do: "snapshot", name: "" });
$("record").onclick = () => talk.send({ do: "record", on: $("record").getAttribute("aria-pressed") !== "true" });
$("keep").onclick = () => keep.show(world.line, timeline.notes.length);
function choose() {
  if (!world.line || choosing) return;
  choosing = true;
  goesOn = !world.paused;
  if (goesOn) talk.send({ do: "pause" });
  $("opening").hidden = false;
  $("prompt").focus();
}
$("new").onclick = choose;
$("open-cancel").onclick = () => {
  choosing = false;
  if (goesOn) talk.send({ do: "go" });
  showWorld();
  $("stage").focus();
};
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("opening").classList.add("over");
});
document.addEventListener("dragleave", () => $("opening").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("opening").classList.remove("over");
  choose();
  opening.give(event.dataTransfer.files[0]);
});
window.addEventListener("gamepadconnected", () => say("Gamepad: the left stick walks, the right one looks, A runs."));
$("back").onclick = () => {
  $("looking").hidden = true;
  talk.send({ do: "go" });
  $("stage").focus();
};
setInterval(showReadings, 500);
showWorld();
$("prompt").focus();

// For those who measure: what the page has counted.
window.keepworld = {
  stage, latency, hands, talk, timeline, map,
  get world() {
    return world;
  },
  get slow() {
    return slow;
  },
};
