// The fields above the events: what is wanted, and whether an event is.

import { h } from "../parts/dom.js";

const NAMES = { model: "Model", kind: "Type", service: "Service", correlation: "Run", text: "Text" };
const FILTERS = Object.keys(NAMES);
const TYPING_MS = 300;
const MOST = 200; // suggestions

// What the address asks for: { model, kind, service, correlation, text }, "" is any.
export const read = (query) => Object.fromEntries(FILTERS.map((name) => [name, query.get(name) ?? ""]));
export const same = (a, b) => FILTERS.every((name) => a[name] === b[name]);
export const any = (wanted) => FILTERS.every((name) => !wanted[name]);

// Whether an event is wanted; the server says the same of older ones.
export function fits(fact, wanted) {
  return (
    (!wanted.model || fact.model === wanted.model) &&
    (!wanted.kind || fact.kind.startsWith(wanted.kind)) &&
    (!wanted.service || fact.service === wanted.service) &&
    (!wanted.correlation || fact.correlation === wanted.correlation) &&
    (!wanted.text || `${fact.id} ${fact.text}`.toLowerCase().includes(wanted.text.toLowerCase()))
  );
}

// { element, show(wanted), suggest(ring, store), leave() }; options: { typed: (wanted) => {}, clear: () => {} }
export function filters({ typed, clear }) {
  const fields = new Map(FILTERS.map((name) => [name, field(name, soon)]));
  let timer = 0;
  function soon() {
    clearTimeout(timer);
    timer = setTimeout(() => typed(Object.fromEntries(FILTERS.map((name) => [name, fields.get(name).input.value.trim()]))), TYPING_MS);
  }
  const button = h("button.button", { type: "button", onclick: clear }, "Clear");
  return {
    element: h("form.row.filters", { role: "search", "aria-label": "Filter events", onsubmit: (event) => event.preventDefault() },
      [...fields.values()].map(({ element }) => element), button),
    show(wanted) {
      button.hidden = any(wanted);
      for (const [name, { input }] of fields) if (input !== document.activeElement) input.value = wanted[name];
    },
    // What may be typed in the field somebody is in, from what was seen.
    suggest(ring, store) {
      const [name, its] = [...fields].find(([, { input }]) => input === document.activeElement) ?? [];
      if (!name || name === "text") return;
      const known = { model: () => [...store.cards.keys()], service: () => store.services.map((service) => service.name) };
      const values = [...new Set((known[name] ?? (() => ring.values(name)))())].sort().slice(0, MOST);
      if (its.shown === values.join()) return;
      its.shown = values.join();
      its.options.replaceChildren(...values.map((value) => h("option", { value })));
    },
    leave: () => clearTimeout(timer),
  };
}

function field(name, oninput) {
  const options = h("datalist", { id: `known-${name}` });
  const text = name === "text";
  const input = h("input", {
    type: text ? "search" : "text", name, autocomplete: "off", spellcheck: "false", oninput,
    list: text ? null : options.id, placeholder: text ? "Search  /" : "any",
  });
  return { input, options, shown: "", element: h(`label.field.${name}`, null, h("span", null, NAMES[name]), input, text ? null : options) };
}
