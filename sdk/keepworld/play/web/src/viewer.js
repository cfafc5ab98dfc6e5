// Splats, meshes, points and cameras in one space, y up, as three.js has it. Drawn only when something has changed.

import { SparkRenderer, SplatFileType, SplatMesh } from "@sparkjsdev/spark";
import * as THREE from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
import { GLTFLoader } from "three/examples/jsm/loaders/GLTFLoader.js";
import { PLYLoader } from "three/examples/jsm/loaders/PLYLoader.js";

const NAMES = { splats: "Splats", mesh: "Mesh", points: "Points", cameras: "Cameras" };
const UNITS = { splats: "splats", mesh: "triangles", points: "points", cameras: "cameras" };
const KEYS = { KeyW: [0, 0, -1], KeyS: [0, 0, 1], KeyA: [-1, 0, 0], KeyD: [1, 0, 0], KeyR: [0, 1, 0], KeyF: [0, -1, 0] };

export class Viewer {
  constructor(canvas, { say }) {
    this.canvas = canvas;
    this.say = say;
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: false });
    this.renderer.setClearColor(0x181b21);
    this.camera = new THREE.PerspectiveCamera(60, 1, 0.02, 2000);
    this.scene = new THREE.Scene();
    this.spark = new SparkRenderer({ renderer: this.renderer, onDirty: () => this.dirty() });
    this.scene.add(this.spark);
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.addEventListener("change", () => this.dirty());
    this.controls.zoomToCursor = true;
    this.held = new Set();
    this.items = [];
    this.frames = 0;
    canvas.addEventListener("keydown", (event) => this.key(event, true));
    canvas.addEventListener("keyup", (event) => this.key(event, false));
    canvas.addEventListener("blur", () => this.held.clear());
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.resize();
  }

  // Load what an index names; `at(file)` is the address of a file beside it.
  async load(address, at) {
    for (const { object } of this.items) this.remove(object);
    this.items = [];
    const index = await (await fetched(address)).json();
    this.look(index);
    for (const item of index.items) {
      const object = await LOADERS[item.kind](item, at, index);
      object.visible = item.kind === (index.items.find(({ kind }) => kind !== "cameras") ?? index.items[0]).kind;
      this.scene.add(object);
      this.items.push({ ...item, object, title: `${NAMES[item.kind]} · ${item.name}`, count: `${item.count.toLocaleString("en")} ${UNITS[item.kind]}` });
      this.dirty();
    }
    return this.items;
  }

  remove(object) {
    this.scene.remove(object);
    object.traverse?.((part) => {
      part.geometry?.dispose();
      part.material?.map?.dispose();
      part.material?.dispose?.();
    });
    object.dispose?.();
  }

  show(item, isShown) {
    item.object.visible = isShown;
    this.dirty();
  }

  look({ eye, target, fov, span }) {
    this.span = Math.max(span, 1e-3);
    this.camera.fov = Math.max(20, Math.min(90, fov));
    this.camera.near = this.span / 2000;
    this.camera.far = this.span * 200;
    this.camera.position.set(...eye);
    this.controls.target.set(...target);
    this.resize();
    this.controls.update();
  }

  // Stand where the next camera of the walk stood.
  step(by) {
    const walk = this.items.find(({ kind }) => kind === "cameras");
    if (!walk) return;
    const { cameras } = walk;
    this.at = ((this.at ?? -1) + by + cameras.length) % cameras.length;
    const matrix = new THREE.Matrix4().fromArray(cameras[this.at]);
    const distance = this.camera.position.distanceTo(this.controls.target);
    this.camera.position.setFromMatrixPosition(matrix);
    const ahead = new THREE.Vector3(0, 0, -1).transformDirection(matrix);
    this.controls.target.copy(this.camera.position).addScaledVector(ahead, Math.max(distance, this.span / 50));
    this.camera.fov = THREE.MathUtils.radToDeg(2 * Math.atan(cameras[this.at][17]));
    this.resize();
    this.controls.update();
  }

  key(event, isDown) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.code in KEYS) {
      this.held[isDown ? "add" : "delete"](event.code);
      this.dirty();
    } else if (isDown && event.code === "KeyC") this.step(event.shiftKey ? -1 : 1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.renderer.setPixelRatio(Math.min(2, window.devicePixelRatio || 1));
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    this.dirty();
  }

  dirty() {
    if (this.waits) return;
    this.waits = true;
    requestAnimationFrame((now) => {
      this.waits = false;
      this.draw(now);
    });
  }

  draw(now) {
    if (!this.canvas.clientWidth) return;
    const seconds = Math.min(0.1, (now - (this.before ?? now)) / 1000);
    this.before = this.held.size ? now : undefined;
    if (this.held.size) {
      const step = new THREE.Vector3();
      for (const code of this.held) step.add(new THREE.Vector3(...KEYS[code]));
      step.applyQuaternion(this.camera.quaternion).multiplyScalar((seconds * this.span) / 8);
      this.camera.position.add(step);
      this.controls.target.add(step);
      this.dirty();
    }
    this.controls.update();
    this.renderer.render(this.scene, this.camera);
    this.frames += 1;
  }
}

async function fetched(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address.split("/").at(-1)} could not be loaded: ${answer.status}`);
  return answer;
}

const LOADERS = {
  async splats({ file }, at) {
    const fileBytes = await (await fetched(at(file))).arrayBuffer();
    const mesh = new SplatMesh({ fileBytes, fileType: SplatFileType.SPZ });
    await mesh.initialized;
    return mesh;
  },

  // Light is in the colours already: nothing in the scene shines.
  async mesh({ file }, at) {
    const { scene } = await new GLTFLoader().parseAsync(await (await fetched(at(file))).arrayBuffer(), "");
    scene.traverse((part) => {
      if (!part.isMesh) return;
      const { map, vertexColors } = part.material;
      part.material = new THREE.MeshBasicMaterial({ map, vertexColors, side: THREE.DoubleSide });
    });
    return scene;
  },

  async points({ file }, at, { span }) {
    const geometry = new PLYLoader().parse(await (await fetched(at(file))).arrayBuffer());
    return new THREE.Points(geometry, new THREE.PointsMaterial({ size: span / 400, vertexColors: true }));
  },

  async cameras({ cameras }, _, { span }) {
    const group = new THREE.Group();
    const centres = cameras.map((camera) => new THREE.Vector3(camera[12], camera[13], camera[14]));
    group.add(new THREE.Line(new THREE.BufferGeometry().setFromPoints(centres), new THREE.LineBasicMaterial({ color: 0xffb454 })));
    const corners = [];
    for (const camera of cameras.filter((_each, index) => index % Math.max(1, Math.floor(cameras.length / 40)) === 0)) {
      const matrix = new THREE.Matrix4().fromArray(camera);
      const far = span / 60;
      const [x, y] = [camera[16] * far, camera[17] * far];
      const [o, a, b, c, d] = [[0, 0, 0], [-x, -y, -far], [x, -y, -far], [x, y, -far], [-x, y, -far]].map((place) =>
        new THREE.Vector3(...place).applyMatrix4(matrix));
      corners.push(o, a, o, b, o, c, o, d, a, b, b, c, c, d, d, a);
    }
    group.add(new THREE.LineSegments(new THREE.BufferGeometry().setFromPoints(corners), new THREE.LineBasicMaterial({ color: 0x7cc4ff })));
    return group;
  },
};
