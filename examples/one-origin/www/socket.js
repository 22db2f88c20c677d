// Many generations over one WebSocket. docs/bridge.md has the messages.

import { backoff, chat, delta, online, ticket } from "./session.js";

const [form, prompt, state, answers] = ["form", "prompt", "state", "answers"].map((id) =>
  document.getElementById(id));
const open = new Map(); // generations without an end, by id: { element, body, after }
let socket = null;
let failures = 0;
let last = 0;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  for (let count = 0; count < 3; count += 1) {
    const element = document.createElement("p");
    element.className = "answer";
    answers.append(element);
    last += 1;
    open.set(last, { element, body: chat(prompt.value), after: null });
    if (socket?.readyState === WebSocket.OPEN) begin(last);
  }
  if (!socket) connect();
});

/** Begin a generation, or continue it after the last event that arrived. */
function begin(id) {
  const { body, after } = open.get(id);
  socket.send(JSON.stringify(after ? { op: "resume", id, after } : { op: "create", id, body }));
}

async function connect() {
  state.textContent = "connecting";
  try {
    const url = new URL(`/v1/stream?ticket=${await ticket()}`, location.href);
    url.protocol = "wss:";
    socket = new WebSocket(url);
  } catch {
    again();
    return;
  }
  socket.onopen = () => {
    failures = 0;
    state.textContent = "open";
    [...open.keys()].forEach(begin);
  };
  socket.onmessage = ({ data }) => took(JSON.parse(data));
  socket.onclose = again;
}

async function again() {
  socket = null;
  if (!open.size) {
    state.textContent = "done";
    return;
  }
  state.textContent = navigator.onLine ? "waiting" : "offline";
  await new Promise((resolve) => { setTimeout(resolve, backoff(failures)); });
  failures += 1;
  await online();
  connect();
}

function took(message) {
  const generation = open.get(message.id);
  if (!generation) return;
  if (message.type === "event") {
    generation.after = message.event_id ?? generation.after;
    if (message.data) generation.element.textContent += delta(message.data);
    return;
  }
  if (message.type === "error") generation.element.textContent += ` (${message.error.message})`;
  if (["done", "error", "cancelled"].includes(message.type)) open.delete(message.id);
  if (!open.size) state.textContent = "done";
}
