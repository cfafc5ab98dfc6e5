// From an input to the picture that shows it. The bridge says which of the page's controls steered which frame, when it was
// handed on and when the frame was drawn: what lies between is the chunks' own time. The rest is ours.

const KEPT = 300;
const REMEMBERED = 512;

export class Latency {
  constructor() {
    this.inputs = new Map(); // serial of a control -> when its input happened, and when it was sent
    this.pixels = new Map(); // number of a frame -> when it came, was decoded, was drawn, was on the screen
    this.waiting = new Map(); // number of a frame that is not on the screen yet -> what steered it
    this.samples = []; // { total, rest, at }: milliseconds, and the times they are made of, the bridge's on its own clock
  }

  // Another world, or this one after a halt: what was pressed while nothing walked says nothing of how fast walking answers.
  begin() {
    this.inputs.clear();
    this.waiting.clear();
  }

  input(serial, at) {
    remember(this.inputs, serial, { input: at, said: performance.now() });
  }

  shown({ number, had, arrived, decoded, painted }, at) {
    const times = { had, arrived, decoded, painted, shown: at };
    remember(this.pixels, number, times);
    const waiting = this.waiting.get(number);
    this.waiting.delete(number);
    if (waiting) this.sample(waiting, times);
  }

  steered({ serial, frame, ...times }) {
    const from = this.inputs.get(serial);
    if (from === undefined) return;
    const to = this.pixels.get(frame);
    if (to === undefined || to.shown < from.input) remember(this.waiting, frame, { ...from, ...times });
    else this.sample({ ...from, ...times }, to);
  }

  sample(from, to) {
    const total = to.shown - from.input;
    this.samples.push({ total, rest: total - (from.drawn - from.handed), at: { ...from, ...to } });
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
