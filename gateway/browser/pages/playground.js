// The playground of the public listener: a chat with the key of the person who opened it. The key
// stays in this page's memory: no storage keeps it, and a reload forgets it.

import { Refused, stream, StreamLost } from "./client.js";

const api = document.body.dataset.api;
const [form, key, model, system, prompt, send, stop, state, figures, answer] = [
  "form", "key", "model", "system", "prompt", "send", "stop", "state", "figures", "answer",
].map((id) => document.getElementById(id));
let running = null;

const headers = () => ({ Authorization: `Bearer ${key.value.trim()}` });

key.addEventListener("change", list);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!running) ask();
});
stop.addEventListener("click", () => running?.abort());

/** The models that this key may use. */
async function list() {
  const response = await fetch(`${api}models`, { headers: headers() });
  const said = await response.json().catch(() => ({}));
  state.textContent = response.ok ? "ready" : said.error?.message ?? `status ${response.status}`;
  model.replaceChildren(...(said.data ?? []).map(({ id }) => new Option(id, id)));
}

async function ask() {
  const mine = new AbortController();
  running = mine;
  [send.disabled, stop.disabled] = [true, false];
  answer.textContent = figures.textContent = "";
  const messages = [{ role: "user", content: prompt.value }];
  if (system.value.trim()) messages.unshift({ role: "system", content: system.value });
  const begun = performance.now();
  let first = null;
  let pieces = 0;
  try {
    const events = stream(`${api}chat/completions`, {
      headers,
      body: { model: model.value, stream: true, messages },
      signal: mine.signal,
      onState: (word) => { state.textContent = word; },
    });
    for await (const event of events) {
      const text = event.data === "[DONE]" ? "" : event.json().choices?.[0]?.delta?.content ?? "";
      if (!text) continue;
      answer.append(text);
      pieces += 1;
      first ??= performance.now();
      const span = (performance.now() - first) / 1e3;
      figures.textContent = `First token after ${Math.round(first - begun)} ms`
        + (span > 0 && pieces > 1 ? `, ${((pieces - 1) / span).toFixed(1)} pieces/s` : "");
    }
    state.textContent = "done";
  } catch (error) {
    if (mine.signal.aborted) state.textContent = "stopped";
    else if (error instanceof Refused) state.textContent = `refused: ${error.message}`;
    else if (error instanceof StreamLost) state.textContent = "the rest is lost";
    else state.textContent = `failed: ${error.message}`;
  }
  running = null;
  [send.disabled, stop.disabled] = [false, true];
}
