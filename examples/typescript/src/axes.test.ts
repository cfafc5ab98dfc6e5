/** Holds axes.ts against the golden cameras that Python and C++ are held against too. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { AXES, axesNamed, convert, convertPoint, fovDegrees, poseFromWire, quaternion, restore, rotator } from "./axes.js";
import type { Pose, Program, Rotator, Vector } from "./axes.js";

type Rows = [number, number, number, number][];
type Golden = {
  cameras: { name: string; c2w: Record<Program, Rows>; unreal_rotator_degrees: Rotator }[];
  point: Record<Program, Vector>;
  intrinsics: { width: number; height: number; fx: number; fy: number };
  fov_degrees: { horizontal: number; vertical: number };
};
const golden = JSON.parse(
  readFileSync(new URL("../../../tests/axes/cameras.json", import.meta.url), "utf8"),
) as Golden;
const programs = Object.keys(AXES) as Program[];

function poseOf(rows: Rows): Pose {
  const [a, b, c] = rows as [Rows[0], Rows[0], Rows[0]];
  return {
    rotation: [[a[0], a[1], a[2]], [b[0], b[1], b[2]], [c[0], c[1], c[2]]],
    position: [a[3], b[3], c[3]],
  };
}

function near(got: number, wanted: number, what: string): void {
  assert.ok(Math.abs(got - wanted) <= 1e-12 * Math.max(1, Math.abs(wanted)), `${what}: got ${got}, wanted ${wanted}`);
}

function same(got: Pose, wanted: Pose, what: string): void {
  const numbers = (pose: Pose): number[] => [...pose.rotation.flat(), ...pose.position];
  numbers(wanted).forEach((value, i) => near(numbers(got)[i] ?? NaN, value, `${what}[${i}]`));
}

test("the golden file is about these programs", () => {
  assert.ok(golden.cameras.length >= 6);
  assert.deepEqual(Object.keys(golden.point).sort(), [...programs].sort());
});

for (const program of programs) {
  test(`cameras and points as ${program} wants them`, () => {
    const axes = axesNamed(program);
    for (const { name, c2w } of golden.cameras) {
      const ours = poseOf(c2w.opencv);
      const there = convert(ours, axes);
      same(there, poseOf(c2w[program]), name);
      same(restore(there, axes), ours, `${name}, and back`);
      const [x, y, z] = there.position; // an engine makes its matrix of the quaternion again
      same(poseFromWire({ rotation: quaternion(there), translation: { x, y, z } }), there, `${name}, as a quaternion`);
    }
    convertPoint(golden.point.opencv, axes).forEach((value, i) => near(value, golden.point[program][i] ?? NaN, "point"));
  });
}

test("Unreal's rotators", () => {
  for (const { name, c2w, unreal_rotator_degrees: wanted } of golden.cameras) {
    const got = rotator(convert(poseOf(c2w.opencv), AXES.unreal));
    near(got.pitch, wanted.pitch, `${name}, pitch`);
    near(Math.sin(((got.yaw - wanted.yaw) * Math.PI) / 180), 0, `${name}, yaw`);
    near(got.roll, wanted.roll, `${name}, roll`);
  }
});

test("angles of view", () => {
  const { width, height, fx, fy } = golden.intrinsics;
  near(fovDegrees(width, fx), golden.fov_degrees.horizontal, "horizontal");
  near(fovDegrees(height, fy), golden.fov_degrees.vertical, "vertical");
});

test("a name that is none is said to be none", () => {
  assert.throws(() => axesNamed("toString"), RangeError);
  assert.throws(() => poseFromWire({ rotation: { w: 0, x: 0, y: 0, z: 0 }, translation: null }), RangeError);
});
