// API keys: whose they are, what they may, when they were last used; made, changed, replaced and
// revoked here. The server filters and pages, since there may be a million.

import { get, send } from "../api.js";
import { ask, h } from "../dom.js";
import { field, form, listed } from "../form.js";
import { clock, money, name as readable, number, short } from "../format.js";
import { allowanceFields, allowanceOf, bounds, budgetBars, ordered, UNLIMITED } from "./allowances.js";
import { choice, copyButton, empty, filter, heading, loading, state, table } from "./parts.js";

const STATES = { usable: ["good", "usable"], suspended: ["warn", "suspended"], expired: ["off", "expired"], revoked: ["off", "revoked"] };
const STATE_WORDS = [["", "every state"], ["usable", "usable"], ["suspended", "suspended"], ["expired", "expired"], ["revoked", "revoked"]];
const EVERY_MS = 5000;
const SOON_MS = 7 * 86_400_000;
const TYPED_MS = 250;
const PAGE = 100;
const FILTERS = ["find", "owner", "team", "tag", "state", "provider", "after"];

const shown = { providers: null, known: true, problem: null, made: null, asked: null };

export const view = {
  topics: [],
  title: () => "API keys",

  start(context) {
    Object.assign(shown, { providers: null, problem: null, made: null, asked: null });
    // A search looks at thousands of keys: it is not repeated without being asked for.
    shown.timer = setInterval(() => !document.hidden && !context.params.get("find") && load(context), EVERY_MS);
  },

  stop() {
    clearInterval(shown.timer);
    clearTimeout(shown.typed);
    shown.made = null; // a secret does not stay in memory longer than on the screen
  },

  moved(context) {
    const wanted = query(context);
    if (shown.asked === wanted) return;
    clearTimeout(shown.typed);
    shown.typed = setTimeout(() => load(context), shown.asked === null ? 0 : TYPED_MS);
    shown.asked = wanted;
  },

  render(context) {
    const { providers } = shown;
    if (!providers) return [heading("API keys"), shown.problem ? h("p", { class: "problem", role: "alert" }, shown.problem) : loading()];
    if (!providers.length) {
      return [heading("API keys"), empty("The configuration has no API keys.",
        "Add a provider, auth: {keys: {type: api_key, file: keys.yaml}}, and list keys in the auth of a route.")];
    }
    return [
      heading("API keys", h("div", { class: "actions" }, providers.map(({ name }) => h("button", {
        needs: "admin", class: "primary", "data-key": name, onclick: () => create(context, name),
      }, providers.length > 1 ? `Create a key in ${name}` : "Create a key")))),
      shown.problem && h("p", { class: "problem", role: "alert" }, shown.problem),
      shown.made && secret(context),
      h("div", { class: "filters" },
        words(context, "find", "Key, owner, team or tag", { "data-filter": "" }),
        words(context, "team", "Team"), words(context, "tag", "Tag"),
        choice(context, "state", "State", STATE_WORDS)),
      providers.map((one) => provider(context, one)),
    ];
  },
};

/** A filter that begins the list anew. */
function words(context, name, label, attributes = {}) {
  return filter(context, name, label, {
    ...attributes,
    oninput: (event) => context.set({ [name]: event.target.value, after: "", provider: "" }, { replace: true }),
  });
}

function query(context) {
  const wanted = new URLSearchParams({ limit: PAGE });
  for (const name of FILTERS) {
    const value = context.params.get(name);
    if (value) wanted.set(name === "find" ? "text" : name, value);
  }
  return wanted.toString();
}

async function load(context) {
  const wanted = query(context);
  try {
    const { providers, usage_known: known } = await get(`/api/keys?${wanted}`);
    if (wanted !== query(context)) return; // of an earlier filter
    Object.assign(shown, { providers, known, problem: null });
  } catch (refused) {
    shown.problem = refused.message;
  }
  context.refresh();
}

function provider(context, { name, kept_in: place, keys, next }) {
  const isFiltered = FILTERS.some((one) => one !== "provider" && context.params.get(one));
  return h("section", { "data-key": name, "aria-label": `Provider ${name}` },
    shown.providers.length > 1 && h("h2", {}, name, " ", h("span", { class: "quiet-text" }, `in the ${place}`)),
    keys.length ? table(`Keys of ${name}`, ["Key", "Owner", { text: "May use", class: "wide" }, { text: "Budgets", class: "wide" }, { text: "Expires", class: "wide" },
      { text: "Last used", class: "wide" }, { text: "Requests, 30 days", class: "num wide" }, { unseen: "Actions", class: "act" }], [...keys].reverse().map((key) => row(context, name, key)))
      : empty(next ? "No key fits the filter so far." : isFiltered ? "No key fits the filter." : "There is no key yet."),
    (next || context.params.get("after")) && h("p", { class: "actions pages" },
      context.params.get("after") && h("a", { class: "button", href: address(context, { after: "", provider: "" }) }, "First page"),
      next && h("a", { class: "button", href: address(context, { after: next, provider: name }) }, keys.length ? "Next page" : "Search further")));
}

function address(context, changes) {
  const params = new URLSearchParams(context.params);
  for (const [name, value] of Object.entries(changes)) {
    if (value) params.set(name, value);
    else params.delete(name);
  }
  const text = params.toString();
  return `/keys${text ? `?${text}` : ""}`;
}

