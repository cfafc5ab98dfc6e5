/**
 * Cameras and points of keepworld in the axes and units of game engines. This file alone, no dependencies.
 *
 * keepworld's own frame of reference is OpenCV's: +x right, +y down, +z forward, metres, in the world and in the camera.
 * An engine differs in the axes of its world, the axes of its camera and its unit of length; `Axes` is those three, and
 * `convert` is the one line of algebra: there = world * here * inverse(camera).
 *
 * The same golden cameras hold this file, the C++ header and the Python package: tests/axes/cameras.json.
 */

export type Vector = readonly [number, number, number];
/** Rows. */
export type Matrix = readonly [Vector, Vector, Vector];
/** In the order that engines and three.js have it. */
export type Quaternion = { x: number; y: number; z: number; w: number };
/** Degrees, as Unreal's FRotator has them: pitch looks up, yaw looks right, roll leans to the right. */
export type Rotator = { pitch: number; yaw: number; roll: number };
/** Where a camera stands and how it is turned: camera to world. The columns of `rotation` are the camera's own axes. */
export type Pose = { rotation: Matrix; position: Vector };
/** The axes of a program, seen from OpenCV's: rows of `world` and `camera` say what each of its axes is in ours. */
export type Axes = { world: Matrix; camera: Matrix; unitsPerMetre: number };
/** RigidTransform, as it comes. */
export type WireTransform = {
  rotation: Quaternion | null;
  translation: { x: number; y: number; z: number } | null;
};

const RIGHT_DOWN_FORWARD: Matrix = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
const RIGHT_UP_FORWARD: Matrix = [[1, 0, 0], [0, -1, 0], [0, 0, 1]];
const RIGHT_UP_BACK: Matrix = [[1, 0, 0], [0, -1, 0], [0, 0, -1]];
const FORWARD_RIGHT_UP: Matrix = [[0, 0, 1], [1, 0, 0], [0, -1, 0]];
const RIGHT_FORWARD_UP: Matrix = [[1, 0, 0], [0, 0, 1], [0, -1, 0]];

export const AXES = {
  opencv: { world: RIGHT_DOWN_FORWARD, camera: RIGHT_DOWN_FORWARD, unitsPerMetre: 1 },
  unity: { world: RIGHT_UP_FORWARD, camera: RIGHT_UP_FORWARD, unitsPerMetre: 1 }, // left-handed, y up; looks along +z
  unreal: { world: FORWARD_RIGHT_UP, camera: FORWARD_RIGHT_UP, unitsPerMetre: 100 }, // left-handed, z up, cm; along +x
  godot: { world: RIGHT_UP_BACK, camera: RIGHT_UP_BACK, unitsPerMetre: 1 }, // right-handed, y up; looks along -z
  gltf: { world: RIGHT_UP_BACK, camera: RIGHT_UP_BACK, unitsPerMetre: 1 }, // and three.js: as Godot
  blender: { world: RIGHT_FORWARD_UP, camera: RIGHT_UP_BACK, unitsPerMetre: 1 }, // right-handed, z up; along -z
} as const satisfies Record<string, Axes>;
export type Program = keyof typeof AXES;

/** The axes of a program; a RangeError for a name that is none. */
export function axesNamed(name: string): Axes {
  if (!Object.hasOwn(AXES, name)) throw new RangeError(`axes must be one of ${Object.keys(AXES).join(", ")}, got '${name}'`);
  return AXES[name as Program];
}

