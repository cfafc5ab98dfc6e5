// From an input to the picture that shows it. The bridge says which of the page's controls steered which frame, and how long
// that took from its hands to the frame's being drawn: the chunks' own time. The rest is ours.

const KEPT = 300;
const REMEMBERED = 512;

export class Latency {
  constructor() {
    this.inputs = new Map(); // serial of a control -> when its input happened
    this.pixels = new Map(); // number of a frame -> when it was on the screen
    this.waiting = new Map(); // number of a frame that is not on the screen yet -> what steered it
    this.samples = []; // { total, rest }, milliseconds
  }

  input(serial, at) {
    remember(this.inputs, serial, at);
  }

  painted(number, at) {
    remember(this.pixels, number, at);
    const waiting = this.waiting.get(number);
    this.waiting.delete(number);
    if (waiting) this.sample(waiting, at);
  }

  steered([serial, frame, inside]) {
    const from = this.inputs.get(serial);
    if (from === undefined) return;
    const to = this.pixels.get(frame);
    if (to === undefined || to < from) remember(this.waiting, frame, { from, inside });
    else this.sample({ from, inside }, to);
  }

  sample({ from, inside }, to) {
    this.samples.push({ total: to - from, rest: to - from - inside });
    if (this.samples.length > KEPT) this.samples.shift();
  }

  quantile(part, what = "total") {
    if (!this.samples.length) return null;
    const sorted = this.samples.map((sample) => sample[what]).sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))];
  }
}

function remember(map, key, value) {
  map.delete(key);
  map.set(key, value);
  if (map.size > REMEMBERED) map.delete(map.keys().next().value);
}
