// fetch with the gateway's own client: it waits with backoff and jitter, honours Retry-After, waits
// while the browser is offline, and goes on after the last event it has read.

import { Refused, stream, StreamLost } from "/client.js";
import { chat, delta, headers } from "./session.js";

const [form, prompt, state, answer, stop] = ["form", "prompt", "state", "answer", "stop"].map((id) =>
  document.getElementById(id));
let running = null;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  running?.abort();
  const mine = new AbortController();
  running = mine;
  answer.textContent = "";
  const say = (text) => {
    if (running === mine) state.textContent = text;
  };
  try {
    const events = stream("/v1/chat/completions", {
      headers, // called for each attempt: a new token is used at once
      body: chat(prompt.value),
      signal: mine.signal,
      onState: say,
    });
    for await (const one of events) {
      if (one.data !== "[DONE]") answer.textContent += delta(one.json());
    }
    say("done");
  } catch (error) {
    if (mine.signal.aborted) return;
    if (error instanceof Refused) say(`refused: ${error.message}`);
    else if (error instanceof StreamLost) say("the rest is lost: ask again");
    else say(`failed: ${error.message}`);
  }
});

stop.addEventListener("click", () => {
  state.textContent = "stopped";
  running?.abort(); // and the model stops, too
  running = null;
});
