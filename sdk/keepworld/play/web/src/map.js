// The walk from above: where the camera went, and from how many sides each place has been seen.

import { sized } from "./dom.js";

export const SECTORS = 12;
const ENOUGH = 3;
const COLOURS = ["#5b2f37", "#7d6130", "#2f6b52"]; // seen from one side, from two, from three or more
const MARGIN = 14;
const LEAST_CELLS = 26;

export class WalkMap {
  constructor(canvas) {
    this.canvas = canvas;
    this.reset(null);
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  reset(line) {
    this.cells = new Map();
    this.cell = line?.cell ?? 1;
    this.path = [];
    this.events = [];
    this.here = null;
    for (const note of line?.notes ?? []) this.note(note);
    this.see(line?.cells ?? []);
    this.draw();
  }

  note({ index, places, events }) {
    this.path.push(...places.map(([x, z, yaw]) => ({ x, z, yaw, chunk: index })));
    const last = this.path.at(-1);
    if (events.length && last) this.events.push({ ...last, text: events.join(", ") });
    if (last) this.here = last;
  }

  see(cells) {
    for (const [column, row, bits] of cells) this.cells.set(`${column},${row}`, [column, row, bits]);
  }

  frame({ place, yaw }) {
    this.here = { x: place[0], z: place[2], yaw };
  }

  draw() {
    const { context, width, height } = sized(this.canvas);
    if (!this.here || !width) return;
    const view = this.view(width, height);
    for (const [column, row, bits] of this.cells.values()) {
      context.fillStyle = COLOURS[Math.min(ENOUGH, count(bits)) - 1];
      const [x, y] = view.at(column * this.cell, (row + 1) * this.cell);
      const edge = this.cell * view.scale;
      context.fillRect(x, y, Math.max(1, edge - (edge > 4 ? 0.6 : 0)), Math.max(1, edge - (edge > 4 ? 0.6 : 0)));
    }
    this.drawPath(context, view);
    this.drawHere(context, view);
  }

  view(width, height) {
    const cells = [...this.cells.values()];
    const xs = [...this.path.map(({ x }) => x), this.here.x, ...cells.map(([column]) => (column + 0.5) * this.cell)];
    const zs = [...this.path.map(({ z }) => z), this.here.z, ...cells.map(([, row]) => (row + 0.5) * this.cell)];
    const [left, right, near, far] = [least(xs), most(xs), least(zs), most(zs)];
    const span = LEAST_CELLS * this.cell;
    const scale = Math.min((width - 2 * MARGIN) / Math.max(span, right - left), (height - 2 * MARGIN) / Math.max(span * 0.6, far - near));
    const middle = [(left + right) / 2, (near + far) / 2];
    return { scale, at: (x, z) => [width / 2 + (x - middle[0]) * scale, height / 2 - (z - middle[1]) * scale] };
  }

  drawPath(context, view) {
    context.strokeStyle = "#dfe6ee";
    context.lineWidth = 1.5;
    context.lineJoin = "round";
    context.beginPath();
    this.path.forEach(({ x, z }, index) => context[index ? "lineTo" : "moveTo"](...view.at(x, z)));
    context.lineTo(...view.at(this.here.x, this.here.z));
    context.stroke();
    context.fillStyle = "#ffb454";
    for (const { x, z } of this.events) {
      context.beginPath();
      context.arc(...view.at(x, z), 3.5, 0, 7);
      context.fill();
    }
  }

  // The camera, and around it which ways have been seen well from here.
  drawHere(context, view) {
    const [x, y] = view.at(this.here.x, this.here.z);
    const radius = 17;
    context.lineWidth = 4;
    this.around().forEach((share, sector) => {
      if (share === null) return;
      const from = -Math.PI / 2 + (sector / SECTORS) * 2 * Math.PI;
      context.strokeStyle = COLOURS[share < 1 / 3 + 0.01 ? 0 : share < 0.8 ? 1 : 2];
      context.beginPath();
      context.arc(x, y, radius, from + 0.04, from + (2 * Math.PI) / SECTORS - 0.04);
      context.stroke();
    });
    context.save();
    context.translate(x, y);
    context.rotate(this.here.yaw);
    context.fillStyle = "#7cc4ff";
    context.beginPath();
    context.moveTo(0, -9);
    context.lineTo(6, 7);
    context.lineTo(0, 3.5);
    context.lineTo(-6, 7);
    context.fill();
    context.restore();
  }

  // For each direction from here, how well what lies there has been seen, 0 to 1; null where nothing has.
  around() {
    const sums = Array.from({ length: SECTORS }, () => [0, 0]);
    const reach = 12 * this.cell;
    for (const [column, row, bits] of this.cells.values()) {
      const dx = (column + 0.5) * this.cell - this.here.x;
      const dz = (row + 0.5) * this.cell - this.here.z;
      if (Math.hypot(dx, dz) > reach) continue;
      const turn = (Math.atan2(dx, dz) / (2 * Math.PI) + 1) % 1;
      const sum = sums[Math.min(SECTORS - 1, Math.floor(turn * SECTORS))];
      sum[0] += Math.min(ENOUGH, count(bits)) / ENOUGH;
      sum[1] += 1;
    }
    return sums.map(([total, number]) => (number ? total / number : null));
  }
}

export function count(bits) {
  let number = 0;
  for (let rest = bits; rest; rest &= rest - 1) number += 1;
  return number;
}

const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
const most = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
