// node spz_read.mjs FILE: what Niantic's own library, as Adobe compiles it for the web, reads of an SPZ file, as JSON.
import { readFileSync } from "node:fs";
import load from "@adobe/spz";

const spz = await load();
const cloud = spz.loadSpzFromBuffer(new Uint8Array(readFileSync(process.argv[2])), { to: spz.CoordinateSystem.UNSPECIFIED });
const flat = (name) => Array.from(cloud[name]);
const { numPoints, shDegree, antialiased } = cloud;
const parts = Object.fromEntries(["positions", "scales", "rotations", "alphas", "colors", "sh"].map((name) => [name, flat(name)]));
console.log(JSON.stringify({ numPoints, shDegree, antialiased, ...parts }));
