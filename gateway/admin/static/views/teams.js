// Teams and users: limits, models and budgets above the API keys; the members of a team.

import { get, send } from "../api.js";
import { ask, h } from "../dom.js";
import { field, form, listed } from "../form.js";
import { money, name as readable, number, short } from "../format.js";
import { allowanceFields, allowanceOf, bounds, budgetBars, UNLIMITED } from "./allowances.js";
import { choice, empty, filter, heading, loading, state, table } from "./parts.js";

const EVERY_MS = 5000;
const TYPED_MS = 250;
const PAGE = 100;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const NO_TEAM = { models: null, limits: UNLIMITED, per_user: UNLIMITED, per_key: UNLIMITED, user_keys: 0, key_lifetime: null };
const KINDS = {
  team: { path: "/api/teams", title: "Teams", create: "Create a team", one: "team" },
  user: { path: "/api/users", title: "Users", create: "Set a user's limits", one: "user" },
};

const shown = { asked: null, found: null, next: null, team: null, members: null, problem: null };

export const view = {
  topics: [],
  title: (context) => context.params.get("team") ?? KINDS[kindOf(context)].title,

  start(context) {
    Object.assign(shown, { asked: null, found: null, team: null, members: null, problem: null });
    shown.timer = setInterval(() => !document.hidden && load(context), EVERY_MS);
  },

  stop() {
    clearInterval(shown.timer);
    clearTimeout(shown.typed);
  },

  close: (context) => context.params.get("team") && context.go("/teams"),

  moved(context) {
    const wanted = address(context);
    if (shown.asked === wanted) return;
    if (context.params.get("team") !== shown.team?.name) Object.assign(shown, { team: null, members: null });
    clearTimeout(shown.typed);
    shown.typed = setTimeout(() => load(context), shown.asked === null ? 0 : TYPED_MS);
    shown.asked = wanted;
    shown.found = null;
  },

  render(context) {
    const problem = shown.problem && h("p", { class: "problem", role: "alert" }, shown.problem);
    if (context.params.get("team")) return one(context, problem);
    const kind = kindOf(context);
    const { title, create } = KINDS[kind];
    return [
      heading(title, h("div", { class: "actions" },
        h("button", { needs: "admin", class: "primary", onclick: () => settle(context, kind, null) }, create))),
      problem,
      h("div", { class: "filters" },
        filter(context, "find", "Name", {
          "data-filter": "",
          oninput: (event) => context.set({ find: event.target.value, after: "" }, { replace: true }),
        }),
        choice(context, "of", "Show", [["", "teams"], ["user", "users"]])),
      shown.found ? list(context, kind) : !problem && loading(),
    ];
  },
};

const kindOf = (context) => (context.params.get("of") === "user" ? "user" : "team");

function address(context) {
  const team = context.params.get("team");
  if (team) return `/api/teams?name=${encodeURIComponent(team)}`;
  const wanted = new URLSearchParams({ limit: PAGE });
  for (const [name, to] of [["find", "text"], ["after", "after"]]) {
    if (context.params.get(name)) wanted.set(to, context.params.get(name));
  }
  return `${KINDS[kindOf(context)].path}?${wanted}`;
}

async function load(context) {
  const wanted = address(context);
  const name = context.params.get("team");
  try {
    const answer = await get(wanted);
    const found = answer.teams ?? answer.users;
    const members = name && found.length ? await get(`/api/teams/${encodeURIComponent(name)}/members`) : null;
    if (wanted !== address(context)) return; // of an earlier filter
    Object.assign(shown, { found, next: answer.next, members, problem: null });
    if (name) shown.team = found[0] ?? null;
  } catch (refused) {
    shown.problem = refused.message;
  }
  context.refresh();
}

function list(context, kind) {
  const isFiltered = context.params.get("find");
  if (!shown.found.length && !context.params.get("after")) {
    if (isFiltered) return empty(`No ${kind} of this name.`);
    return kind === "team" ? empty("There is no team yet.", "A team bounds the keys and tokens of its users: limits, budgets and models.")
      : empty("No user has limits of its own.", "Owners of keys and callers with tokens need no record here.");
  }
  const of = KINDS[kind].title;
  return [
    table(of, [kind === "team" ? "Team" : "User", { text: "May use", class: "wide" }, { text: "Limits", class: "wide" }, "Budgets",
      { unseen: "Actions", class: "act" }], shown.found.map((each) => row(context, kind, each))),
    (shown.next || context.params.get("after")) && h("p", { class: "actions pages" },
      context.params.get("after") && h("button", { onclick: () => context.set({ after: "" }) }, "First page"),
      shown.next && h("button", { onclick: () => context.set({ after: shown.next }) }, "Next page")),
  ];
}

