// Asking the admin API. What is refused for want of a session asks for the token, then goes on.

import { h } from "./dom.js";
import { inside, own } from "./place.js";

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let signingIn = null;
let onSignedIn = () => {};

export function whenSignedIn(callback) {
  onSignedIn = callback;
}

/** The document at a path. Throws Refused. */
export async function get(path) {
  return await ask("GET", path);
}

export async function send(method, path, document) {
  return await ask(method, path, document);
}

async function ask(method, path, document) {
  const options = { method, headers: { Accept: "application/json" } };
  if (document !== undefined) {
    options.body = JSON.stringify(document);
    options.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(own(path), options);
  } catch {
    throw new Refused(0, "The gateway's admin listener does not answer.");
  }
  if (response.status === 401 && path !== "/api/session") {
    await signIn();
    return await ask(method, path, document);
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, answer.error ?? (answer.problems ?? []).join("\n") ?? response.statusText);
  return answer;
}

/** Ask for a sign-in: at the issuer, or with a token until it is right. One dialog, however many wait for it. */
export function signIn() {
  signingIn ??= ways().then((session) => new Promise((resolve) => {
    const done = () => {
      dialog.remove();
      signingIn = null;
      onSignedIn();
      resolve();
    };
    const dialog = h("dialog", { class: "ask", "aria-labelledby": "sign-in" },
      h("h2", { id: "sign-in" }, "Sign in"),
      session.issuer && h("p", { class: "actions start" }, h("button", {
        class: "primary", type: "button", onclick: () => location.assign(own(`/sign-in?return_to=${encodeURIComponent(inside(location.pathname) + location.search)}`)),
      }, `Sign in at ${session.issuer}`)),
      session.issuer && session.tokens ? h("details", {}, h("summary", {}, "With a token"), tokenForm(done, "")) : (session.tokens || !session.issuer) && tokenForm(done, "primary"),
    );
    dialog.oncancel = (event) => event.preventDefault();
    document.body.append(dialog);
    dialog.showModal();
    dialog.querySelector("button.primary[type=button], input").focus();
  }));
  return signingIn;
}

/** How one can sign in. */
async function ways() {
  try {
    return await get("/api/session");
  } catch {
    return { issuer: null, tokens: true };
  }
}

function tokenForm(done, kind) {
  const problem = h("p", { class: "problem", role: "alert" });
  const input = h("input", {
    type: "password", name: "token", id: "token", required: true,
    autocomplete: "current-password", spellcheck: "false",
  });
  return h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      try {
        await send("POST", "/api/session", { token: input.value });
      } catch (refused) {
        problem.textContent = refused.message;
        input.select();
        return;
      }
      done();
    },
  },
  h("p", { class: "hint" }, "The token is the one the configuration names in ", h("code", {}, "admin.token"), "."),
  h("label", { for: "token" }, "Admin token"),
  input,
  problem,
  h("p", { class: "actions" }, h("button", { class: kind }, kind ? "Sign in" : "Sign in with the token")),
  );
}
