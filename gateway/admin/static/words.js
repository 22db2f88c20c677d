// Plain words for what the API says in codes.

/** Why a request ended. */
export const ENDS = {
  complete: "complete",
  client_abort: "client left",
  upstream_reset: "backend broke off",
  timeout: "backend fell silent",
  drain: "gateway stopped",
  refused: "session ended by a rule",
  cancelled: "ended by an operator",
  internal_error: "gateway failed",
};

/** Why a request was kept. */
export const KEPT = {
  error: "failed", slow: "slow", limited: "over a limit", aborted: "left by the client", sampled: "sampled",
};

/** What a request under way waits for: how it is marked, and in words. */
export const STATES = {
  held: ["off", "not sent yet"],
  waiting: ["off", "waits for the backend"],
  answering: ["good", "streams"],
  silent: ["bad", "silent"],
  client_behind: ["warn", "client is behind"],
  following: ["off", "reads a kept stream or follows a channel"],
  session: ["good", "WebSocket"],
};

/** Whose fault an outcome is: how it is marked, and in words. */
export const FAULTS = {
  nobody: ["good", ""],
  client: ["warn", "the client's fault"],
  configuration: ["bad", "the gateway's configuration or capacity"],
  backend: ["bad", "the backend's fault"],
  operator: ["off", "an operator's doing"],
  gateway: ["bad", "the gateway's fault"],
};

/** A code that has no words of its own. */
export const spaced = (code) => String(code ?? "").replaceAll("_", " ");
