// From an input to the picture that shows it. The bridge says which of the page's controls steered which frame, and how long
// that took from its hands to the frame's leaving the server: the chunks' own time. The rest is ours.

const KEPT = 300;
const REMEMBERED = 512;

export class Latency {
  constructor() {
    this.inputs = new Map(); // serial of a control -> when its input happened
    this.pixels = new Map(); // number of a frame -> when it was on the screen
    this.samples = []; // { total, rest }, milliseconds
  }

  input(serial, at) {
    remember(this.inputs, serial, at);
  }

  painted(number, at) {
    remember(this.pixels, number, at);
  }

  steered([serial, frame, inside]) {
    const from = this.inputs.get(serial);
    const to = this.pixels.get(frame);
    if (from === undefined || to === undefined || to < from) return;
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
