// The APIs that the playground speaks: how each is asked, and what its events say.

/** A number that was typed, or undefined. */
const figure = (text) => (String(text ?? "").trim() === "" || Number.isNaN(Number(text)) ? undefined : Number(text));

const conversation = ({ system, prompt }) => [
  ...(system ? [{ role: "system", content: system }] : []), { role: "user", content: prompt },
];

/** Without what was not set: a server fills it in. */
const set = (fields) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));

const failure = (error) => (typeof error === "string" ? { message: error } : error);

export const APIS = {
  chat: {
    label: "OpenAI chat completions", dialect: "openai", path: "chat/completions", hasSystem: true, parameters: ["temperature", "top_p", "max_tokens"],
    body: (model, asked) => ({
      model, messages: conversation(asked),
      ...set({ temperature: figure(asked.temperature), top_p: figure(asked.top_p), max_tokens: figure(asked.max_tokens) }),
      stream: true, stream_options: { include_usage: true },
    }),
    read({ data }) {
      if (data === "[DONE]") return { done: true };
      const said = JSON.parse(data);
      const [choice] = said.choices ?? [];
      const delta = choice?.delta ?? {};
      return {
        text: delta.content, thought: delta.reasoning_content ?? delta.reasoning,
        finish: choice?.finish_reason, tokens: said.usage?.completion_tokens,
      };
    },
  },
  responses: {
    label: "OpenAI Responses", dialect: "openai", path: "responses", hasSystem: true, parameters: ["temperature", "top_p", "max_tokens"],
    body: (model, asked) => ({
      model, ...set({ instructions: asked.system || undefined }), input: asked.prompt,
      ...set({ temperature: figure(asked.temperature), top_p: figure(asked.top_p), max_output_tokens: figure(asked.max_tokens) }),
      stream: true,
    }),
    read({ data }) {
      if (data === "[DONE]") return {};
      const said = JSON.parse(data);
      const ended = /^response\.(completed|incomplete|failed)$/.test(said.type);
      return {
        text: said.type === "response.output_text.delta" ? said.delta : "",
        thought: /^response\.reasoning.*\.delta$/.test(said.type) ? said.delta : "",
        finish: ended ? said.response?.status : undefined, tokens: ended ? said.response?.usage?.output_tokens : undefined,
        error: said.type === "response.failed" ? failure(said.response?.error ?? "The response failed.") : undefined, done: ended,
      };
    },
  },
  messages: {
    label: "Anthropic messages", dialect: "anthropic", path: "messages", hasSystem: true, parameters: ["temperature", "top_p", "max_tokens"],
    headers: { "Anthropic-Version": "2023-06-01" },
    body: (model, asked) => ({
      model, max_tokens: figure(asked.max_tokens) ?? 1024, ...set({ system: asked.system || undefined }),
      messages: [{ role: "user", content: asked.prompt }],
      ...set({ temperature: figure(asked.temperature), top_p: figure(asked.top_p) }), stream: true,
    }),
    read({ data }) {
      const said = JSON.parse(data);
      return {
        done: said.type === "message_stop", text: said.delta?.text, thought: said.delta?.thinking,
        finish: said.delta?.stop_reason, tokens: said.usage?.output_tokens,
      };
    },
  },
  ollama: {
    label: "Ollama chat", dialect: "ollama", path: "chat", format: "lines", hasSystem: true, parameters: ["temperature", "top_p", "max_tokens"],
    body(model, asked) {
      const options = set({ temperature: figure(asked.temperature), top_p: figure(asked.top_p), num_predict: figure(asked.max_tokens) });
      return { model, messages: conversation(asked), ...(Object.keys(options).length ? { options } : {}), stream: true };
    },
    read({ data }) {
      const said = JSON.parse(data);
      return {
        done: said.done, text: said.message?.content, thought: said.message?.thinking,
        finish: said.done_reason, tokens: said.eval_count, error: said.error ? failure(said.error) : undefined,
      };
    },
  },
  image: {
    label: "OpenAI images", dialect: "openai", path: "images/generations", parameters: ["size"],
    body: (model, asked) => ({
      model, prompt: asked.prompt, ...set({ size: asked.size || undefined }), stream: true, partial_images: 3,
    }),
    read({ data }) {
      if (data === "[DONE]") return {};
      const said = JSON.parse(data);
      const done = said.type === "image_generation.completed";
      if (!said.b64_json) return { done };
      const words = done ? "finished" : `preview ${said.partial_image_index + 1}`;
      return { image: { data: said.b64_json, format: said.output_format ?? "png", words }, tokens: said.usage?.output_tokens, done };
    },
  },
  transcript: {
    label: "OpenAI transcriptions", dialect: "openai", path: "audio/transcriptions", takesFile: true, parameters: [],
    body: (model) => ({ model, stream: "true" }),
    read({ data }) {
      if (data === "[DONE]") return {};
      const said = JSON.parse(data);
      const done = said.type === "transcript.text.done";
      return { text: said.type === "transcript.text.delta" ? said.delta : "", done, whole: done ? said.text : undefined, tokens: said.usage?.output_tokens };
    },
  },
};

/** The address of an API at a route. */
export function target({ base }, { path }) {
  return base.endsWith(path) ? base : base + path;
}

/** The routes a question can be asked of: { name, dialect, base, models, streams, resume, bridge }. */
export function places(routes, config) {
  const order = Object.values(APIS).map(({ dialect }) => dialect);
  return routes.flatMap(({ route, path, dialect, methods, to }) => {
    const base = path.replace(/\*$/, "");
    if (base.endsWith("/streams/")) return []; // where those of another route are come back to
    const fits = dialect === "anthropic" ? !base.endsWith("messages/") : base.endsWith("/");
    const posts = methods === "any" || methods.split(",").includes("POST");
    if (!order.includes(dialect) || !fits || !posts || /^(tickets|generations) of /.test(to)) return [];
    const streams = `${base.replace(/\/$/, "")}/streams/`;
    const { models = [], resume = null } = config.routes.find((one) => one.name === route) ?? {};
    const bridge = config.routes.find((one) => one.bridge?.to === route)?.path ?? null;
    return [{ name: route, dialect, base, models, streams, resume, bridge }];
  }).sort((a, b) => !a.models.length - !b.models.length || order.indexOf(a.dialect) - order.indexOf(b.dialect));
}
