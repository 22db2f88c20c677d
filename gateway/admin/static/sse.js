// The event stream format (WHATWG HTML, section 9.2), from text as it comes; with what an
// EventSource would not tell: comments, and the moment each event was complete.

export class EventParser {
  /** `on` is called with { event, data, id, at } or { comment, at }. */
  constructor(on) {
    this.on = on;
    this.rest = "";
    this.id = "";
    this.clear();
  }

  clear() {
    this.event = "";
    this.data = [];
  }

  feed(text, at) {
    this.rest += text;
    // A CR at the very end may be half of a CRLF.
    const lines = this.rest.split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop();
    for (const line of lines) this.line(line, at);
  }

  line(line, at) {
    if (line === "") {
      if (this.data.length) this.on({ event: this.event || "message", data: this.data.join("\n"), id: this.id, at });
      this.clear();
      return;
    }
    if (line.startsWith(":")) {
      this.on({ comment: line.slice(1).trim(), at });
      return;
    }
    const [, name, value] = line.match(/^([^:]*)(?:: ?(.*))?$/s);
    if (name === "data") this.data.push(value ?? "");
    else if (name === "event") this.event = value ?? "";
    else if (name === "id" && !value?.includes("\0")) this.id = value ?? "";
  }
}
