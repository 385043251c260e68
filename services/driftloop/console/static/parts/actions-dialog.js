// The dialog of an action: what will happen, the fields, a reason, and what came of it.

import { h, put, set } from "./dom.js";

const NAME = "driftloop-name"; // where a name is kept for the next time, on consoles without tokens
let count = 0;

// ask({title, what, fields, confirm, kind, send, told, wide, body}) promises what `send` gave, or null.
// `fields` are {element, check?}; `signed` are those at the foot, which stays in sight; `told(answer)` gives {text, link} to show, else answer.text is shown.
export function ask({ title, what, fields, signed = [], confirm, kind, send, told, wide, ready = true }) {
  const its = frame(title, what, fields, signed, confirm, kind);
  if (wide) its.dialog.classList.add("wide");
  its.confirm.disabled = !ready;
  let answer = null;
  its.form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (its.dialog.dataset.state === "asking") return;
    state(its, "asking", "Asking the registry ...");
    try {
      answer = await send();
    } catch (problem) {
      state(its, "refused", problem.detail || problem.message);
      its.form.querySelector("textarea, select, input")?.focus();
      return;
    }
    conclude(its, told?.(answer) ?? { text: answer.text });
  });
  its.dialog.addEventListener("cancel", (event) => its.dialog.dataset.state === "asking" && event.preventDefault());
  document.body.append(its.dialog);
  its.dialog.showModal();
  return new Promise((resolve) => {
    its.dialog.addEventListener("close", () => {
      its.dialog.remove();
      resolve(answer);
    });
    its.cancel.addEventListener("click", () => its.dialog.close());
  });
}

function frame(title, what, fields, signed, confirm, kind) {
  const id = `action-${(count += 1)}`;
  const said = h("p.action-said", { role: "alert", hidden: true });
  const cancel = h("button.button", { type: "button", value: "cancel" }, "Cancel");
  const go = h("button.button", { type: "submit", data: { kind: kind === "danger" ? "danger" : "main" } }, confirm);
  const text = h("div.action-what", { id: `${id}-what` }, what.filter(Boolean).map((line) => h("p", null, line)));
  const elements = (those) => those.map((one) => one.element).filter(Boolean);
  const names = h("div.action-names", null, elements(signed));
  const foot = h("div.action-foot", null, names, said, h("div.action-buttons", null, cancel, go));
  const form = h("form", { method: "dialog" }, text, elements(fields), foot);
  const heading = h("h2", { id: `${id}-title` }, title);
  const dialog = h("dialog.action", { "aria-labelledby": `${id}-title`, "aria-describedby": `${id}-what` }, heading, form);
  return { dialog, form, said, cancel, confirm: go };
}

function state({ dialog, said, cancel, confirm }, name, text) {
  dialog.dataset.state = name;
  cancel.disabled = name === "asking";
  set(confirm, "aria-disabled", name === "asking" ? "true" : null);
  said.hidden = !text;
  put(said, text);
}

function conclude(its, { text, link }) {
  its.dialog.dataset.state = "done";
  const close = h("button.button", { type: "button", data: { kind: "main" }, onclick: () => its.dialog.close() }, "Close");
  const to = link && h("a", { href: link.href, onclick: () => its.dialog.close() }, link.text);
  its.form.replaceChildren(h("p.action-said", { role: "status", tabindex: -1 }, text), h("div.action-buttons", null, to, close));
  close.focus();
}

// A label over an input.
export function field(text, input) {
  return h("label.field", null, h("span", null, text), input);
}

// Why: required, and kept in the audit trail.
export function reasonField() {
  const input = h("textarea", { name: "reason", rows: 2, required: true, maxlength: 1000, autofocus: true });
  return { element: field("Reason, for the audit trail", input), value: () => input.value.trim() };
}

// Who: asked only where no token says it.
export function nameField(hello) {
  if (hello?.user) return { element: null, value: () => hello.user };
  const input = h("input", { name: "by", required: true, maxlength: 200, autocomplete: "name" });
  input.value = remembered();
  return { element: field("Your name, for the audit trail", input), value: () => remember(input.value.trim()) };
}

function remembered() {
  try {
    return localStorage.getItem(NAME) ?? "";
  } catch {
    return ""; // no storage: it is asked again
  }
}

function remember(name) {
  try {
    localStorage.setItem(NAME, name);
  } catch {
    // no storage: it is asked again
  }
  return name;
}
