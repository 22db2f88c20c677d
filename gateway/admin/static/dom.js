// Elements from values, and changing what is shown into what should be, in place: what did not
// change is not touched, so nothing flashes and focus, selection and scrolling stay.

import { own } from "./place.js";
import { may } from "./roles.js";

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "rect", "line", "g", "circle", "text", "title"]);
const AS_PROPERTY = new Set(["value", "checked", "disabled", "hidden", "open"]);

/** An element. Attributes named on… are listeners; null and false leave an attribute out. `needs`
 * names the role without which a button is switched off. An `href` of ours is below the prefix. */
export function h(tag, attributes = {}, ...children) {
  if (attributes?.needs) {
    const { needs, ...rest } = attributes;
    attributes = may(needs) ? rest : { ...rest, disabled: true, title: `Needs the role ${needs}` };
  }
  const element = SVG_TAGS.has(tag) && (tag !== "title" || attributes?.svg)
    ? document.createElementNS(SVG, tag)
    : document.createElement(tag);
  element.listeners = {};
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false || name === "svg") continue;
    if (name.startsWith("on")) element.listeners[name] = element[name] = value;
    else if (name === "style") Object.assign(element.style, value);
    else if (AS_PROPERTY.has(name)) {
      element[name] = value;
      if (name === "value") element.wanted = value;
      else element.setAttribute(name, "");
    } else element.setAttribute(name, value === true ? "" : name === "href" ? own(value) : value);
  }
  element.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
  return element;
}

/** Make the children of `parent` those given. */
export function show(parent, ...children) {
  const wanted = document.createDocumentFragment();
  wanted.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
  changeChildren(parent, wanted);
}

function changeChildren(parent, wanted) {
  const keyed = new Map();
  for (const child of parent.children) if (child.dataset?.key) keyed.set(child.dataset.key, child);
  const staying = new Set([...wanted.children].map((next) => next.dataset?.key));
  let place = parent.firstChild;
  for (const next of [...wanted.childNodes]) {
    // A child that goes makes way. To move those behind it in front would take the focus from them.
    while (place?.dataset?.key && !staying.has(place.dataset.key)) {
      const gone = place;
      place = place.nextSibling;
      gone.remove();
    }
    const key = next.dataset?.key;
    let old = key ? keyed.get(key) : place;
    if (!key) while (old?.dataset?.key) old = old.nextSibling;
    if (old && alike(old, next)) {
      if (old !== place) parent.insertBefore(old, place);
      else place = place.nextSibling;
      if (key) keyed.delete(key);
      change(old, next);
    } else {
      parent.insertBefore(next, place);
    }
  }
  while (place) {
    const gone = place;
    place = place.nextSibling;
    gone.remove();
  }
}

function alike(old, next) {
  return old.nodeType === next.nodeType && old.nodeName === next.nodeName
    && old.dataset?.key === next.dataset?.key;
}

function change(old, next) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  if (old.dataset?.keep !== undefined) return; // what draws itself
  for (const { name } of [...old.attributes]) {
    if (!next.hasAttribute(name) && name !== "style") {
      if (name === "open") continue;
      if (AS_PROPERTY.has(name)) old[name] = false;
      old.removeAttribute(name);
    }
  }
  for (const { name, value } of next.attributes) {
    if (name === "style" || name === "open") continue; // the first is below; the second is the reader's
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    if (AS_PROPERTY.has(name)) old[name] = next[name];
  }
  if (old.style.cssText !== next.style.cssText) {
    for (const name of next.style) old.style.setProperty(name, next.style.getPropertyValue(name));
  }
  if (next.wanted !== undefined && old !== document.activeElement && old.value !== next.wanted) {
    old.value = next.wanted;
  }
  const had = old.listeners ?? {};
  for (const name of Object.keys(had)) if (!(name in next.listeners)) old[name] = null;
  for (const [name, listener] of Object.entries(next.listeners ?? {})) old[name] = listener;
  old.listeners = next.listeners;
  if (old.nodeName !== "TEXTAREA") changeChildren(old, next);
  if (old.nodeName === "SELECT" && old !== document.activeElement && next.wanted !== undefined) {
    old.value = next.wanted;
  }
}

/** Ask in a dialog of our own; resolves with the value of the button. */
export function ask(title, body, buttons) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-labelledby": "ask-title", class: "ask" },
      h("form", { method: "dialog" },
        h("h2", { id: "ask-title" }, title),
        body,
        h("p", { class: "actions" }, buttons.map(({ label, value, kind, skips }) =>
          h("button", { value, class: kind ?? "", formnovalidate: skips }, label))),
      ),
    );
    dialog.onclose = () => {
      dialog.remove();
      resolve(dialog.returnValue);
    };
    document.body.append(dialog);
    dialog.showModal();
  });
}