function row(context, provider, key) {
  const usable = key.state === "usable";
  const costs = Object.entries(key.cost).map(([currency, cost]) => money(cost, currency)).join(" + ");
  const acts = (name, what, kind, onclick, needs = "admin") => h("button", { needs, "data-key": name, class: kind, "aria-label": `${name} ${key.id}`, title: what, onclick }, name);
  return h("tr", { "data-key": key.id, tabindex: "-1", "data-row": "" },
    h("td", { class: "main-cell" }, h("code", {}, key.id), h("span", { class: "why" }, state(...STATES[key.state]))),
    h("td", { class: "main-cell" }, h("a", { href: `/requests?subject=${encodeURIComponent(key.owner)}` }, readable(key.owner)),
      key.team && h("span", { class: "why" }, "team ", h("a", { href: `/teams?team=${encodeURIComponent(key.team)}` }, key.team)),
      [key.tenant, key.tier, key.tags.join(", ")].filter(Boolean).map((one) => h("span", { class: "why" }, readable(one)))),
    h("td", { class: "wide main-cell" }, key.models?.join(", ") ?? "every model",
      limits(key).length > 0 && h("span", { class: "why" }, limits(key).join(", "))),
    h("td", { class: "wide budget-cell" }, budgetBars(key.budgets, key.allowance), !key.allowance.budgets.length && "–"),
    h("td", { class: "wide time" }, expiry(key)),
    h("td", { class: "wide time" }, key.last_used ? clock(key.last_used) : h("span", { class: "quiet-text" }, shown.known ? "not yet" : "not known")),
    h("td", { class: "num wide" }, number(key.requests),
      key.requests > 0 && h("span", { class: "why" }, `${short(key.tokens)} tokens`), costs && h("span", { class: "why" }, costs)),
    h("td", { class: "act" }, key.state !== "revoked" && h("span", { class: "actions" },
      acts("Change", "limits, models, owner, end", "", () => change(context, provider, key)),
      usable && acts("Replace", "a new key with the same settings", "", () => rotate(context, provider, key)),
      key.state !== "expired" && acts(usable ? "Suspend" : "Resume", "", "", () => suspend(context, provider, key), "operator"),
      acts("Revoke", "for ever", "danger", () => revoke(context, provider, key)))));
}

/** What bounds a key beside its models: limits of the configuration and of its own, and its scopes. */
function limits({ limits: named, allowance, scopes, routes }) {
  return [
    ...named.map((one) => `limit ${one}`),
    ...bounds(allowance),
    ...(routes ?? []).map((one) => `route ${one}`),
    ...scopes,
  ];
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
    h("p", { role: "status" }, h("b", {}, `The key for ${readable(shown.made.owner)}. `), "Copy it now: it is not shown again."),
    h("p", { class: "actions" }, h("code", { class: "secret" }, shown.made.secret), copyButton(context, "secret", shown.made.secret, { what: "the key" })));
}

function fields(key) {
  const joined = (names) => (names ?? []).join(", ");
  return [
    field("owner", "Owner", "the subject of its callers, in logs and limits", { required: true, placeholder: "ann@example.com", value: key?.owner ?? "" }),
    field("team", "Team", "whose limits and models bound the key", { value: key?.team ?? "" }),
    field("tenant", "Tenant", "for limits and budgets by tenant", { value: key?.tenant ?? "" }),
    field("tier", "Tier", "for the tiers of limits", { value: key?.tier ?? "" }),
    field("models", "Models", "names, separated by commas", { placeholder: "all of the route", value: joined(key?.models) }),
    field("routes", "Routes", "names, separated by commas", { placeholder: "all that accept it", value: joined(key?.routes) }),
    field("limits", "Limits", "names of further limits", { placeholder: "those of the route", value: joined(key?.limits) }),
    field("scopes", "Scopes", "separated by spaces", { value: key?.scopes.join(" ") ?? "" }),
    field("tags", "Tags", "words that usage is summed by", { value: joined(key?.tags) }),
    key ? field("expires", "Expires after", "from now on, such as 90d; 0s: now; never", { placeholder: `as it is: ${key.expires?.slice(0, 10) ?? "never"}` })
      : field("expires", "Expires after", "such as 90d", { placeholder: "never" }),
    ...allowanceFields("allowance", "Limits of its own", key?.allowance ?? UNLIMITED),
  ];
}

/** The settings that a form describes. A field for the end that was left empty says nothing. */
function settings(values) {
  const names = (text) => (text ? listed(text) : null);
  return {
    owner: values.owner, team: values.team || null, tenant: values.tenant || null, tier: values.tier || null,
    models: names(values.models), routes: names(values.routes), limits: listed(values.limits),
    scopes: values.scopes.split(/\s+/).filter(Boolean), tags: listed(values.tags),
    allowance: allowanceOf("allowance", values),
    ...(values.expires ? { expires: values.expires === "never" ? null : values.expires } : {}),
  };
}

async function create(context, provider) {
  await form("Create a key", fields(null), "Create", async (values) => {
    const answer = await send("POST", `/api/keys?provider=${encodeURIComponent(provider)}`, settings(values));
    shown.made = { owner: values.owner, secret: answer.secret };
    await load(context);
  });
}

async function change(context, provider, key) {
  await form(`Change ${key.id}`, fields(key), "Change", async (values) => {
    const wanted = settings(values);
    const changes = Object.fromEntries(Object.entries(wanted).filter(([name, value]) =>
      name === "expires" || JSON.stringify(value) !== JSON.stringify(name === "allowance" ? ordered(key.allowance) : key[name])));
    if (Object.keys(changes).length) {
      await send("PATCH", `/api/keys/${key.id}?provider=${encodeURIComponent(provider)}&version=${key.version}`, changes);
    }
    await load(context);
  });
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
