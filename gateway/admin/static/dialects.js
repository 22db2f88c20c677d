// How each dialect is asked for a chat, and what its events say.

const messages = (prompt) => [{ role: "user", content: prompt }];

export const DIALECTS = {
  openai: {
    target: (base) => `${base}chat/completions`,
    body: (model, prompt) => ({ model, stream: true, stream_options: { include_usage: true }, messages: messages(prompt) }),
    read({ data }) {
      if (data === "[DONE]") return { done: true };
      const said = JSON.parse(data);
      if (said.error) return { error: said.error };
      const delta = said.choices?.[0]?.delta ?? {};
      return {
        text: delta.content ?? "", thought: delta.reasoning_content ?? delta.reasoning ?? "",
        finish: said.choices?.[0]?.finish_reason, tokens: said.usage?.completion_tokens,
      };
    },
  },
  anthropic: {
    target: (base) => (base.endsWith("messages") ? base : `${base}messages`),
    body: (model, prompt) => ({ model, stream: true, max_tokens: 1024, messages: messages(prompt) }),
    read({ data }) {
      const said = JSON.parse(data);
      if (said.type === "error") return { error: said.error };
      return {
        done: said.type === "message_stop", text: said.delta?.text ?? "", thought: said.delta?.thinking ?? "",
        finish: said.delta?.stop_reason, tokens: said.usage?.output_tokens,
      };
    },
  },
  ollama: {
    lines: true,
    target: (base) => `${base}chat`,
    body: (model, prompt) => ({ model, stream: true, messages: messages(prompt) }),
    read({ data }) {
      const said = JSON.parse(data);
      if (said.error) return { error: typeof said.error === "string" ? { message: said.error } : said.error };
      return {
        done: said.done, text: said.message?.content ?? "", thought: said.message?.thinking ?? "",
        finish: said.done_reason, tokens: said.eval_count,
      };
    },
  },
};

/** The routes a chat can be asked of: { name, dialect, base, models, streams, resume, bridge }. */
export function places(routes, config) {
  const order = Object.keys(DIALECTS);
  return routes.flatMap(({ route, path, dialect, methods, to }) => {
    const base = path.replace(/\*$/, "");
    if (base.endsWith("/streams/")) return []; // where those of another route are come back to
    const fits = dialect === "anthropic" ? !base.endsWith("messages/") : base.endsWith("/");
    const posts = methods === "any" || methods.split(",").includes("POST");
    if (!DIALECTS[dialect] || !fits || !posts || /^(tickets|generations) of /.test(to)) return [];
    const streams = `${base.replace(/\/$/, "")}/streams/`;
    const { models = [], resume = null } = config.routes.find((one) => one.name === route) ?? {};
    const bridge = config.routes.find((one) => one.bridge?.to === route)?.path ?? null;
    return [{ name: route, dialect, base, models, streams, resume, bridge }];
  }).sort((a, b) => !a.models.length - !b.models.length || order.indexOf(a.dialect) - order.indexOf(b.dialect));
}
