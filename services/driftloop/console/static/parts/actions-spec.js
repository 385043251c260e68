// The editor of a spec: nothing is saved that was not checked, and whose difference was not shown.

import { ask, field, nameField, reasonField } from "./actions-dialog.js";
import { get, part, post } from "./api.js";
import { h, put } from "./dom.js";

// Opens the editor; promises the server's answer, or null.
export function editSpec(model, options = {}) {
  const path = `/api/models/${part(model)}/spec`;
  const text = h("textarea.spec", { name: "text", rows: 16, spellcheck: "false", autocapitalize: "off", required: true, disabled: true });
  const found = h("div.spec-found", { role: "status", tabindex: -1 });
  const check = h("button.button", { type: "button", disabled: true }, "Check");
  const why = reasonField();
  const who = nameField(options.hello);
  const its = { text, found, revision: 0, checked: null };
  const send = () => {
    if (its.checked !== text.value) throw new Error("Check it first: what was checked is not what is written.");
    return post(path, { text: text.value, revision: its.revision, reason: why.value(), by: who.value() });
  };
  text.addEventListener("input", () => freshen(its));
  check.addEventListener("click", () => look(its, path));
  const body = h("div.spec-edit", null, h("div.spec-text", null, field("Spec, as TOML", text), h("div.row", null, check)), found);
  const closed = ask({
    title: `Spec of ${model}`,
    what: ["The revision takes effect at once for rows and triggers, and for models with the next training. Revisions are kept. Comments are not: the spec is written down as it is understood."],
    fields: [{ element: body }],
    signed: [why, who],
    confirm: "Save as a new revision",
    send,
    wide: true,
    ready: false,
  });
  its.save = text.form.querySelector('[type="submit"]');
  open(its, path, check, options.text);
  return closed;
}

async function open(its, path, check, given) {
  try {
    const spec = await get(path);
    its.text.value = given ?? spec.text;
    its.revision = spec.revision;
    its.text.disabled = check.disabled = false;
    say(its, h("p.quiet", null, `Revision ${spec.revision}. Change it, then check it.`));
    its.text.setSelectionRange(0, 0);
    its.text.focus();
    its.text.scrollTop = 0;
  } catch (problem) {
    say(its, h("p.bad", null, problem.message));
  }
}

// What is written is no longer what was checked.
function freshen(its) {
  if (its.checked === null) return;
  its.checked = null;
  its.save.disabled = true;
  say(its, h("p.quiet", null, "Changed since the check: check it again."));
}

async function look(its, path) {
  const text = its.text.value;
  let answer;
  try {
    answer = await post(`${path}/check`, { text, revision: its.revision });
  } catch (problem) {
    say(its, h("p.bad", null, problem.detail || problem.message));
    return;
  }
  if (its.text.value !== text) return;
  its.revision = answer.revision; // what the difference is shown against, and what a save takes the place of
  const same = answer.diff.length === 0;
  its.checked = answer.ok && !same ? text : null;
  its.save.disabled = its.checked === null;
  say(its, ...answer.problems.map(wrong), ...answer.notes.map((note) => h("p.spec-note", null, note)), answer.ok && !same && difference(answer));
  its.found.focus();
}

function wrong(problem) {
  const value = problem.value ? `${problem.value} ` : "";
  return h("p.bad", null, h("b", null, problem.field), `: ${value && !problem.text.includes(problem.value) ? value : ""}${problem.text}. Accepted: ${problem.accepted}`);
}

function difference(answer) {
  const names = { "+": "added", "-": "removed" };
  const lines = answer.diff.map(({ sign, text }) =>
    h("span.line", { data: { sign } }, h("span.unseen", null, names[sign] ?? ""), `${sign} ${text}\n`));
  return h("figure", null, h("figcaption", null, `Against revision ${answer.revision}:`), h("pre.diff", { tabindex: 0 }, h("code", null, lines)));
}

function say(its, ...parts) {
  its.found.replaceChildren(...parts.filter(Boolean));
  if (!its.found.childElementCount) put(its.found, "");
}
