// Orders of an operator: sent to the registry, which decides and answers.

import { make, put } from "./dom.js";

export function operate(card, model) {
  const form = card.querySelector("form");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const command = event.submitter?.value ?? "retrain";
    const order = { reason: form.reason.value, by: "console" };
    if (command === "promote") order.version = Number(form.version.value);
    for (const button of form.querySelectorAll("button")) button.disabled = true;
    await send(form, `/api/models/${encodeURIComponent(model)}/${command}`, order);
    for (const button of form.querySelectorAll("button")) button.disabled = false;
  });
}

async function send(form, url, order) {
  const said = form.querySelector("output");
  put(said, "...");
  said.dataset.tone = "";
  try {
    const headers = { "content-type": "application/json" };
    const reply = await fetch(url, { method: "POST", headers, body: JSON.stringify(order) });
    const body = await reply.json();
    said.dataset.tone = reply.ok ? "good" : "bad";
    put(said, reply.ok ? body.text : body.detail);
  } catch (error) {
    said.dataset.tone = "bad";
    put(said, `The console does not answer (${error.message}).`);
  }
}

export function showVersions(card, model) {
  const select = card.querySelector("select");
  const versions = model.versions.filter((version) => version !== model.champion).reverse();
  const shown = versions.join();
  if (select.dataset.shown === shown) return;
  select.dataset.shown = shown;
  const chosen = select.value;
  select.replaceChildren(...versions.map((version) => make("option", "", String(version))));
  if (versions.map(String).includes(chosen)) select.value = chosen;
  card.querySelector('[value="promote"]').disabled = versions.length === 0;
}