function row(context, kind, each) {
  const link = kind === "team" ? `/teams?team=${encodeURIComponent(each.name)}` : `/requests?subject=${encodeURIComponent(each.name)}`;
  return h("tr", { "data-key": each.name, tabindex: "-1" },
    h("td", { class: "main-cell" }, h("a", { href: link, "data-row": "" }, readable(each.name)), h("span", { class: "why" }, stateOf(each))),
    h("td", { class: "wide main-cell" }, each.models?.join(", ") ?? "every model"),
    h("td", { class: "wide main-cell" }, limits(kind, each).map((words) => h("div", {}, words)), !limits(kind, each).length && "–"),
    h("td", { class: "budget-cell" }, budgetBars(each.budgets, each.limits), !each.limits.budgets.length && "–"),
    h("td", { class: "act" }, acts(context, kind, each)));
}

const stateOf = ({ suspended }) => (suspended ? state("warn", "suspended") : state("good", "active"));

/** Limits in words, and whose they are. */
function limits(kind, each) {
  const told = [...bounds(each.limits)];
  if (kind === "team") {
    for (const [place, words] of [["per_user", "each user"], ["per_key", "each key"]]) {
      const some = [...bounds(each[place]), ...each[place].budgets];
      if (some.length) told.push(`${words}: ${some.join(", ")}`);
    }
    if (each.user_keys) told.push(`users make ${each.user_keys} ${each.user_keys === 1 ? "key" : "keys"}`);
  }
  return told;
}

function acts(context, kind, each) {
  const button = (name, onclick, css = "", needs = "admin") => h("button", { needs, class: css, "data-key": name, "aria-label": `${name} ${each.name}`, onclick }, name);
  return h("span", { class: "actions" },
    button("Change", () => settle(context, kind, each)),
    button(each.suspended ? "Resume" : "Suspend", () => suspend(context, kind, each), "", "operator"),
    button("Delete", () => remove(context, kind, each), "danger"));
}

/** One team, with its members. */
function one(context, problem) {
  const name = context.params.get("team");
  const { team, members } = shown;
  const back = h("p", { class: "back" }, h("a", { href: "/teams" }, "Teams"));
  if (!team) {
    return [back, heading(name), problem, !problem && (shown.found ? empty("There is no team of this name.", "It may have been deleted. Its keys and tokens are refused.") : loading())];
  }
  return [
    back,
    heading(team.name, acts(context, "team", team)),
    problem,
    h("section", { class: "card", "aria-label": "Limits of the team" },
      h("dl", { class: "pairs" }, [
        ["State", stateOf(team)],
        ["Since", team.created.slice(0, 10)],
        ["May use", team.models?.join(", ") ?? "every model"],
        ["Limits", limits("team", team).join("; ") || "none"],
        ["Keys", h("a", { href: `/keys?team=${encodeURIComponent(name)}` }, "of this team")],
        ["Usage", h("a", { href: `/api/usage.csv?by=day,subject,model&team=${encodeURIComponent(name)}`, download: `usage-${name}.csv` }, "CSV by day")],
      ].map(([term, words]) => h("div", {}, h("dt", {}, term), h("dd", {}, words)))),
      team.limits.budgets.length > 0 && h("div", { class: "budgets" }, budgetBars(team.budgets, team.limits))),
    h("h2", {}, "Members"),
    !members ? loading() : members.members.length ? memberTable(context, team, members)
      : empty("Nobody yet.", members.usage_known ? "Members are the owners of the team's keys, and callers whose tokens name the team." : "Members are the owners of the team's keys. Callers with tokens are known with a local store of traces."),
    members?.more && h("p", { class: "hint" }, "There are more members, or more keys, than are shown."),
  ];
}

