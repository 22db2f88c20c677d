// A generation is begun with POST and read with EventSource. A ticket is valid for one request, so the
// page itself reconnects, with a new ticket and the id of the last event: `?after=`.

import { backoff, chat, delta, headers, online, ticket } from "./session.js";

const [form, prompt, state, answer, stop] = ["form", "prompt", "state", "answer", "stop"].map((id) =>
  document.getElementById(id));
let reading = null; // { id, source } of the stream on the page

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  answer.textContent = "";
  state.textContent = "asking";
  const response = await fetch("/v1/chat/completions", {
    method: "POST",
    headers: { ...headers(), "Content-Type": "application/json" },
    body: JSON.stringify(chat(prompt.value)),
  });
  if (!response.ok) {
    state.textContent = `refused: ${(await response.json()).error.message}`;
    return;
  }
  response.body.cancel(); // EventSource reads it
  reading = { id: response.headers.get("X-Stream-Id"), source: null };
  follow(reading, "", 0);
});

stop.addEventListener("click", () => {
  if (!reading) return;
  reading.source?.close();
  fetch(`/v1/streams/${reading.id}`, { method: "DELETE", headers: headers() });
  state.textContent = "stopped";
  reading = null;
});

async function follow(stream, after, failures) {
  state.textContent = failures ? "reconnecting" : "open";
  const again = async () => {
    await new Promise((resolve) => { setTimeout(resolve, backoff(failures)); });
    if (!navigator.onLine) state.textContent = "offline";
    await online();
    if (reading === stream) follow(stream, after, failures + 1);
  };
  let query;
  try {
    query = new URLSearchParams({ ticket: await ticket(), ...(after && { after }) });
  } catch {
    again();
    return;
  }
  if (reading !== stream) return;
  const source = new EventSource(`/v1/streams/${stream.id}?${query}`);
  stream.source = source;
  source.onmessage = ({ data, lastEventId }) => {
    after = lastEventId || after;
    failures = 0;
    state.textContent = "open";
    if (data === "[DONE]") {
      source.close();
      reading = null;
      state.textContent = "done";
      return;
    }
    const said = JSON.parse(data);
    if (said.error) {
      source.close();
      reading = null;
      state.textContent = `failed: ${said.error.message}`;
    } else answer.textContent += delta(said);
  };
  source.onerror = () => {
    source.close(); // before it comes back by itself, with the ticket that is spent
    again();
  };
}
