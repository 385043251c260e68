// What an operator may do: buttons, and for each action a dialog that says what will happen, asks why, and
// says what happened. Nothing is offered without the scope `operate`; the server refuses it anyway.
//
//   const buttons = actionButtons(card, store.hello);   // an element; empty where nothing may be done
//   buttons.show(card, store.hello);                    // the same in place, when either has changed
//   const done = await openAction("promote", "flights", { version: 7, card, hello });
//
// Actions on a model: retrain, challenge, promote, approve, deny, rollback, pause, resume, silence, unsilence, spec.
// On data: requeue (options.containing: part of the reasons), dead-replay and dead-drop (options.seq).
// Options: `card` and `hello` of the store, `version`, `detector`. What openAction promises is the answer of the
// server, or null if the operator thought better of it.

import { DATA, MODEL, offered } from "./actions-table.js";
import { ask, field, nameField, reasonField } from "./actions-dialog.js";
import { editSpec } from "./actions-spec.js";
import { get, part, post } from "./api.js";
import { h, icon, keep } from "./dom.js";
import { loss } from "./format.js";

// The buttons of a model: what makes sense now and what the token is for.
export function actionButtons(card, hello) {
  const group = h("div.actions", { role: "group" });
  group.show = (now, greeting) => {
    const names = mayOperate(greeting, now.name) ? offered(now) : [];
    group.hidden = names.length === 0;
    group.setAttribute("aria-label", `Actions on ${now.name}`);
    keep(group, names, (name) => name, (name) => button(name, now.name, () => ({ card: group.card, hello: group.hello })));
    group.card = now;
    group.hello = greeting;
  };
  group.show(card, hello);
  return group;
}

// Whether a token may act on this model; without a model, on any.
export function mayOperate(hello, model) {
  if (!hello?.scopes?.includes("operate")) return false;
  return model === undefined || !hello.models || hello.models.includes(model);
}

// One button that opens the dialog of an action; `options` are given, or made when it is pressed.
export function button(name, model, options = {}) {
  const its = MODEL[name] ?? DATA[name];
  const open = () => openAction(name, model, typeof options === "function" ? options() : options);
  return h("button.button", { type: "button", data: { action: name, kind: its.kind ?? "" }, onclick: open }, icon(its.icon), its.label);
}

// Opens the dialog of an action; promises the server's answer, or null.
export function openAction(name, model, options = {}) {
  if (name === "spec") return editSpec(model, options);
  const its = MODEL[name] ?? DATA[name];
  if (!its) return Promise.reject(new Error(`There is no action "${name}".`));
  const about = { model, version: options.version ?? 0, ...options, card: options.card ?? { name: model, alarms: [] } };
  const chosen = (its.fields ?? []).map((kind) => FIELDS[kind](about));
  const why = reasonField();
  const who = nameField(options.hello);
  return ask({
    title: its.title(about),
    what: its.what(about),
    fields: chosen,
    signed: [why, who],
    confirm: its.confirm,
    kind: its.kind,
    send() {
      const body = { reason: why.value(), by: who.value() };
      for (const one of chosen) Object.assign(body, one.body());
      if (its.body) Object.assign(body, its.body(about));
      return post(its.path ? its.path(about) : `/api/models/${part(model)}/${name}`, body);
    },
    told: its.told,
  });
}

const FIELDS = {
  version: (about) => versionField(about, { least: 1 }),
  back: (about) => versionField(about, { least: 0 }),
  waiting: (about) => ({ element: null, body: () => ({ version: about.card.waiting ?? about.version }) }),
  detector: detectorField,
  length: lengthField,
};

// A version other than the champion; the newest is chosen unless another was asked for.
function versionField(about, { least }) {
  const select = h("select", { name: "version", required: true }, h("option", { value: "" }, "loading"));
  const element = field("Version", select);
  const first = least ? null : h("option", { value: "0" }, "the champion before this one");
  get(`/api/models/${part(about.model)}`).then((model) => {
    const others = model.versions.filter((its) => its.version !== model.card.champion);
    select.replaceChildren(...[first, ...others.map(versionOption)].filter(Boolean));
    if (others.some((its) => its.version === about.version)) select.value = String(about.version);
    if (!select.options.length) select.append(h("option", { value: "" }, "there is no other version"));
  }, (problem) => {
    select.replaceChildren(h("option", { value: "" }, problem.message));
  });
  return { element, body: () => ({ version: Number(select.value) }) };
}

function versionOption(its) {
  const [metric, value] = Object.entries(its.metrics ?? {})[0] ?? [];
  const measured = metric ? `, ${metric} ${loss(value)}` : "";
  return h("option", { value: its.version }, `${its.version}: ${its.stage}${measured}`);
}

function detectorField(about) {
  const known = [...(about.card.alarms ?? []), ...(about.card.silences ?? [])];
  const names = [...new Set(known.map((its) => its.detector).filter(Boolean))];
  if (about.detector && !names.includes(about.detector)) names.unshift(about.detector);
  const select = h("select", { name: "detector" }, h("option", { value: "" }, "all alarms of the model"),
    names.map((name) => h("option", { value: name }, name)));
  if (about.detector) select.value = about.detector;
  return { element: field("Alarms of", select), body: () => ({ detector: select.value }) };
}

const LENGTHS = [[3600, "1 hour"], [4 * 3600, "4 hours"], [86400, "1 day"], [7 * 86400, "7 days"], [30 * 86400, "30 days"]];

function lengthField(about) {
  const select = h("select", { name: "seconds" }, LENGTHS.map(([seconds, text]) => h("option", { value: seconds }, text)));
  if (about.card.silences?.length) {
    select.append(h("option", { value: 0 }, "no longer: end the silence"));
  }
  return { element: field("For", select), body: () => ({ seconds: Number(select.value) }) };
}