/** A pose from the wire: Camera.worldFromCamera. */
export function poseFromWire(transform: WireTransform): Pose {
  const q = transform.rotation ?? { w: 1, x: 0, y: 0, z: 0 };
  const t = transform.translation ?? { x: 0, y: 0, z: 0 };
  const length = Math.hypot(q.w, q.x, q.y, q.z);
  if (!(length > 0) || !Number.isFinite(length)) throw new RangeError("a rotation must be a quaternion, got none");
  const [w, x, y, z] = [q.w / length, q.x / length, q.y / length, q.z / length];
  return {
    rotation: [
      [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
      [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
      [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ],
    position: [t.x, t.y, t.z],
  };
}

/** A camera of ours as a program wants it. */
export function convert(ours: Pose, to: Axes): Pose {
  return {
    rotation: product(product(to.world, ours.rotation), transposed(to.camera)),
    position: convertPoint(ours.position, to),
  };
}

/** A program's camera as ours, for cameras that are sent to a server: the inverse of `convert`. */
export function restore(theirs: Pose, from: Axes): Pose {
  return {
    rotation: product(product(transposed(from.world), theirs.rotation), from.camera),
    position: scaled(apply(transposed(from.world), theirs.position), 1 / from.unitsPerMetre),
  };
}

/** A point of our world, metres, in a program's axes and units. */
export function convertPoint(point: Vector, to: Axes): Vector {
  return scaled(apply(to.world, point), to.unitsPerMetre);
}

/** The rotation of a pose as a unit quaternion with w >= 0 (Shepperd's method). For left-handed engines too. */
export function quaternion({ rotation: m }: Pose): Quaternion {
  const trace = m[0][0] + m[1][1] + m[2][2];
  const largest = Math.max(trace, m[0][0], m[1][1], m[2][2]);
  let q: [number, number, number, number]; // x y z w
  if (largest === trace) q = [m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1], 1 + trace];
  else if (largest === m[0][0]) q = [1 + m[0][0] - m[1][1] - m[2][2], m[1][0] + m[0][1], m[2][0] + m[0][2], m[2][1] - m[1][2]];
  else if (largest === m[1][1]) q = [m[1][0] + m[0][1], 1 + m[1][1] - m[2][2] - m[0][0], m[2][1] + m[1][2], m[0][2] - m[2][0]];
  else q = [m[2][0] + m[0][2], m[2][1] + m[1][2], 1 + m[2][2] - m[0][0] - m[1][1], m[1][0] - m[0][1]];
  const length = Math.hypot(...q) * (q[3] < 0 ? -1 : 1);
  return { x: q[0] / length, y: q[1] / length, z: q[2] / length, w: q[3] / length };
}

/** What FRotator wants, of a pose that has been converted to `AXES.unreal`. */
export function rotator({ rotation: m }: Pose): Rotator {
  const degrees = 180 / Math.PI;
  const yaw = Math.atan2(m[1][0], m[0][0]);
  const [levelX, levelY] = [-Math.sin(yaw), Math.cos(yaw)]; // what right would be without roll
  return {
    pitch: Math.atan2(m[2][0], Math.hypot(m[0][0], m[1][0])) * degrees,
    yaw: yaw * degrees,
    roll: Math.atan2(levelX * m[0][2] + levelY * m[1][2], levelX * m[0][1] + levelY * m[1][1]) * degrees,
  };
}

/**
 * The angle of view, degrees, from what Intrinsics says: `pixels` its width or height, `focal` its fx or fy. Vertical for
 * Unity, Godot and three.js, horizontal for Unreal.
 */
export function fovDegrees(pixels: number, focal: number): number {
  return (2 * Math.atan2(pixels, 2 * focal) * 180) / Math.PI;
}

function apply(a: Matrix, v: Vector): Vector {
  return [dot(a[0], v), dot(a[1], v), dot(a[2], v)];
}

function product(a: Matrix, b: Matrix): Matrix {
  const columns = transposed(b);
  const row = (of: Vector): Vector => [dot(of, columns[0]), dot(of, columns[1]), dot(of, columns[2])];
  return [row(a[0]), row(a[1]), row(a[2])];
}

function transposed(a: Matrix): Matrix {
  return [
    [a[0][0], a[1][0], a[2][0]],
    [a[0][1], a[1][1], a[2][1]],
    [a[0][2], a[1][2], a[2][2]],
  ];
}

function dot(a: Vector, b: Vector): number {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

function scaled(v: Vector, by: number): Vector {
  return [v[0] * by, v[1] * by, v[2] * by];
}
