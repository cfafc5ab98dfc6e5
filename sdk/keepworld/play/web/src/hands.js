// Keys, mouse, gamepad and touch, summed up to one control. A control holds for a whole chunk, so a mouse that moved and rests
// would be lost between two: what it asked for is kept as an angle still owed, and paid off by the chunks that come.

const KEYS = {
  KeyW: { move: [0, 0, 1] }, KeyS: { move: [0, 0, -1] }, KeyA: { move: [-1, 0, 0] }, KeyD: { move: [1, 0, 0] },
  KeyR: { move: [0, -1, 0] }, KeyF: { move: [0, 1, 0] }, KeyQ: { turn: [0, 0, -1] }, KeyE: { turn: [0, 0, 1] },
  ArrowLeft: { turn: [-1, 0, 0] }, ArrowRight: { turn: [1, 0, 0] }, ArrowUp: { turn: [0, 1, 0] }, ArrowDown: { turn: [0, -1, 0] },
};
const RUN = 2;
const REPEAT_MS = 250;
const TICK_MS = 16;
const RADIANS_A_PIXEL = 0.0032;
const DEAD_ZONE = 0.14;
const ON_THE_WAY = 2; // chunks that may have begun before they were asked to turn; if more stand still, looking up has an end
const NOTHING = [0, 0, 0];

export class Hands {
  constructor({ send, owed }) {
    this.send = send;
    this.owedChanged = owed;
    this.held = new Set();
    this.pads = { move: NOTHING, turn: NOTHING };
    this.owed = [0, 0]; // yaw and pitch, radians
    this.asked = [0, 0];
    this.still = [0, 0]; // chunks in a row that did not turn as asked
    this.world = null;
    this.serial = 0;
    this.last = "";
    this.sent = 0;
    this.lastInput = 0;
    this.stamped = 0;
    this.lastAngles = null;
    setInterval(() => this.tick(), TICK_MS);
    window.addEventListener("blur", () => this.release());
  }

  begin(world) {
    this.world = world;
    this.owe([0, 0]);
    this.lastAngles = null;
  }

  release() {
    this.held.clear();
    this.pads = { move: NOTHING, turn: NOTHING };
    this.owe([0, 0]);
  }

  key(code, isDown, at) {
    if (!(code in KEYS) && !code.startsWith("Shift")) return false;
    if (isDown !== this.held.has(code)) this.lastInput = at;
    if (isDown) this.held.add(code);
    else this.held.delete(code);
    this.tick();
    return code in KEYS;
  }

  pad(name, vector, at) {
    this.pads[name] = vector;
    this.lastInput = at;
    this.tick();
  }

  look(dx, dy, at) {
    if (!this.world) return;
    this.lastInput = at;
    this.owe([this.owed[0] + dx * RADIANS_A_PIXEL, this.owed[1] - dy * RADIANS_A_PIXEL]);
  }

  owe(owed) {
    this.owed = owed;
    this.still = this.still.map((chunks, axis) => (owed[axis] ? chunks : 0));
    this.owedChanged(owed);
  }

  // A frame has come: the first of a chunk says how far the whole chunk will turn.
  saw(frame) {
    const before = this.lastAngles;
    this.lastAngles = [frame.yaw, frame.pitch];
    if (frame.index !== 0 || !before || !this.world || (!this.owed[0] && !this.owed[1])) return;
    const turned = [wrapped(frame.yaw - before[0]), frame.pitch - before[1]].map((step) => step * this.world.chunk_frames);
    this.owe(this.owed.map((owed, axis) => {
      const left = owed - turned[axis];
      const isStill = Math.abs(turned[axis]) < 1e-4 && Math.abs(this.asked[axis]) > 0.02;
      this.still[axis] = isStill ? this.still[axis] + 1 : 0;
      return this.still[axis] > ON_THE_WAY || Math.abs(left) < 0.004 || left * owed < 0 ? 0 : left;
    }));
  }

  tick() {
    const world = this.world;
    if (!world) return;
    const now = performance.now();
    const { move, turn, speed } = this.sum(world, now);
    const control = { move: masked(move, ["move_right", "move_down", "move_forward"], world.axes),
      turn: masked(turn, ["turn_yaw", "turn_pitch", "turn_roll"], world.axes), speed };
    const text = JSON.stringify(control);
    const isHolding = control.move.some(Boolean) || control.turn.some(Boolean);
    if (text !== this.last) {
      this.serial += 1;
      this.last = text;
    } else if (!isHolding || now - this.sent < REPEAT_MS) return;
    this.sent = now;
    const isByHand = this.lastInput > this.stamped; // and not an owed angle that has been paid
    this.stamped = this.lastInput;
    this.send({ do: "control", ...control, serial: this.serial }, isByHand ? this.lastInput : null);
  }

  sum(world, now) {
    const move = [0, 0, 0];
    const turn = [0, 0, 0];
    const add = (to, values) => values.forEach((value, axis) => (to[axis] += value));
    for (const code of this.held) {
      add(move, KEYS[code]?.move ?? NOTHING);
      add(turn, KEYS[code]?.turn ?? NOTHING);
    }
    add(move, this.pads.move);
    add(turn, this.pads.turn);
    const pad = gamepad();
    if (pad) {
      if (pad.isUsed) this.lastInput = now;
      add(move, pad.move);
      add(turn, pad.turn);
    }
    const chunk = world.chunk_frames / world.fps;
    this.asked = this.owed.map((owed) => clamp(owed / (world.turn_rate * chunk)));
    add(turn, [...this.asked, 0]);
    const runs = [...this.held].some((code) => code.startsWith("Shift")) || pad?.runs;
    const isMoving = move.some(Boolean);
    return { move: move.map(rounded), turn: turn.map(rounded), speed: runs && isMoving && world.axes.includes("speed") ? RUN : 1 };
  }
}

// Sticks move and look, triggers go down and up, shoulders lean, pressing the left stick or A runs.
function gamepad() {
  const pad = [...(navigator.getGamepads?.() ?? [])].find((each) => each?.connected && each.axes.length >= 4);
  if (!pad) return null;
  const [x, y, u, v] = pad.axes.map((value) => (Math.abs(value) < DEAD_ZONE ? 0 : value));
  const button = (number) => pad.buttons[number]?.value ?? 0;
  const move = [x, button(6) - button(7), -y];
  const turn = [u, -v, button(5) - button(4)];
  return { move, turn, runs: button(10) > 0.5 || button(0) > 0.5, isUsed: [...move, ...turn].some(Boolean) };
}

function masked(values, names, axes) {
  return values.map((value, place) => (axes.includes(names[place]) ? value : 0));
}

const clamp = (value) => Math.max(-1, Math.min(1, value));
const rounded = (value) => Math.round(clamp(value) * 1000) / 1000;
const wrapped = (angle) => Math.atan2(Math.sin(angle), Math.cos(angle));
