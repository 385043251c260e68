// The one connection to the console: server-sent events, read by hand so that silence is noticed too.

import { Problem, refusal, search } from "./api.js";

const SILENT_MS = 6_000; // the server says something each second
const FIRST_MS = 500;
const MOST_MS = 5_000;
const NAP_MS = 10_000; // a hidden page gives its connection back: a browser has six to one server
const GLANCE_MS = 30_000; // and looks so often what its title has to say
const UNFIT = new Set([404, 422]); // asks for a model that is not there: then for all, to hear of it

// Folds what comes into the store, and comes back by itself. `open(query)` changes what is asked for.
export function createStream(store) {
  let asked = null;
  let current = null;
  let lostSince = null;
  let failed = 0;
  let retry = 0;
  let nap = 0;
  let napping = false;

  function open(query) {
    const wanted = search(query);
    if (wanted === asked) return;
    asked = wanted;
    connect();
  }

  // Whether somebody looks at the page has changed.
  function looked() {
    clearTimeout(nap);
    if (document.visibilityState === "hidden") {
      nap = setTimeout(sleep, NAP_MS);
    } else if (napping) {
      napping = false;
      if (store.link.state === "live") store.setLink("connecting");
      connect();
    }
  }

  function sleep() {
    napping = true;
    clearTimeout(retry);
    current?.abort();
    current = null;
    retry = setTimeout(connect, GLANCE_MS);
  }

  async function connect() {
    clearTimeout(retry);
    current?.abort();
    const mine = (current = new AbortController());
    let text = "";
    let watch = 0;
    let unfit = false;
    const alive = () => {
      clearTimeout(watch);
      watch = setTimeout(() => mine.abort("silent"), SILENT_MS);
    };
    try {
      alive();
      const answer = await fetch(`/api/stream${asked}`, { signal: mine.signal, cache: "no-store" });
      if (!answer.ok) throw await refusal(answer);
      await read(answer.body, alive, (kind, data) => {
        if (mine !== current) return;
        store.fold(kind, data);
        if (store.link.state !== "live") back();
        if (napping && kind === "cards") sleep();
      });
    } catch (error) {
      if (error instanceof Problem) text = error.detail;
      unfit = UNFIT.has(error.status) && asked !== "";
    }
    clearTimeout(watch);
    mine.abort();
    if (mine !== current) return;
    if (!unfit) return lost(text);
    asked = "";
    connect();
  }

  function back() {
    failed = 0;
    lostSince = null;
    store.setLink("live");
  }

  function lost(text) {
    lostSince ??= Date.now();
    failed += 1;
    store.setLink("lost", lostSince, text);
    retry = setTimeout(connect, napping ? GLANCE_MS : Math.min(MOST_MS, FIRST_MS * failed));
  }

  addEventListener("online", () => store.link.state === "lost" && connect());
  addEventListener("visibilitychange", looked);
  looked();
  return { open };
}

async function read(body, alive, hear) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    alive();
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) message(block, hear);
  }
}

function message(block, hear) {
  let kind = "";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) kind = line.slice(7);
    else if (line.startsWith("data: ")) data.push(line.slice(6));
  }
  if (kind) hear(kind, JSON.parse(data.join("\n")));
}
