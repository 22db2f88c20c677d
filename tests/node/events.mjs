// Reads lines of JSON, each a list of base64 pieces of one stream; writes what the client's parser
// met in it, one line of JSON each.
import { createInterface } from "node:readline";

import { EventParser } from "../../gateway/browser/client.js";

for await (const line of createInterface({ input: process.stdin })) {
  const events = [];
  const parser = new EventParser(({ type, data, id }) => events.push([type, data, id]));
  for (const piece of JSON.parse(line)) parser.feed(Buffer.from(piece, "base64"));
  process.stdout.write(`${JSON.stringify({ events, id: parser.id, retry: parser.retry })}\n`);
}
