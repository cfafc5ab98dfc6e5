// The walk in time: its chunks, what happened with them, where it branched, snapshots, and what is recorded.

import { $, el, fill, sized } from "./dom.js";

const WIDEST = 18;
const TOP = 20;

export class Timeline {
  constructor(canvas, { choose }) {
    this.canvas = canvas;
    this.choose = choose;
    this.line = null;
    this.notes = [];
    this.snapshots = [];
    this.waiting = []; // events that have been taken and have not begun
    this.chosen = null;
    canvas.onpointerdown = (event) => this.select(this.chunkAt(event.offsetX), true);
    canvas.onkeydown = (event) => this.key(event);
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  reset(line, snapshots) {
    this.line = line;
    this.notes = line?.notes ?? [];
    this.snapshots = snapshots;
    this.waiting = this.waiting.filter(({ chunk }) => chunk >= this.notes.length);
    if (this.chosen !== null && this.chosen >= this.notes.length) this.select(null);
    this.draw();
  }

  add(note) {
    this.notes[note.index] = note;
    this.waiting = this.waiting.filter(({ chunk }) => chunk > note.index);
    this.draw();
  }

  wait(text, chunk) {
    this.waiting.push({ text, chunk });
    this.draw();
  }

  select(chunk, isByHand = false) {
    this.chosen = chunk === null || chunk < 0 || chunk >= this.notes.length ? null : chunk;
    const { canvas } = this;
    canvas.setAttribute("aria-valuemax", String(Math.max(0, this.notes.length - 1)));
    canvas.setAttribute("aria-valuenow", String(this.chosen ?? Math.max(0, this.notes.length - 1)));
    canvas.setAttribute("aria-valuetext", this.chosen === null ? "the present" : `chunk ${this.chosen}`);
    this.choose(this.chosen, this.notes[this.chosen ?? -1], isByHand);
    this.draw();
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.code];
    if (event.code === "Escape") this.select(null);
    else if (event.code === "Home") this.select(0);
    else if (event.code === "End") this.select(null);
    else if (step) this.select(Math.max(0, Math.min(this.notes.length - 1, (this.chosen ?? this.notes.length) + step)));
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  get step() {
    const ahead = Math.max(0, ...this.waiting.map(({ chunk }) => chunk + 1 - this.notes.length));
    return Math.min(WIDEST, this.canvas.clientWidth / Math.max(1, this.notes.length + 1 + ahead));
  }

  chunkAt(x) {
    return Math.floor(x / this.step);
  }

  draw() {
    const { context, width, height } = sized(this.canvas);
    if (!width) return;
    const { step } = this;
    const bottom = height - 12;
    const slowest = 1000 * ((this.line?.chunk_frames ?? 16) / (this.line?.fps ?? 24));
    context.font = "11px system-ui, sans-serif";
    context.fillStyle = "#20252e";
    context.fillRect(0, bottom + 3, width, 1);
    this.notes.forEach((note, index) => {
      const part = Math.max(0.15, Math.min(1, note.ms / slowest));
      const tall = (bottom - TOP) * part;
      const isShared = index < (this.line?.start ?? 0);
      context.fillStyle = index === this.chosen ? "#7cc4ff" : isShared ? "#3a4250" : "#566274";
      context.fillRect(index * step, bottom - tall, Math.max(1, step - (step > 4 ? 2 : 0)), tall);
    });
    if (this.line?.parent !== null && this.line?.start) this.flag(context, this.line.start * step, "#9aa6b6", "branch", bottom, 0);
    for (const [first, last] of this.line?.takes ?? []) {
      context.fillStyle = "#ff7a7a";
      context.fillRect(first * step, bottom + 5, ((last ?? this.notes.length) - first) * step - 1, 4);
    }
    this.notes.forEach((note, index) => {
      if (note.events.length) this.mark(context, index * step, "#ffb454", note.events.join(", "), bottom, step, index);
    });
    for (const { text, chunk } of this.waiting) this.mark(context, chunk * step, "#7d6a45", text, bottom, step, chunk);
    for (const { line, chunks } of this.snapshots) {
      if (line === this.line?.id || chunks <= (this.line?.start ?? 0)) this.flag(context, chunks * step, "#6fcf97", "⚑", bottom, 1);
    }
  }

  mark(context, x, colour, text, bottom, step, index) {
    context.fillStyle = colour;
    context.fillRect(x, TOP - 4, 2, bottom - TOP + 4);
    const later = this.notes.findIndex((note, at) => at > index && note.events.length);
    const room = later < 0 ? this.canvas.clientWidth - x : (later - index) * step;
    const short = fit(context, text, room - 8);
    if (short) context.fillText(short, x + 5, TOP - 7);
  }

  // A line with a sign beside it, before the chunks; those of another `row` do not hide it.
  flag(context, x, colour, sign, bottom, row) {
    const top = TOP + 14 * row;
    context.fillStyle = "#14181f";
    context.fillRect(x, top, context.measureText(sign).width + 5, 13);
    context.fillStyle = colour;
    context.fillRect(x - 1, TOP - 2, 1.5, bottom - TOP + 6);
    context.fillText(sign, x + 3, top + 10);
  }
}

// The lines of the world and its snapshots, as buttons.
export function showLines(world, send) {
  const lines = world.lines.map((line) =>
    el("li", { className: line.id === world.line?.id ? "here" : "" },
      el("button", { className: "name", onclick: () => send({ do: "line", id: line.id }), disabled: line.id === world.line?.id },
        el("span", {}, line.prompt || "(no words)"),
        el("small", {}, line.parent === null ? `seed ${line.seed} · ` : `branch at chunk ${line.start} · `, el("span", { className: "chunks" }, chunks(line.chunks)))),
      el("button", { className: "quiet", title: "Close this line", "aria-label": `Close ${line.prompt}`, onclick: () => send({ do: "drop", id: line.id }) }, "×")));
  const snapshots = world.snapshots.map((snapshot) =>
    el("li", {},
      el("button", { className: "name", onclick: () => send({ do: "jump", snapshot: snapshot.id }) },
        el("span", {}, `⚑ ${snapshot.name}`), el("small", {}, `after chunk ${snapshot.chunks}`))));
  fill($("lines"), ...lines, ...snapshots);
  $("lines-empty").hidden = lines.length + snapshots.length > 0;
}

// The line that is walked has become longer.
export function growLine(count) {
  const text = $("lines").querySelector(".here .chunks");
  if (text) text.textContent = chunks(count);
}

export const chunks = (count) => `${count} ${count === 1 ? "chunk" : "chunks"}`;

function fit(context, text, room) {
  if (room < 14) return "";
  if (context.measureText(text).width <= room) return text;
  let short = text;
  while (short && context.measureText(`${short}…`).width > room) short = short.slice(0, -1);
  return short ? `${short}…` : "";
}
