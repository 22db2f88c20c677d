// A request as a curl command: no secret is in it, the token is a placeholder.

const QUESTION = "Hello";

const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;

/** The command that asks the same again, as far as it is known. */
export function asCurl(one) {
  const address = `${one.url || one.host}${one.path}`;
  const parts = [`curl${one.streamed ? " -N" : ""}${method(one)} ${quoted(address)}`];
  if (one.subject || one.status >= 400) parts.push('-H "Authorization: Bearer $TOKEN"');
  const body = bodyOf(one);
  if (body) parts.push(`-H 'Content-Type: application/json'`, `-d ${quoted(JSON.stringify(body))}`);
  return parts.join(" \\\n  ");
}

function method({ method: name }) {
  return name === "GET" || name === "POST" ? "" : ` -X ${quoted(name)}`;
}

function bodyOf(one) {
  if (one.method !== "POST" || !one.model) return null;
  const { model, path } = one;
  const stream = one.streamed ? { stream: true } : {};
  const messages = recorded(one) ?? [{ role: "user", content: QUESTION }];
  const last = messages.at(-1)?.content ?? QUESTION;
  if (/\/embeddings$/.test(path)) return { model, input: last };
  if (/\/responses$/.test(path)) return { model, input: messages, ...stream };
  if (/(?<!chat)\/completions$|\/api\/generate$/.test(path)) return { model, prompt: last, ...stream };
  if (/\/messages$/.test(path)) return { model, max_tokens: 1024, messages, ...stream };
  return { model, messages, ...stream };
}

/** The messages, where the route records them: their text. */
function recorded({ spans }) {
  const text = spans?.find((span) => span.kind === "server")?.attributes["gen_ai.input.messages"];
  if (!text) return null;
  try {
    const found = JSON.parse(text).map(({ role, parts }) => ({
      role, content: parts.filter((part) => part.type === "text").map((part) => part.content).join("\n"),
    }));
    return found.length ? found : null;
  } catch {
    return null; // it was cut
  }
}
