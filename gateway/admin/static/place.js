// Where the pages are: a proxy may serve them below a path of its own.

const prefix = document.documentElement.dataset.prefix ?? "";

/** The address of one of our paths, as the browser needs it. */
export const own = (path) => (path.startsWith("/") && !path.startsWith("//") ? prefix + path : path);

/** The path of an address of ours, as the gateway knows it. */
export const inside = (path) => (prefix && (path === prefix || path.startsWith(`${prefix}/`)) ? path.slice(prefix.length) || "/" : path);
