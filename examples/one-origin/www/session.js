// The user's credential. An application gets it from its sign-in; here it is in the address, behind
// the #, which is sent to no server. It stays in memory.

const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";

/** Headers of a request to the gateway. */
export function headers() {
  return { Authorization: `Bearer ${token}` };
}

/** A ticket for EventSource and WebSocket, which cannot set headers. It is valid for one request. */
export async function ticket() {
  const response = await fetch("/auth/ticket", { method: "POST", headers: headers() });
  if (!response.ok) throw new Error(`No ticket: status ${response.status}.`);
  return (await response.json()).ticket;
}

/** The body of a chat request. */
export function chat(prompt) {
  return { model: "demo", stream: true, messages: [{ role: "user", content: prompt }] };
}

/** The text that one event of a chat adds. */
export function delta(data) {
  return data.choices?.[0]?.delta?.content ?? "";
}

/** Wait before attempt number `failures` + 1: a random time up to 1 s, 2 s, 4 s, then 8 s. */
export function backoff(failures) {
  return Math.random() * Math.min(8000, 1000 * 2 ** failures);
}

/** Resolve when the browser has a network. */
export async function online() {
  if (navigator.onLine) return;
  await new Promise((resolve) => { addEventListener("online", resolve, { once: true }); });
}
