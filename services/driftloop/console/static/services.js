// Health of the services: dots in the header, and a table.

import { $, keep, make, put } from "./dom.js";
import { megabytes, span } from "./format.js";

const tone = (service) => (service.ready ? "good" : service.heard === null ? "wait" : "bad");

export function showServices(state) {
  keep($("dots"), state.services, (s) => s.name, (s) => make("li", "", s.name), (li, service) => {
    li.dataset.state = tone(service);
    li.title = service.ready ? "ready" : service.reason;
  });
  keep($("services"), state.services, (s) => s.name, row, (tr, service) => update(tr, service, state.time));
}

function row(service) {
  const tr = make("tr");
  tr.append(make("td", "", service.name), make("td", "state"));
  for (let at = 0; at < 5; at += 1) tr.append(make("td", "num"));
  return tr;
}

function update(tr, service, now) {
  const [name, state, memory, cpu, total, up, heard] = tr.children;
  name.title = service.url;
  state.dataset.state = tone(service);
  put(state, service.ready ? "ready" : service.reason);
  const known = service.heard !== null;
  put(memory, known ? megabytes(service.memory_mb) : "");
  put(cpu, known ? `${Math.round(100 * service.cpu)} %` : "");
  put(total, known ? `${service.cpu_seconds.toFixed(1)} s` : "");
  put(up, known ? span(now - service.started) : "");
  put(heard, known ? `${span(service.heard)} ago` : "");
}
