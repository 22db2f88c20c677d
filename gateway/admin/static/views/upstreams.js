// Endpoints: which of them serve, why others do not, and taking one out.

import { send } from "../api.js";
import { ask, h } from "../dom.js";
import { number, seconds } from "../format.js";
import { empty, heading, loading, state, table } from "./parts.js";

const KINDS = { healthy: "good", draining: "off", ejected: "bad", unhealthy: "bad", half_open: "warn", open: "bad" };
const COUNTS = {
  retries: "retries", hedges: "hedges", hedges_won: "hedges won", ejections: "ejections",
};

let problem = null;

export const view = {
  topics: ["upstreams"],

  start() {
    problem = null;
  },

  render(context) {
    const { upstreams } = context.data.upstreams ?? {};
    if (!upstreams) return [heading("Upstreams"), loading()];
    const all = upstreams.flatMap((one) => one.endpoints);
    const out = all.filter((one) => one.state !== "healthy").length;
    return [
      heading("Upstreams", h("p", { class: "sum" }, out
        ? state(out === all.length ? "bad" : "warn", `${out} of ${all.length} endpoints out`)
        : state("good", `all ${all.length} endpoints serve`))),
      problem && h("p", { class: "problem", role: "alert" }, problem),
      upstreams.length ? upstreams.map((one) => card(context, one))
        : empty("No worker answers.", "The gateway's log says why; /livez too."),
      (context.data.upstreams.models ?? []).map(model),
    ];
  },
};

// A model that several upstreams serve.
function model({ name, deployments }) {
  const ready = deployments.filter((one) => one.ready > 0).length;
  return h("section", { class: "card", "data-key": `model ${name}`, "aria-label": `Model ${name}` },
    h("div", { class: "card-head" },
      h("h2", {}, `Model ${name}`),
      h("span", { class: "quiet-text" }, `${ready} of ${deployments.length} deployments take requests`)),
    table(`Deployments of ${name}`,
      ["State", "Upstream", "Its name of the model", { text: "In flight", class: "num" },
        { text: "Weight", class: "num wide" }, { text: "Priority", class: "num wide" },
        { text: "First token", class: "num wide" }, { text: "Each token", class: "num wide" }],
      deployments.map((one) => h("tr", { "data-key": `${one.upstream}/${one.model}` },
        h("td", {}, !one.ready ? state("warn", "passed over")
          : one.share < 1 ? state("warn", "near its provider's limit") : state("good", "takes requests")),
        h("td", { class: "main-cell" }, h("code", {}, one.upstream)),
        h("td", {}, h("code", {}, one.model)),
        h("td", { class: "num" }, number(one.in_flight)),
        h("td", { class: "num wide" }, number(one.weight)),
        h("td", { class: "num wide" }, number(one.priority)),
        h("td", { class: "num wide" }, one.ttft_s ? seconds(one.ttft_s) : ""),
        h("td", { class: "num wide" }, one.tpot_s ? seconds(one.tpot_s) : "")))));
}

function card(context, upstream) {
  const { name, endpoints, pending, panicking, counts, models, start } = upstream;
  const serving = endpoints.filter((one) => one.state === "healthy");
  const told = Object.entries(counts ?? {}).filter(([, count]) => typeof count === "number" && count > 0);
  return h("section", { class: "card", "data-key": name, "aria-label": name },
    h("div", { class: "card-head" },
      h("h2", {}, name),
      panicking && state("bad", "too few are healthy: all are used"),
      h("span", { class: "quiet-text" }, `${serving.length} of ${endpoints.length} serve`),
      pending > 0 && state("warn", `${pending} wait for a place`),
      start?.waking && state("warn", `starting for ${seconds(start.for_s)}: ${start.waiting} wait`),
    ),
    table(`Endpoints of ${name}`,
      ["State", "Endpoint", { text: "In flight", class: "num" }, { text: "Connections", class: "num wide" },
        { text: "Weight", class: "num wide" }, { text: "Priority", class: "num wide" },
        { text: "Ejected", class: "num wide" }, { unseen: "Actions", class: "act" }],
      endpoints.map((one) => row(context, name, one, serving))),
    told.length > 0 && h("p", { class: "counts" }, told.map(([what, count]) =>
      h("span", {}, h("b", {}, number(count)), " ", COUNTS[what] ?? what.replaceAll("_", " ")))),
    models && discovered(context, name, models),
  );
}

