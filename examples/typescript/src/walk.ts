/**
 * Walk a world from TypeScript: open, walk by script and by hand, have something happen, take frames with their cameras in
 * an engine's axes, keep a picture, close.
 *
 *   keepworld serve &
 *   node dist/walk.js 127.0.0.1:7600 --axes unity --png last.png
 */
import { randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";

import { axesNamed, convert, fovDegrees, poseFromWire, quaternion } from "./axes.js";
import type { Axes } from "./axes.js";
import type { Frame__Output } from "./generated/keepworld/v1/Frame.js";
import { World, explained } from "./world.js";
import type { Answer } from "./world.js";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    axes: { type: "string", default: "unity" },
    chunks: { type: "string", default: "6" },
    fast: { type: "boolean", default: false },
    png: { type: "string", default: "last.png" },
    prompt: { type: "string", default: "a village with a windmill by a lake" },
    size: { type: "string", default: "384x216" },
  },
});

async function walk(world: World, axes: Axes, chunks: number): Promise<Buffer> {
  const mode = options.fast ? "PACE_MODE_AS_FAST_AS_POSSIBLE" : "PACE_MODE_REALTIME";
  const stream = world.walk({ mode, onlyScripted: true }); // nothing is made before the script has come
  stream.write({
    script: {
      requestId: randomUUID(), // what is known beforehand: a second ahead, half a second looking left
      steps: [
        { control: { move: { forward: 1 } }, frames: 24 },
        { control: { turn: { yaw: -1 } }, frames: 12 },
      ],
    },
  });
  let picture: Buffer = Buffer.alloc(0);
  let byHand = false;
  try {
    for await (const { frame, chunkEnd, receipt, refusal, notice } of stream as AsyncIterable<Answer>) {
      if (frame) {
        picture = frame.image?.data ?? picture; // a whole PNG file
        if (frame.index === 0) show(frame, axes);
      } else if (chunkEnd) {
        if (chunkEnd.chunk + 1 >= chunks) break;
        if (chunkEnd.chunk === 1) {
          stream.write({ event: { requestId: randomUUID(), text: "a thunderstorm rolls in", rampS: 1 } });
        }
      } else if (notice?.kind === "NOTICE_KIND_SCRIPT_DONE") {
        console.log("the script is done; by hand from here on");
        byHand = true;
        stream.write({ pace: { mode } });
      } else if (receipt?.used.length) {
        console.log(`the storm comes with chunk ${receipt.appliesToChunk}`);
      } else if (refusal) {
        throw new Error(`refused: ${refusal.field}: ${refusal.message}`);
      }
      // What hands do now: ahead, looking right. It holds until another comes, two seconds at most.
      if (byHand && !frame) stream.write({ control: { control: { move: { forward: 1 }, turn: { yaw: 0.5 } } } });
    }
  } finally {
    stream.on("error", () => {}); // of cancelling it
    stream.cancel();
  }
  return picture;
}

function show(frame: Frame__Output, axes: Axes): void {
  const { worldFromCamera, intrinsics } = frame.camera ?? {};
  if (!worldFromCamera || !intrinsics) throw new Error("a frame came without its camera");
  const pose = convert(poseFromWire(worldFromCamera), axes);
  const { x, y, z, w } = quaternion(pose);
  const words = (numbers: readonly number[]): string => numbers.map((value) => value.toFixed(3)).join(", ");
  const fov = fovDegrees(intrinsics.height, intrinsics.fy).toFixed(1);
  console.log(`chunk ${frame.chunk}: camera at (${words(pose.position)}), turned (${words([x, y, z, w])}), ${fov} degrees high`);
}

async function main(): Promise<void> {
  const axes = axesNamed(options.axes);
  const [, width, height] = (/^(\d+)x(\d+)$/.exec(options.size) ?? []).map(Number);
  if (!width || !height) throw new RangeError(`--size looks like 512x288, got '${options.size}'`);
  const world = await World.open(positionals[0] ?? "127.0.0.1:7600", { prompt: options.prompt, seed: 7, width, height });
  console.log(`opened: ${world.used.length} words of the prompt understood, ${world.ignored.length} not`);
  try {
    const picture = await walk(world, axes, Number(options.chunks));
    await writeFile(options.png, picture);
    console.log(`${options.png}: ${picture.length} bytes`);
  } finally {
    console.log(`closed after ${await world.close()} frames`);
  }
}

main().catch((error: unknown) => {
  console.error(`walk: ${explained(error).message}`);
  process.exitCode = 1;
});
