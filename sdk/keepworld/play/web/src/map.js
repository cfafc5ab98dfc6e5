// The walk from above: where the camera went, and from how many sides each place has been seen.

import { sized } from "./dom.js";
import { COLOURS, ENOUGH, Extent, Ground, count } from "./ground.js";

export const SECTORS = 12;
const MARGIN = 14;
const LEAST_CELLS = 26;
const REACH = 12; // cells around the camera that its ring tells of
const GROUND = "#101319";

export class WalkMap {
  constructor(canvas) {
    this.canvas = canvas;
    this.reset(null);
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  reset(line) {
    this.cell = line?.cell ?? 1;
    this.ground = new Ground();
    this.path = [];
    this.events = [];
    this.here = null;
    this.walked = new Extent();
    for (const note of line?.notes ?? []) this.note(note);
    this.see(line?.cells ?? []);
    this.draw();
  }

  note({ index, places, events }) {
    this.path.push(...places.map(([x, z, yaw]) => ({ x, z, yaw, chunk: index })));
    for (const [x, z] of places) this.walked.add(x, z);
    const last = this.path.at(-1);
    if (events.length && last) this.events.push({ ...last, text: events.join(", ") });
    if (last) this.here = last;
  }

  see(cells) {
    for (const [column, row, bits] of cells) this.ground.see(column, row, bits);
  }

  frame({ place, yaw }) {
    this.here = { x: place[0], z: place[2], yaw };
  }

  draw() {
    const { context, width, height } = sized(this.canvas);
    if (!this.here || !width) return;
    const view = this.view(width, height);
    this.drawGround(context, view, width, height);
    this.drawPath(context, view);
    this.drawHere(context, view);
  }

  view(width, height) {
    const { seen } = this.ground;
    const all = new Extent();
    all.add(this.here.x, this.here.z);
    if (this.path.length) all.join(this.walked, 1);
    if (this.ground.cells.size) all.join(seen, this.cell);
    const span = LEAST_CELLS * this.cell;
    const across = Math.max(span, all.right - all.left);
    const deep = Math.max(span * 0.6, all.far - all.near);
    const scale = Math.min((width - 2 * MARGIN) / across, (height - 2 * MARGIN) / deep);
    const middle = [(all.left + all.right) / 2, (all.near + all.far) / 2];
    return { scale, at: (x, z) => [width / 2 + (x - middle[0]) * scale, height / 2 - (z - middle[1]) * scale] };
  }

  drawGround(context, view, width, height) {
    const { picture, left, far } = this.ground;
    const edge = this.cell * view.scale;
    const [x, y] = view.at(left * this.cell, far * this.cell);
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, x, y, picture.width * edge, picture.height * edge);
    if (edge <= 4) return;
    context.strokeStyle = GROUND;
    context.lineWidth = 0.6;
    context.beginPath();
    for (let across = x - Math.floor(x / edge) * edge; across < width; across += edge) {
      context.moveTo(across, 0);
      context.lineTo(across, height);
    }
    for (let down = y - Math.floor(y / edge) * edge; down < height; down += edge) {
      context.moveTo(0, down);
      context.lineTo(width, down);
    }
    context.stroke();
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
    const [x, z] = [this.here.x / this.cell, this.here.z / this.cell];
    for (let column = Math.floor(x) - REACH; column <= x + REACH; column += 1) {
      for (let row = Math.floor(z) - REACH; row <= z + REACH; row += 1) {
        const bits = this.ground.cells.get(`${column},${row}`);
        const [dx, dz] = [column + 0.5 - x, row + 0.5 - z];
        if (!bits || Math.hypot(dx, dz) > REACH) continue;
        const turn = (Math.atan2(dx, dz) / (2 * Math.PI) + 1) % 1;
        const sum = sums[Math.min(SECTORS - 1, Math.floor(turn * SECTORS))];
        sum[0] += Math.min(ENOUGH, count(bits)) / ENOUGH;
        sum[1] += 1;
      }
    }
    return sums.map(([total, number]) => (number ? total / number : null));
  }
}
