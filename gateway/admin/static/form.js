// Forms in dialogs. A refused form stays open with what was typed, and says which field is wrong.

import { h } from "./dom.js";

/** A field: its name, label, hint, and the attributes of its input. */
export function field(name, label, hint = "", attributes = {}) {
  return { name, label, hint, attributes };
}

/** A heading between fields. */
export function group(label) {
  return { group: label };
}

/**
 * Ask for the values of fields in a dialog. `submit` gets the trimmed texts by name; what it throws is
 * shown, and the dialog stays. Resolves with true when it was carried out, with false when not.
 */
export function form(title, fields, label, submit) {
  return new Promise((resolve) => {
    const problem = h("p", { class: "problem", role: "alert", id: "form-problem" });
    const inputs = {};
    const rows = fields.map((one) => {
      if (one.group) return h("h3", {}, one.group);
      const id = `field-${one.name}`;
      const hint = one.hint && h("span", { class: "quiet-text", id: `${id}-hint` }, one.hint);
      const described = hint ? `${id}-hint` : null;
      const { wide, ...attributes } = one.attributes;
      inputs[one.name] = h("input", { id, name: one.name, autocomplete: "off", spellcheck: "false", "aria-describedby": described, ...attributes });
      return h("div", { class: wide ? "whole" : null },
        h("label", { for: id }, one.label), hint, inputs[one.name]);
    });
    const button = h("button", { class: "primary" }, label);
    const dialog = h("dialog", { class: "ask form", "aria-labelledby": "form-title" },
      h("form", {
        onsubmit: async (event) => {
          event.preventDefault();
          if (button.disabled) return;
          button.disabled = true;
          for (const input of Object.values(inputs)) input.removeAttribute("aria-invalid");
          try {
            await submit(Object.fromEntries(Object.entries(inputs).map(([name, { value }]) => [name, value.trim()])));
            dialog.returnValue = "yes";
            dialog.close("yes");
          } catch (refused) {
            problem.textContent = refused.message;
            const wrong = blamed(inputs, refused.message);
            wrong?.setAttribute("aria-invalid", "true");
            wrong?.focus();
          } finally {
            button.disabled = false;
          }
        },
      },
      h("h2", { id: "form-title" }, title),
      problem,
      h("div", { class: "form-fields" }, rows),
      h("p", { class: "actions" },
        h("button", { type: "button", onclick: () => dialog.close("") }, "Cancel"), button),
      ),
    );
    dialog.onclose = () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    };
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** The input that an error is about: its text begins with the name of the field, and a colon. */
function blamed(inputs, message) {
  const place = message.split(":", 1)[0];
  return inputs[place] ?? inputs[place.replace(/^(?:allowance|limits)\./, "").replace(/\.\d+$/, "")]
    ?? inputs[place.replace(/\.\d+$/, "")];
}

export const listed = (text) => text.split(",").map((one) => one.trim()).filter(Boolean);
