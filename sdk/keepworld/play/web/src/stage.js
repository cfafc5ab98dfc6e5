// The picture: a chunk's first frame at once, for it shows what hands did, those behind it spread over the time until the next
// one is to be expected; none left out unless far behind. A server that was late catches up: then chunks come faster than the
// world's own pace, and with frames spread over more than that each first one would wait for those before it.

import { Decoder, unpack } from "./frames.js";

const MOST_WAITING = 40; // pictures, more than two chunks: beyond that the screen is behind for good
const WINDOW_MS = 2000;
const HALF_MS = 8; // half a refresh: what is due sooner is drawn now, what was drawn later is not on the screen yet
const SOON_MS = 12; // less than a refresh: what is due sooner is waited for with the screen, all else with the clock
const REMEMBERED = 4; // chunks: the shortest time that one of them took is the next one's
const FASTEST = 0.75; // of the world's own pace

export class Stage {
  constructor(canvas, { painted, fail }) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.painted = painted;
    this.decoder = new Decoder((picture, frame) => this.queue(picture, frame), fail);
    this.ready = [];
    this.drawn = []; // frames that are not known to be on the screen
    this.times = [];
    this.shown = 0;
    this.dropped = 0;
    this.size = [512, 288];
    this.begun = null; // the last chunk's first frame: when it was decoded, and the world's time, milliseconds
    this.paces = []; // of the last chunks, how much time passed here for each second there
    this.timer = null;
    this.request = null;
  }

  resize(size) {
    this.size = size;
    [this.canvas.width, this.canvas.height] = size;
    this.canvas.style.aspectRatio = `${size[0]} / ${size[1]}`;
    this.clear();
  }

  clear() {
    for (const { picture } of this.ready) picture.close();
    this.ready = [];
    this.drawn = [];
    this.begun = null;
    this.paces = [];
    this.decoder.reset();
  }

  take(buffer, arrived) {
    const frame = unpack(buffer);
    frame.arrived = arrived;
    this.decoder.decode(frame, this.size);
    return frame;
  }

  queue(picture, frame) {
    const time = frame.time * 1000;
    frame.decoded = performance.now();
    if (frame.index === 0 || !this.begun) this.begin(frame.decoded, time);
    this.ready.push({ picture, frame, due: this.begun.at + (time - this.begun.time) * Math.min(1, ...this.paces) });
    while (this.ready.length > MOST_WAITING) {
      this.ready.shift().picture.close();
      this.dropped += 1;
    }
    this.wake();
  }

  begin(at, time) {
    if (this.begun && time > this.begun.time) this.paces.push(Math.max(FASTEST, (at - this.begun.at) / (time - this.begun.time)));
    this.paces = this.paces.slice(-REMEMBERED);
    this.begun = { at, time };
  }

  // See to it that what is next is drawn when it is due, and that the refresh is seen with which a chunk's first frame is on the
  // screen: others can wait for the next frame to know that. Each refresh that is asked for costs the page a pass over itself,
  // and after one that was not, the next comes at once.
  wake() {
    if (this.request !== null) return;
    clearTimeout(this.timer);
    const early = this.ready.length ? this.dueAt() - performance.now() : Infinity;
    if (early < SOON_MS || this.drawn.some(({ index }) => index === 0)) this.request = requestAnimationFrame((now) => this.paint(now));
    else if (this.ready.length) this.timer = setTimeout(() => this.wake(), early - SOON_MS);
  }

  // `now` is the refresh that this is for, and may be long past. What was drawn well before it is on the screen with it.
  paint(now) {
    this.request = null;
    while (this.drawn.length && this.drawn[0].painted < now - HALF_MS) this.painted(this.drawn.shift(), now);
    if (this.ready.length && !this.drawn.length && this.dueAt() < performance.now() + HALF_MS) {
      const { picture, frame } = this.ready.shift();
      this.context.drawImage(picture, 0, 0, this.canvas.width, this.canvas.height);
      picture.close();
      this.shown += 1;
      this.times.push(now);
      frame.painted = performance.now();
      this.drawn.push(frame);
    }
    while (this.times.length && now - this.times[0] > WINDOW_MS) this.times.shift();
    this.wake();
  }

  // When the oldest picture is to be shown: at its time, or at once if the next chunk's first one waits behind it.
  dueAt() {
    const [first, ...behind] = this.ready;
    return behind.some(({ frame }) => frame.index === 0) ? -Infinity : first.due;
  }

  // Pictures a second, over the last two.
  rate(now) {
    const recent = this.times.filter((time) => now - time <= WINDOW_MS);
    return recent.length < 2 ? 0 : ((recent.length - 1) / (recent.at(-1) - recent[0])) * 1000;
  }
}