function memberTable(context, team, { members, usage_known: known }) {
  return table("Members", ["User", { text: "Keys", class: "num wide" }, { text: "Requests, 30 days", class: "num wide" }, { text: "Tokens", class: "num" }, { text: "Cost", class: "num wide" },
    "Budgets", { unseen: "Actions", class: "act" }], members.map((each) => h("tr", { "data-key": each.name, tabindex: "-1" },
    h("td", { class: "main-cell" }, h("a", { href: `/requests?subject=${encodeURIComponent(each.name)}`, "data-row": "" }, readable(each.name)),
      each.suspended && h("span", { class: "why" }, stateOf(each))),
    h("td", { class: "num wide" }, each.keys ? h("a", { href: `/keys?team=${encodeURIComponent(team.name)}&owner=${encodeURIComponent(each.name)}` }, number(each.keys)) : "–"),
    h("td", { class: "num wide" }, known ? number(each.requests) : "–"),
    h("td", { class: "num" }, known ? short(each.tokens) : "–"),
    h("td", { class: "num wide" }, Object.entries(each.cost).map(([currency, cost]) => money(cost, currency)).join(" + ") || "–"),
    h("td", { class: "budget-cell" }, budgetBars(each.budgets, team.per_user), !team.per_user.budgets.length && "–"),
    h("td", { class: "act" }, h("button", {
      needs: "operator", "aria-label": `${each.suspended ? "Resume" : "Suspend"} ${each.name}`, onclick: () => suspend(context, "user", each),
    }, each.suspended ? "Resume" : "Suspend")))));
}

async function settle(context, kind, before) {
  const known = { ...NO_TEAM, ...before };
  const fields = [
    !before && field("name", kind === "team" ? "Name" : "User", kind === "team" ? "letters, digits, dots, hyphens" : "owner of keys, or subject of tokens", { required: true, value: "" }),
    field("models", "Models", "names, separated by commas", { placeholder: "every model", value: (known.models ?? []).join(", "), wide: Boolean(before) }),
    ...(kind === "team" ? [
      field("user_keys", "Keys that users make", "for themselves; 0: none", { value: String(known.user_keys), inputmode: "numeric" }),
      field("key_lifetime", "Their longest lifetime", "such as 30d", { placeholder: "no end", value: known.key_lifetime ?? "" }),
    ] : []),
    ...allowanceFields("limits", kind === "team" ? "Limits of the whole team" : "Limits of the user", known.limits),
    ...(kind === "team" ? [
      ...allowanceFields("per_user", "Limits of each user in the team", known.per_user),
      ...allowanceFields("per_key", "Limits of each key of the team", known.per_key),
    ] : []),
  ].filter(Boolean);
  const title = before ? `Change ${readable(before.name)}` : KINDS[kind].create;
  await form(title, fields, before ? "Change" : "Create", async (values) => {
    const name = before?.name ?? values.name;
    if (kind === "team" && !NAME.test(name)) throw new Error("name: use letters, digits, dots, hyphens and underscores, 64 at most");
    const settings = { models: values.models ? listed(values.models) : null, limits: allowanceOf("limits", values) };
    if (kind === "team") {
      if (!/^\d+$/.test(values.user_keys || "0")) throw new Error("user_keys: this has to be a number");
      Object.assign(settings, {
        per_user: allowanceOf("per_user", values), per_key: allowanceOf("per_key", values),
        user_keys: Number(values.user_keys || 0), key_lifetime: values.key_lifetime || null,
      });
    }
    await send("PUT", `${path(kind, name)}?version=${before?.version ?? "none"}`, settings);
    await load(context);
  });
}

const path = (kind, name) => `${KINDS[kind].path}/${encodeURIComponent(name)}`;

const suspend = (context, kind, each) =>
  act(context, () => send("POST", `${path(kind, each.name)}/${each.suspended ? "resume" : "suspend"}`));

async function remove(context, kind, each) {
  const what = kind === "team" ? "Its keys and tokens are refused within a second." : "Its keys stay usable, without these limits.";
  const answer = await ask(`Delete the ${KINDS[kind].one}?`, h("p", {}, h("b", {}, readable(each.name)), ": ", what),
    [{ label: "Cancel", value: "", skips: true }, { label: "Delete", value: "yes", kind: "danger" }]);
  if (answer !== "yes") return;
  await act(context, () => send("DELETE", path(kind, each.name)));
  if (!shown.problem && context.params.get("team")) context.go("/teams");
}

async function act(context, change) {
  try {
    await change();
    await load(context);
  } catch (refused) {
    shown.problem = refused.message;
    context.refresh();
  }
}
