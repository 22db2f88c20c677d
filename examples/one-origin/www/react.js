// A page with the hook of use-stream.js. A browser needs it bundled with React:
//
//   npm install react react-dom esbuild
//   npx esbuild react.js --bundle --format=esm --external:/client.js --outfile=react.bundle.js

import { createElement as h, useState } from "react";
import { createRoot } from "react-dom/client";
import { chat, delta, headers } from "./session.js";
import { useStream } from "./use-stream.js";

function Chat() {
  const [prompt, setPrompt] = useState("Tell me of reverse proxies.");
  const { text, state, error, send, stop } = useStream("/v1/chat/completions", { headers, read: delta });
  const submit = (event) => {
    event.preventDefault();
    send(chat(prompt));
  };
  return h("div", null,
    h("form", { onSubmit: submit },
      h("input", { "aria-label": "Prompt", value: prompt, onChange: (event) => setPrompt(event.target.value) }),
      h("button", null, "Send"),
      h("button", { type: "button", id: "stop", onClick: stop }, "Stop")),
    h("p", null, "State: ", h("output", { id: "state" }, state)),
    h("p", { className: "answer", id: "answer", "aria-live": "polite" }, text),
    error && h("p", { role: "alert" }, error.message));
}

createRoot(document.getElementById("root")).render(h(Chat));
