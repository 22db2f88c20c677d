// What a caller may use, has used and has made. The credential stays in this page's memory: no
// storage keeps it, and a reload forgets it.

const api = new URL("..", document.baseURI).pathname.replace(/\/$/, "");
const [signIn, key, problem, account, who, limits, by, usage, made, keys, make, models, days] = [
  "sign-in", "key", "problem", "account", "who", "limits", "by", "usage", "made", "keys", "make", "models", "days",
].map((id) => document.getElementById(id));
const number = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 4 });

/** The answer at a path below `me`. Throws the gateway's own message. */
async function ask(path, { method = "GET", body } = {}) {
  let response;
  try {
    response = await fetch(`${api}${path}`, {
      method,
      headers: { Authorization: `Bearer ${key.value.trim()}`, "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Error("The gateway does not answer.");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error?.message ?? `status ${response.status}`);
  return answer;
}

function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function table(heads, rows) {
  return h("table", {},
    h("thead", {}, h("tr", {}, ...heads.map(([text, css]) => h("th", { scope: "col", class: css ?? "" }, text)))),
    h("tbody", {}, ...rows));
}

/** Do something, and say what is wrong if it fails. */
async function attempt(work) {
  problem.textContent = "";
  try {
    await work();
  } catch (refused) {
    problem.textContent = refused.message;
  }
}

signIn.addEventListener("submit", (event) => {
  event.preventDefault();
  made.textContent = "";
  attempt(show);
});
by.addEventListener("change", () => attempt(showUsage));
make.addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const order = {};
    const names = models.value.split(",").map((one) => one.trim()).filter(Boolean);
    if (names.length) order.models = names;
    if (days.value) order.days = Number(days.value);
    const { secret } = await ask("/keys", { method: "POST", body: order });
    made.replaceChildren("Copy your new key now, it is not shown again: ", h("code", {}, secret));
    await showKeys();
  });
});

async function show() {
  account.hidden = true;
  const me = await ask("");
  const facts = [
    ["User", me.subject], ["Team", me.team], ["Tenant", me.tenant], ["Key", me.key],
    ["Ends", me.expires?.slice(0, 10)], ["Models", me.models.join(", ") || "none"],
  ].filter(([, value]) => value);
  who.replaceChildren(...facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  limits.replaceChildren(...(me.limits.length ? me.limits.map(limit) : [h("li", {}, "You have no limits.")]));
  await Promise.all([showUsage(), showKeys()]);
  account.hidden = false;
}

function limit(one) {
  const words = `${one.what ?? one.limit}: ${number.format(one.used)} of ${number.format(one.size)} used`;
  const ends = one.resets ? `, starts anew on ${one.resets.slice(0, 10)}` : "";
  const share = one.size ? Math.min(1, Math.max(0, one.used / one.size)) : 0;
  const meter = h("meter", { min: 0, max: 1, low: 0.8, high: 0.95, optimum: 0, value: share, "aria-label": words });
  return h("li", {}, `${words}${ends}`, meter);
}

async function showUsage() {
  const columns = by.value.split(",");
  const found = await ask(`/usage?by=${by.value}`);
  if (!found.usage) {
    usage.replaceChildren("This gateway keeps no usage.");
    return;
  }
  const rows = found.usage.map((one) => h("tr", {},
    ...columns.map((name) => h("td", {}, one[name] || "none")),
    h("td", { class: "num" }, number.format(one.requests)),
    h("td", { class: "num" }, number.format(one.tokens_in)),
    h("td", { class: "num" }, number.format(one.tokens_out)),
    h("td", { class: "num" }, one.currency ? `${number.format(one.cost)} ${one.currency}` : "–")));
  const heads = [...columns.map((name) => [name[0].toUpperCase() + name.slice(1)]),
    ["Requests", "num"], ["Tokens in", "num"], ["Tokens out", "num"], ["Cost", "num"]];
  usage.replaceChildren(rows.length ? table(heads, rows) : "Nothing was used.");
}

async function showKeys() {
  const { keys: found } = await ask("/keys");
  const rows = found.map((one) => {
    const button = h("button", { "aria-label": `Revoke ${one.id}`, onclick: () => attempt(async () => {
      await ask(`/keys/${one.id}`, { method: "DELETE" });
      await showKeys();
    }) }, "Revoke");
    return h("tr", {}, h("td", {}, h("code", {}, one.id)), h("td", {}, one.state),
      h("td", {}, one.models?.join(", ") ?? "all"), h("td", {}, one.expires?.slice(0, 10) ?? "never"),
      h("td", {}, one.state === "revoked" ? "" : button));
  });
  keys.replaceChildren(rows.length ? table([["Key"], ["State"], ["Models"], ["Ends"], ["Action"]], rows) : "None.");
}
