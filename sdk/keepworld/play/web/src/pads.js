// Two round pads for thumbs: where the thumb is from the middle of a pad is what it asks for.

import { $ } from "./dom.js";

export function usePads(hands) {
  const toMove = ([x, y]) => [x, 0, -y];
  const toTurn = ([x, y]) => [x, -y, 0];
  for (const [id, name, to] of [["pad-move", "move", toMove], ["pad-turn", "turn", toTurn]]) {
    const pad = $(id);
    const knob = pad.querySelector("i");
    const set = (event, vector) => {
      const reach = pad.clientWidth / 2 - 24;
      knob.style.transform = `translate(${vector[0] * reach}px, ${vector[1] * reach}px)`;
      hands.pad(name, to(vector), event.timeStamp);
    };
    pad.onpointerdown = (event) => {
      pad.setPointerCapture(event.pointerId);
      pad.onpointermove(event);
    };
    pad.onpointermove = (event) => {
      if (!pad.hasPointerCapture(event.pointerId)) return;
      const box = pad.getBoundingClientRect();
      const reach = box.width / 2 - 24;
      const x = (event.clientX - box.left - box.width / 2) / reach;
      const y = (event.clientY - box.top - box.height / 2) / reach;
      const long = Math.max(1, Math.hypot(x, y));
      set(event, [x / long, y / long]);
    };
    pad.onpointerup = pad.onpointercancel = (event) => set(event, [0, 0]);
  }
}
