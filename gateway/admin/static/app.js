// The frame around the views: addresses, keys, theme, session, and what comes by the feed.

import { get, send, signIn, whenSignedIn } from "./api.js";
import { ask, h, show } from "./dom.js";
import { Feed } from "./feed.js";
import { inside, own } from "./place.js";
import { may, setRole } from "./roles.js";
import { view as audit } from "./views/audit.js";
import { view as config } from "./views/config.js";
import { view as keys } from "./views/keys.js";
import { view as limits } from "./views/limits.js";
import { view as now } from "./views/now.js";
import { empty, heading } from "./views/parts.js";
import { view as play } from "./views/play.js";
import { view as requests } from "./views/requests.js";
import { view as teams } from "./views/teams.js";
import { view as upstreams } from "./views/upstreams.js";
import { view as usage } from "./views/usage.js";

/** Path, label in the bar, view and, if it is not every one's, role of each page. A view may have a `title` that says more. */
const VIEWS = [
  ["/", "Now", now],
  ["/requests", "Requests", requests],
  ["/upstreams", "Upstreams", upstreams],
  ["/limits", "Limits", limits],
  ["/usage", "Usage", usage],
  ["/keys", "Keys", keys],
  ["/teams", "Teams", teams],
  ["/config", "Config", config],
  ["/play", "Playground", play, "operator"],
  ["/audit", "Audit", audit, "admin"],
];
const KEYS = [
  ["1 – 9  0", "a page"],
  ["/", "the filter"],
  ["j  k", "next, previous row"],
  ["Enter", "open the row"],
  ["Esc", "close, or leave a field"],
  ["t", "dark or light"],
  ["?", "these keys"],
];

const main = document.getElementById("main");
const live = document.getElementById("live");
const data = {};
let current = null;

/** What a view gets: its data, its address, and ways to change them. */
const context = {
  /** Leave what is open. */
  close: () => current?.close?.(context),
  data,
  session: {},
  params: new URLSearchParams(),
  id: null,
  /** Show it again, soon. */
  refresh() {
    if (context.waiting) return;
    context.waiting = true;
    // Not by animation frame alone: a page in the background gets none.
    setTimeout(() => {
      context.waiting = false;
      paint();
    }, 16);
  },
  /** Go to an address of ours. */
  go(path, { replace = false } = {}) {
    history[replace ? "replaceState" : "pushState"](null, "", own(path));
    route();
  },
  /** Change parameters of the address; empty ones are left out. */
  set(changes, { replace = false } = {}) {
    const params = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === "") params.delete(name);
      else params.set(name, value);
    }
    const query = params.toString();
    context.go(inside(location.pathname) + (query ? `?${query}` : ""), { replace });
  },
};

const feed = new Feed(
  (topic, document) => {
    data[topic] = document;
    context.refresh();
  },
  (state) => {
    const words = { live: "live", waiting: "no connection", paused: "" }[state];
    if (live.dataset.state === state) return;
    live.dataset.state = state;
    live.textContent = words;
  },
);

function route() {
  const [, first, rest] = inside(location.pathname).match(/^(\/[^/]*)(?:\/(.+))?$/) ?? [];
  const entry = VIEWS.find(([path]) => path === first) ?? VIEWS[0];
  const [path, name] = entry;
  const view = entry[3] && !may(entry[3]) ? closed(name, entry[3]) : entry[2];
  context.params = new URLSearchParams(location.search);
  context.id = rest ? decodeURIComponent(rest) : null;
  if (current !== view) {
    current?.stop?.(context);
    current = view;
    main.replaceChildren();
    main.dataset.view = path.slice(1) || "now";
    scrollTo(0, 0);
    view.start?.(context);
    feed.follow(view.topics ?? []);
  }
  if (context.id === null) document.title = `${view.title?.(context) ?? name} · Gateway`; // else by the view
  view.moved?.(context);
  navigation(first);
  paint();
}

function paint() {
  if (!current) return;
  show(main, current.render(context));
  current.painted?.(context, main);
}

/** The pages of this role. */
const pages = () => VIEWS.filter(([, , , role]) => !role || may(role));

