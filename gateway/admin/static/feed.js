// The event stream: one for the page, of the topics its view shows; none while nobody looks at it.

import { get } from "./api.js";
import { own } from "./place.js";
import { Detached, Refused, stream } from "./client.js";

const SILENT_MS = 25_000;
const AGAIN_MS = 1500;

export class Feed {
  /** `tell(topic, document)`; `state("live" | "waiting" | "paused")`. */
  constructor(tell, state) {
    this.tell = tell;
    this.state = state;
    this.topics = [];
    this.controller = new AbortController();
    document.addEventListener("visibilitychange", () => this.open());
  }

  follow(topics) {
    this.topics = topics;
    this.open();
  }

  open() {
    this.controller.abort(new Detached());
    if (document.hidden || !this.topics.length) {
      this.state("paused");
      return;
    }
    this.controller = new AbortController();
    this.read(this.controller.signal);
  }

  async read(signal) {
    const states = { open: "live", waiting: "waiting", offline: "waiting" };
    const options = {
      signal, follow: true, retries: Infinity, idle: SILENT_MS,
      onState: (state) => !signal.aborted && states[state] && this.state(states[state]),
    };
    try {
      for await (const event of stream(own(`/api/events?topics=${this.topics.join(",")}`), options)) {
        if (signal.aborted) return;
        this.tell(event.type, event.json());
      }
    } catch (error) {
      if (signal.aborted) return;
      this.state("waiting");
      // Of an ended session, the next request asks for the token. Others may be admitted later.
      if (error instanceof Refused && error.status === 401) await get("/api/workers").catch(() => {});
      else await new Promise((resolve) => { setTimeout(resolve, AGAIN_MS); });
      if (!signal.aborted) this.read(signal);
    }
  }
}
