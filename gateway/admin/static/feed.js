// The event stream: one for the page, of the topics its view shows; none while nobody looks at it.

import { get } from "./api.js";

export class Feed {
  /** `tell(topic, document)`; `state("live" | "waiting" | "paused")`. */
  constructor(tell, state) {
    this.tell = tell;
    this.state = state;
    this.topics = [];
    this.source = null;
    document.addEventListener("visibilitychange", () => this.open());
  }

  follow(topics) {
    this.topics = topics;
    this.open();
  }

  open() {
    this.source?.close();
    this.source = null;
    clearTimeout(this.again);
    if (document.hidden || !this.topics.length) {
      this.state("paused");
      return;
    }
    const source = new EventSource(`/api/events?topics=${this.topics.join(",")}`);
    this.source = source;
    for (const topic of this.topics) {
      source.addEventListener(topic, (event) => {
        this.state("live");
        this.tell(topic, JSON.parse(event.data));
      });
    }
    source.onopen = () => this.state("live");
    source.onerror = () => {
      this.state("waiting");
      if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      // Refused: by the session's end, perhaps. A request can say so, an EventSource cannot.
      this.again = setTimeout(async () => {
        try {
          await get("/api/workers");
        } catch {
          // it does not answer; the next try will tell
        }
        if (this.source === source) this.open();
      }, 1500);
    };
  }
}