/** What there is instead of a page of another role. */
function closed(name, role) {
  return { topics: [], render: () => [heading(name), empty("This page is not yours.", `It needs the role ${role}; yours is ${context.session.role}.`)] };
}

function navigation(place) {
  show(document.getElementById("nav"), pages().map(([path, name], index) =>
    h("a", {
      href: path, "aria-current": (place || "/") === path ? "page" : null, title: `${name} (${(index + 1) % 10})`,
    }, name)));
  // Where they do not all fit beside one another, the one that is open is in sight.
  document.querySelector("#nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='/']");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || link.target || link.hasAttribute("download")) return;
  event.preventDefault();
  context.go(inside(link.getAttribute("href")));
});
window.addEventListener("popstate", route);

// -- keys ------------------------------------------------------------------------------------

const isField = (element) => /^(INPUT|TEXTAREA|SELECT)$/.test(element?.nodeName ?? "");

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const { key } = event;
  if (key === "Escape") {
    if (isField(document.activeElement)) document.activeElement.blur();
    else current?.close?.(context);
    return;
  }
  if (isField(document.activeElement)) return;
  const page = /^[0-9]$/.test(key) && pages()[(key === "0" ? 10 : Number(key)) - 1];
  if (page) context.go(page[0]);
  else if (key === "/") main.querySelector("[data-filter]")?.focus();
  else if (key === "j" || key === "k") move(key === "j" ? 1 : -1);
  else if (key === "t") switchTheme();
  else if (key === "?") tellKeys();
  else return;
  event.preventDefault();
});

function move(step) {
  const rows = [...main.querySelectorAll("[data-row]")];
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement?.closest("[data-row]"));
  const next = at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + step));
  rows[next].focus();
  rows[next].scrollIntoView({ block: "nearest" });
}

function tellKeys() {
  ask("Keys", h("dl", { class: "keys" }, KEYS.map(([key, what]) => [
    h("dt", {}, key.split("  ").map((one) => [h("kbd", {}, one), " "])), h("dd", {}, what),
  ])), [{ label: "Close", value: "" }]);
}

// -- theme -----------------------------------------------------------------------------------

const themeButton = document.getElementById("theme");
const system = matchMedia("(prefers-color-scheme: dark)");

function theme() {
  return document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light");
}

function switchTheme() {
  const next = theme() === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem("theme", next);
  } catch {
    // storage is switched off: until the page is left, then
  }
  themed();
}

function themed() {
  const other = theme() === "dark" ? "light" : "dark";
  themeButton.textContent = other === "dark" ? "Dark" : "Light";
  themeButton.title = `Change to ${other} (t)`;
  context.theme = theme();
  current?.themed?.(context);
}

themeButton.onclick = switchTheme;
system.addEventListener("change", themed);
document.getElementById("help").onclick = tellKeys;

// -- session ---------------------------------------------------------------------------------

async function session() {
  try {
    context.session = await get("/api/session");
  } catch (refused) {
    show(main, h("div", { class: "empty" }, h("h1", {}, "No connection"), h("p", {}, refused.message),
      h("p", {}, h("button", { onclick: () => location.reload() }, "Try again"))));
    return;
  }
  const { admitted, needs_token: asks, name, role } = context.session;
  setRole(admitted ? role : null);
  document.getElementById("leave").hidden = !(asks && admitted);
  document.getElementById("who").hidden = !(asks && admitted);
  show(document.getElementById("who"), name ?? "", h("span", { class: "quiet-text" }, ` ${role ?? ""}`));
  if (context.session.admitted) route();
  else if (context.session.needs_token) await signIn();
  else show(main, h("div", { class: "empty" }, h("h1", {}, "Not here"), h("p", {}, `The gateway says: ${context.session.reason}.`)));
}

document.getElementById("leave").onclick = async () => {
  const { end_session_url: there } = await send("DELETE", "/api/session");
  if (there) location.assign(there);
  else location.reload();
};
whenSignedIn(session);
themed();
navigation(`/${inside(location.pathname).split("/")[1]}`);
session();
