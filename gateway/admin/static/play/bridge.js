// A socket of a bridge: docs/bridge.md has its messages. It carries one generation here.

import { own } from "../place.js";

const ENDS = ["done", "error", "cancelled", "response"];

export class BridgeSocket {
  /** `path` is the bridge's, `on` is called with each message and the moment it came. */
  constructor(path, token, on) {
    const url = new URL(own(`/play/socket?path=${encodeURIComponent(path)}`), location.href);
    url.protocol = url.protocol.replace("http", "ws");
    this.path = path;
    this.on = on;
    this.socket = new WebSocket(url);
    this.opened = new Promise((resolve, reject) => {
      this.socket.onopen = () => {
        // A page can set no header: the first message is one, for who opens the bridge for us.
        this.socket.send(token ? `Bearer ${token}` : "");
        resolve();
      };
      this.socket.onclose = ({ code }) => reject(new Error(`The socket was closed with ${code}.`));
    });
  }

  /** Say something, and hear what comes of it; resolves with the last message about it. */
  async ask(message) {
    await this.opened;
    return await new Promise((resolve, reject) => {
      this.socket.onclose = ({ code }) => reject(new Error(`The socket was closed with ${code}.`));
      this.socket.onmessage = ({ data }) => {
        const said = JSON.parse(data);
        if (said.type === "ping" || said.type === "pong") return;
        this.on(said, performance.now());
        if (ENDS.includes(said.type)) resolve(said);
      };
      this.say({ id: "play", ...message });
    });
  }

  /** Stop the generation: the model stops, whoever else may read it. */
  cancel() {
    if (this.socket.readyState === WebSocket.OPEN) this.say({ op: "cancel", id: "play" });
    else this.close();
  }

  say(message) {
    this.socket.send(JSON.stringify(message));
  }

  close() {
    this.socket.close();
  }
}
