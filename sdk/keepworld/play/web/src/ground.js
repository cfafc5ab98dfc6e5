// What has been seen of the ground: its cells, and a picture of them, a pixel a cell, that grows with the walk, so that long walks
// are drawn as fast as short ones.

import { el } from "./dom.js";

export const ENOUGH = 3; // sides
export const COLOURS = ["#5b2f37", "#7d6130", "#2f6b52"]; // seen from one side, from two, from three or more
const ROOM = 32; // cells, by which the picture grows

export class Ground {
  constructor() {
    this.cells = new Map(); // "column,row" -> a bit for each direction it was seen from
    this.seen = new Extent(); // in cells
    [this.left, this.far] = [-ROOM, ROOM]; // the picture's first column, and the row behind its first one
    this.picture = blank(2 * ROOM, 2 * ROOM);
  }

  see(column, row, bits) {
    this.cells.set(`${column},${row}`, bits);
    this.seen.add(column, row);
    this.seen.add(column + 1, row + 1);
    this.reach(column, row);
    const context = this.picture.getContext("2d");
    context.fillStyle = COLOURS[Math.min(ENOUGH, count(bits)) - 1];
    context.fillRect(column - this.left, this.far - 1 - row, 1, 1);
  }

  // Have room for a cell.
  reach(column, row) {
    const { picture, left, far } = this;
    const [right, near] = [left + picture.width, far - picture.height];
    if (column >= left && column < right && row >= near && row < far) return;
    this.left = Math.min(left, column - ROOM);
    this.far = Math.max(far, row + ROOM);
    this.picture = blank(Math.max(right, column + ROOM) - this.left, this.far - Math.min(near, row - ROOM));
    this.picture.getContext("2d").drawImage(picture, left - this.left, this.far - far);
  }
}

// What lies between the least and the most of two coordinates.
export class Extent {
  constructor() {
    [this.left, this.right, this.near, this.far] = [Infinity, -Infinity, Infinity, -Infinity];
  }

  add(x, z) {
    this.left = Math.min(this.left, x);
    this.right = Math.max(this.right, x);
    this.near = Math.min(this.near, z);
    this.far = Math.max(this.far, z);
  }

  join({ left, right, near, far }, unit) {
    this.add(left * unit, near * unit);
    this.add(right * unit, far * unit);
  }
}

function blank(width, height) {
  return el("canvas", { width, height });
}

export function count(bits) {
  let number = 0;
  for (let rest = bits; rest; rest &= rest - 1) number += 1;
  return number;
}
