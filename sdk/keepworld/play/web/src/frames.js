// Frames as the bridge sends them: see packing.py. Decoded in order, however they are encoded.

const HEADER = 52;
const KINDS = { 1: "image/png", 2: "image/jpeg" };
const RAW = 0;
const H264 = 3;

export function unpack(buffer) {
  const view = new DataView(buffer);
  const f32 = (at) => view.getFloat32(at, true);
  return {
    number: view.getUint32(0, true),
    chunk: view.getUint32(4, true),
    index: view.getUint16(8, true),
    encoding: view.getUint8(10),
    isKey: view.getUint8(11) === 1,
    time: view.getFloat64(12, true),
    had: view.getFloat64(20, true) * 1000, // by the bridge, on its clock
    place: [f32(28), f32(32), f32(36)],
    yaw: f32(40),
    pitch: f32(44),
    roll: f32(48),
    data: new Uint8Array(buffer, HEADER),
  };
}

export async function canH264() {
  if (!("VideoDecoder" in window)) return false;
  const { supported } = await VideoDecoder.isConfigSupported({ codec: "avc1.42E01F" }).catch(() => ({}));
  return Boolean(supported);
}

// Gives pictures to `show(picture, frame)` in the order of the frames; `picture` is a source for drawImage and has close().
export class Decoder {
  constructor(show, fail) {
    this.show = show;
    this.fail = fail;
    this.last = Promise.resolve();
    this.video = null;
    this.waiting = new Map();
  }

  reset() {
    this.last = Promise.resolve();
    if (this.video) this.video.close();
    this.video = null;
    this.waiting.clear();
  }

  decode(frame, size) {
    if (frame.encoding === H264) return this.decodeVideo(frame);
    const made = frame.encoding === RAW ? raw(frame.data, size) : still(frame);
    const before = this.last;
    this.last = (async () => {
      const picture = await made.catch(() => null);
      await before;
      if (picture) this.show(picture, frame);
      else this.fail("A frame could not be decoded.");
    })();
  }

  decodeVideo(frame) {
    if (!this.video || this.video.state === "closed") {
      if (!frame.isKey) return;
      this.video = new VideoDecoder({
        output: (picture) => {
          const meant = this.waiting.get(picture.timestamp);
          this.waiting.delete(picture.timestamp);
          if (meant) this.show(picture, meant);
          else picture.close();
        },
        error: (error) => this.fail(`The video could not be decoded: ${error.message}`),
      });
      this.video.configure({ codec: "avc1.42E01F", optimizeForLatency: true, avc: { format: "annexb" } });
    }
    const timestamp = Math.round(frame.time * 1e6);
    this.waiting.set(timestamp, frame);
    this.video.decode(new EncodedVideoChunk({ type: frame.isKey ? "key" : "delta", timestamp, data: frame.data }));
  }
}

// A blob goes through the browser's other processes first, which takes twice as long; but decoders are for secure pages only.
async function still(frame) {
  const type = KINDS[frame.encoding];
  if (!("ImageDecoder" in window)) return createImageBitmap(new Blob([frame.data], { type }));
  const decoder = new ImageDecoder({ data: frame.data, type });
  try {
    return (await decoder.decode()).image;
  } finally {
    decoder.close();
  }
}

function raw(data, [width, height]) {
  const pixels = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let from = 0, to = 0; from < data.length; from += 3, to += 4) {
    pixels[to] = data[from];
    pixels[to + 1] = data[from + 1];
    pixels[to + 2] = data[from + 2];
  }
  return createImageBitmap(new ImageData(pixels, width, height));
}