// The models that a backend lists.
function discovered(context, upstream, { served, names, configured, hidden, cut, failing, listed_at }) {
  const more = served - names.length;
  const rest = [
    hidden > 0 && `${number(hidden)} hidden`,
    cut > 0 && `${number(cut)} beyond the most that are served`,
    configured.length > 0 && `configured instead: ${configured.join(", ")}`,
  ].filter(Boolean);
  return h("details", { class: "models", "data-key": "models" },
    h("summary", {}, `${number(served)} models discovered`,
      Object.keys(failing).length > 0 && state("warn", "a list fails")),
    h("p", {}, names.map((one) => [h("code", {}, one), " "]), more > 0 && `and ${number(more)} more`),
    rest.length > 0 && h("p", { class: "quiet-text" }, rest.join("; ")),
    Object.entries(failing).map(([endpoint, why]) => h("p", { class: "why" }, h("code", {}, endpoint), ` ${why}`)),
    h("p", {}, h("span", { class: "quiet-text" }, listed_at ? `Listed ${new Date(listed_at * 1000).toLocaleTimeString()} ` : "Not listed yet "),
      h("button", { needs: "operator", onclick: () => list(context, upstream) }, "List now")));
}

async function list(context, upstream) {
  problem = null;
  try {
    await send("POST", `/api/upstreams/${encodeURIComponent(upstream)}/models`);
  } catch (refused) {
    problem = refused.message;
    context.refresh();
  }
}

function row(context, upstream, endpoint, serving) {
  const states = endpoint.states ?? [];
  const agree = states.every((one) => one === states[0]);
  const drained = endpoint.state === "draining";
  const share = agree ? "" : ` in ${states.filter((one) => one === endpoint.state).length} of ${states.length} workers`;
  return h("tr", { "data-key": endpoint.name },
    h("td", {}, state(KINDS[endpoint.state] ?? "warn", endpoint.state.replaceAll("_", " ") + share)),
    h("td", { class: "main-cell" }, h("code", {}, endpoint.name),
      endpoint.why && h("span", { class: "why" }, endpoint.why)),
    h("td", { class: "num" }, number(endpoint.in_flight)),
    h("td", { class: "num wide" }, number(endpoint.connections)),
    h("td", { class: "num wide" }, number(endpoint.weight)),
    h("td", { class: "num wide" }, number(endpoint.priority)),
    h("td", { class: "num wide" }, number(endpoint.ejections)),
    h("td", { class: "act" }, h("button", {
      needs: "operator", "data-row": "", "aria-label": `${drained ? "Let in" : "Drain"} ${endpoint.name}`,
      onclick: () => change(context, upstream, endpoint, drained, serving),
    }, drained ? "Let in" : "Drain")),
  );
}

async function change(context, upstream, endpoint, drained, serving) {
  const last = !drained && serving.every((one) => one.name === endpoint.name);
  if (last) {
    const answer = await ask("Drain the last one that serves?",
      h("p", {}, `Without ${endpoint.name}, nothing of ${upstream} is left to serve requests.`),
      [{ label: "Keep it", value: "" }, { label: "Drain it", value: "yes", kind: "danger" }]);
    if (answer !== "yes") return;
  }
  problem = null;
  try {
    await send("POST", `/api/upstreams/${encodeURIComponent(upstream)}/${drained ? "undrain" : "drain"}`, { endpoint: endpoint.name });
  } catch (refused) {
    problem = refused.message;
    context.refresh();
  }
}
