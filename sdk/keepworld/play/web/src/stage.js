// The picture: frames in at the server's pace, one painted at each refresh of the screen, none left out unless far behind.

import { Decoder, unpack } from "./frames.js";

const MOST_WAITING = 16; // pictures; beyond that the screen has been behind for most of a second
const WINDOW_MS = 2000;

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
    this.decoder.reset();
  }

  take(buffer, arrived) {
    const frame = unpack(buffer);
    frame.arrived = arrived;
    this.decoder.decode(frame, this.size);
    return frame;
  }

  queue(picture, frame) {
    this.ready.push({ picture, frame });
    while (this.ready.length > MOST_WAITING) {
      this.ready.shift().picture.close();
      this.dropped += 1;
    }
    if (!this.isRunning) {
      this.isRunning = true;
      requestAnimationFrame((now) => this.paint(now));
    }
  }

  // What was drawn at the refresh before is on the screen now: that is when it is stamped.
  paint(now) {
    if (this.toStamp) {
      this.painted(this.toStamp, now);
      this.toStamp = null;
    }
    const next = this.ready.shift();
    if (next) {
      this.context.drawImage(next.picture, 0, 0, this.canvas.width, this.canvas.height);
      next.picture.close();
      this.shown += 1;
      this.times.push(now);
      this.toStamp = next.frame;
    }
    while (this.times.length && now - this.times[0] > WINDOW_MS) this.times.shift();
    this.isRunning = this.ready.length > 0 || this.toStamp !== null;
    if (this.isRunning) requestAnimationFrame((later) => this.paint(later));
  }

  // Pictures a second, over the last two.
  rate(now) {
    const recent = this.times.filter((time) => now - time <= WINDOW_MS);
    return recent.length < 2 ? 0 : ((recent.length - 1) / (recent.at(-1) - recent[0])) * 1000;
  }
}
