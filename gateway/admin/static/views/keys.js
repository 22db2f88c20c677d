// API keys: whose they are, what they may, when they were last used; made, replaced and revoked here.

import { get, send } from "../api.js";
import { ask, h } from "../dom.js";
import { clock, money, number, short } from "../format.js";
import { copyButton, empty, filter, heading, loading, state, table } from "./parts.js";

const STATES = { usable: ["good", "usable"], suspended: ["warn", "suspended"], expired: ["off", "expired"], revoked: ["off", "revoked"] };
const EVERY_MS = 5000;
const SOON_MS = 7 * 86_400_000;
const FIELDS = [
  ["owner", "Owner", { required: true, placeholder: "ann@example.com" }, "the subject of its callers, in logs and limits"],
  ["team", "Team", {}, "whose limits and models bound the key"],
  ["tenant", "Tenant", {}, "for limits and budgets by tenant"],
  ["models", "Models", { placeholder: "all of the route" }, "names, separated by commas"],
  ["limits", "Limits", { placeholder: "those of the route" }, "names of further limits, separated by commas"],
  ["scopes", "Scopes", {}, "separated by spaces"],
  ["expires", "Expires after", { placeholder: "never" }, "such as 90d"],
];

const shown = { providers: null, known: true, problem: null, made: null };

export const view = {
  topics: [],
  title: () => "API keys",

  start(context) {
    Object.assign(shown, { providers: null, problem: null, made: null });
    load(context);
    shown.timer = setInterval(() => !document.hidden && load(context), EVERY_MS);
  },

  stop() {
    clearInterval(shown.timer);
    shown.made = null; // a secret does not stay in memory longer than on the screen
  },

  render(context) {
    const { providers } = shown;
    if (!providers) return [heading("API keys"), shown.problem ? h("p", { class: "problem", role: "alert" }, shown.problem) : loading()];
    if (!providers.length) {
      return [heading("API keys"), empty("The configuration has no API keys.",
        "Add a provider, auth: {keys: {type: api_key, file: keys.yaml}}, and list keys in the auth of a route.")];
    }
    const words = (context.params.get("find") ?? "").toLowerCase();
    return [
      heading("API keys", h("div", { class: "actions" }, providers.map(({ name }) => h("button", {
        class: "primary", onclick: () => create(context, name),
      }, providers.length > 1 ? `Create a key in ${name}` : "Create a key")))),
      shown.problem && h("p", { class: "problem", role: "alert" }, shown.problem),
      shown.made && secret(context),
      h("div", { class: "filters" }, filter(context, "find", "Key, owner or tenant", { "data-filter": "" })),
      providers.map((one) => provider(context, one, words)),
    ];
  },
};

async function load(context) {
  try {
    const { providers, usage_known: known } = await get("/api/keys");
    Object.assign(shown, { providers, known, problem: null });
  } catch (refused) {
    shown.problem = refused.message;
  }
  context.refresh();
}

function provider(context, { name, kept_in: place, keys }, words) {
  const fits = keys.filter(({ id, owner, tenant }) => `${id} ${owner} ${tenant ?? ""}`.toLowerCase().includes(words));
  return h("section", { "data-key": name, "aria-label": `Provider ${name}` },
    shown.providers.length > 1 && h("h2", {}, name, " ", h("span", { class: "quiet-text" }, `in the ${place}`)),
    fits.length ? table(`Keys of ${name}`, ["Key", "Owner", { text: "Tenant", class: "wide" }, { text: "May use", class: "wide" }, { text: "Expires", class: "wide" },
      "Last used", { text: "Requests, 30 days", class: "num wide" }, { text: "Tokens", class: "num wide" }, { text: "Cost", class: "num wide" },
      { unseen: "Actions", class: "act" }], [...fits].reverse().map((key) => row(context, name, key)))
      : empty(keys.length ? "No key fits the filter." : "There is no key yet."));
}

function row(context, provider, key) {
  const usable = key.state === "usable";
  const costs = Object.entries(key.cost).map(([currency, cost]) => money(cost, currency)).join(" + ");
  return h("tr", { "data-key": key.id, tabindex: "-1", "data-row": "" },
    h("td", { class: "main-cell" }, h("code", {}, key.id), h("span", { class: "why" }, state(...STATES[key.state]))),
    h("td", { class: "main-cell" }, h("a", { href: `/requests?subject=${encodeURIComponent(key.owner)}` }, key.owner)),
    h("td", { class: "wide" }, key.tenant ?? "–", key.tier && h("span", { class: "why" }, key.tier)),
    h("td", { class: "wide" }, key.models?.join(", ") ?? "every model",
      bounds(key).length > 0 && h("span", { class: "why" }, bounds(key).join(", "))),
    h("td", { class: "wide time" }, expiry(key)),
    h("td", { class: "time" }, key.last_used ? clock(key.last_used) : h("span", { class: "quiet-text" }, shown.known ? "not yet" : "not known")),
    h("td", { class: "num wide" }, number(key.requests)),
    h("td", { class: "num wide" }, short(key.tokens)),
    h("td", { class: "num wide" }, costs || "–"),
    h("td", { class: "act" }, (usable || key.state === "suspended") && h("span", { class: "actions" },
      usable && h("button", { "aria-label": `Replace ${key.id}`, onclick: () => rotate(context, provider, key) }, "Replace"),
      h("button", { "aria-label": `${usable ? "Suspend" : "Resume"} ${key.id}`, onclick: () => suspend(context, provider, key) }, usable ? "Suspend" : "Resume"),
      h("button", { class: "danger", "aria-label": `Revoke ${key.id}`, onclick: () => revoke(context, provider, key) }, "Revoke"))));
}

