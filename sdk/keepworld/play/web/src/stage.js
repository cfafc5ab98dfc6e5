// The picture: a chunk's first frame at once, for it shows what hands did, those behind it at the world's own pace; none left
// out unless far behind. The pace is kept to the earliest of the last chunks: a chunk that began late would otherwise end late,
// and keep the first frame of the next one waiting.

import { Decoder, unpack } from "./frames.js";

const MOST_WAITING = 40; // pictures, more than two chunks: beyond that the screen is behind for good
const WINDOW_MS = 2000;
const EARLY_MS = 8; // half a refresh: what is due before the next one is shown at this
const REMEMBERED = 8; // chunks
const OTHER_PACE_MS = 250; // a chunk so much later or earlier than those before: the world paused, or it is another one

export class Stage {
  constructor(canvas, { painted, fail }) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.painted = painted;
    this.decoder = new Decoder((picture, frame) => this.queue(picture, frame), fail);
    this.ready = [];
    this.toStamp = null;
    this.times = [];
    this.shown = 0;
    this.dropped = 0;
    this.size = [512, 288];
    this.isRunning = false;
    this.starts = []; // how far the page's clock was ahead of the world's when each of the last chunks began, milliseconds
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
    this.starts = [];
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
    if (frame.index === 0 || !this.starts.length) this.begin(frame.decoded - time);
    this.ready.push({ picture, frame, due: Math.min(...this.starts) + time });
    while (this.ready.length > MOST_WAITING) {
      this.ready.shift().picture.close();
      this.dropped += 1;
    }
    if (!this.isRunning) {
      this.isRunning = true;
      requestAnimationFrame((now) => this.paint(now));
    }
  }

  begin(ahead) {
    const alike = this.starts.filter((start) => Math.abs(start - ahead) < OTHER_PACE_MS);
    this.starts = [...alike, ahead].slice(-REMEMBERED);
  }

  // What was drawn at the refresh before is on the screen now: that is when it is stamped.
  paint(now) {
    if (this.toStamp) {
      this.painted(this.toStamp, now);
      this.toStamp = null;
    }
    if (this.isDue(now)) {
      const { picture, frame } = this.ready.shift();
      this.context.drawImage(picture, 0, 0, this.canvas.width, this.canvas.height);
      picture.close();
      this.shown += 1;
      this.times.push(now);
      frame.painted = performance.now();
      this.toStamp = frame;
    }
    while (this.times.length && now - this.times[0] > WINDOW_MS) this.times.shift();
    this.isRunning = this.ready.length > 0 || this.toStamp !== null;
    if (this.isRunning) requestAnimationFrame((later) => this.paint(later));
  }

  // Whether the oldest picture is to be shown: its time has come, or the next chunk's first one waits behind it.
  isDue(now) {
    const [first, ...behind] = this.ready;
    return first !== undefined && (first.due <= now + EARLY_MS || behind.some(({ frame }) => frame.index === 0));
  }

  // Pictures a second, over the last two.
  rate(now) {
    const recent = this.times.filter((time) => now - time <= WINDOW_MS);
    return recent.length < 2 ? 0 : ((recent.length - 1) / (recent.at(-1) - recent[0])) * 1000;
  }
}
