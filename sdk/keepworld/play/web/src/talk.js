// The line to the bridge: messages as JSON, frames as bytes. A line that drops is made again for as long as the page is open.

const PING_MS = 2000;

export class Talk {
  constructor({ message, frame, state }) {
    this.message = message;
    this.frame = frame;
    this.state = state;
    this.roundTrip = null;
    this.tries = 0;
    this.connect();
    setInterval(() => this.send({ do: "ping", at: String(performance.now()) }), PING_MS);
  }

  send(content) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(content));
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}/talk`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      this.tries = 0;
      this.state("open");
    };
    this.socket.onmessage = ({ data }) => {
      if (typeof data !== "string") return this.frame(data, performance.now());
      const content = JSON.parse(data);
      if (content.is === "pong") this.roundTrip = performance.now() - Number(content.at);
      else if (content.is === "elsewhere") this.leave();
      else this.message(content);
    };
    this.socket.onclose = () => this.again();
  }

  leave() {
    this.socket.onclose = null;
    this.socket.close();
    this.state("elsewhere");
  }

  async again() {
    this.state("gone");
    const page = await fetch("/", { method: "HEAD" }).catch(() => null);
    if (page?.status === 403) return this.state("over");
    this.tries += 1;
    setTimeout(() => this.connect(), Math.min(3000, 200 * this.tries));
  }
}