/** What bounds a key beside its models: limits of the configuration and of its own, and its scopes. */
function bounds({ limits, allowance, scopes, team }) {
  const { requests, tokens, concurrency, budgets } = allowance;
  return [
    team && `team ${team}`,
    ...limits.map((one) => `limit ${one}`),
    requests && `${requests} requests`,
    tokens && `${tokens} tokens`,
    concurrency && `${concurrency} at once`,
    ...budgets,
    ...scopes,
  ].filter(Boolean);
}

function expiry({ expires, revoked }) {
  if (revoked) return `revoked ${revoked.slice(0, 10)}`;
  if (!expires) return "never";
  const left = Date.parse(expires) - Date.now();
  if (left < 0) return expires.slice(0, 10);
  return left < SOON_MS ? state("warn", clock(Date.parse(expires) / 1e3)) : expires.slice(0, 10);
}

/** The key that was just made, until the page is left. */
function secret(context) {
  return h("section", { class: "card made", "aria-label": "New key" },
    h("p", { role: "status" }, h("b", {}, `The key for ${shown.made.owner}. `), "Copy it now: it is not shown again."),
    h("p", { class: "actions" }, h("code", { class: "secret" }, shown.made.secret), copyButton(context, "secret", shown.made.secret, { what: "the key" })));
}

const listed = (text) => text.split(",").map((one) => one.trim()).filter(Boolean);

async function create(context, provider) {
  const inputs = Object.fromEntries(FIELDS.map(([name, , attributes]) => [name, h("input", { name, id: `key-${name}`, autocomplete: "off", spellcheck: "false", ...attributes })]));
  const body = FIELDS.map(([name, label, , hint]) => [h("label", { for: `key-${name}` }, label, " ", h("span", { class: "quiet-text" }, hint)), inputs[name]]);
  const answer = await ask("Create a key", body, [{ label: "Cancel", value: "", skips: true }, { label: "Create", value: "yes", kind: "primary" }]);
  if (answer !== "yes") return;
  const { owner, team, tenant, models, limits, scopes, expires } = Object.fromEntries(Object.entries(inputs).map(([name, { value }]) => [name, value.trim()]));
  await act(context, owner, () => send("POST", `/api/keys?provider=${encodeURIComponent(provider)}`, {
    owner, team: team || null, tenant: tenant || null, models: models ? listed(models) : null, limits: listed(limits),
    scopes: scopes.split(/\s+/).filter(Boolean), expires: expires || null,
  }));
}

async function rotate(context, provider, key) {
  const overlap = h("input", { id: "overlap", value: "1h", autocomplete: "off" });
  const answer = await ask("Replace the key", [
    h("p", { class: "hint" }, "A new key with the same settings is made for ", h("b", {}, key.owner), "."),
    h("label", { for: "overlap" }, "The old key works for another"), overlap,
  ], [{ label: "Cancel", value: "", skips: true }, { label: "Replace", value: "yes", kind: "primary" }]);
  if (answer !== "yes") return;
  await act(context, key.owner, () => send("POST", `/api/keys/${key.id}/rotate?provider=${encodeURIComponent(provider)}`, { overlap: overlap.value.trim() || "0s" }));
}

/** Suspend a usable key; resume one that is suspended. */
async function suspend(context, provider, key) {
  const action = key.state === "suspended" ? "resume" : "suspend";
  await act(context, key.owner, () => send("POST", `/api/keys/${key.id}/${action}?provider=${encodeURIComponent(provider)}`));
}

async function revoke(context, provider, key) {
  const answer = await ask("Revoke the key?", h("p", {}, "Callers with ", h("code", {}, key.id), " of ", h("b", {}, key.owner), " are refused within a second. This cannot be undone."),
    [{ label: "Cancel", value: "", skips: true }, { label: "Revoke", value: "yes", kind: "danger" }]);
  if (answer === "yes") await act(context, key.owner, () => send("DELETE", `/api/keys/${key.id}?provider=${encodeURIComponent(provider)}`));
}

async function act(context, owner, change) {
  try {
    const { secret: made } = await change();
    shown.made = made ? { owner, secret: made } : null;
    await load(context);
  } catch (refused) {
    shown.problem = refused.message;
    context.refresh();
  }
}
