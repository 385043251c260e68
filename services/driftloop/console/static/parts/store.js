// What the page knows: folded from the stream, asked by pages, told to them as it changes.

// Kinds that `on` can hear, with what is told:
//   hello (the greeting), cards ({changed: [name], gone: [name], whole}), services ([Service]),
//   outages ([Outage]), said ([Fact]), missed (count), evidence (one point), link ({state, since, text}).
export function createStore() {
  const heard = new Map();
  const store = {
    hello: { user: "", scopes: [], models: null, version: "" },
    cards: new Map(), // by name; a card that changed is a new object
    services: [],
    outages: [],
    link: { state: "connecting", since: null, text: "" }, // "connecting", "live" or "lost"
    ready: false, // whether the cards have come once
    skew: 0, // seconds that the server's clock is ahead of ours
    now: () => Date.now() / 1000 + store.skew,
    may: (scope, model) => may(store.hello, scope, model),
    on(kind, hear) {
      if (!heard.has(kind)) heard.set(kind, new Set());
      heard.get(kind).add(hear);
      return () => heard.get(kind).delete(hear);
    },
    tell(kind, told) {
      for (const hear of [...(heard.get(kind) ?? [])]) {
        try {
          hear(told);
        } catch (error) {
          console.error(error); // one that fails keeps nobody else from hearing
        }
      }
    },
    fold: (kind, data) => FOLDS[kind]?.(store, data),
    setLink(state, since = null, text = "") {
      store.link = { state, since, text };
      store.tell("link", store.link);
    },
  };
  return store;
}

const FOLDS = {
  hello(store, hello) {
    store.hello = hello;
    store.whole = true; // the cards that come next are all there are
    const at = typeof hello.time === "number" ? hello.time : Date.parse(hello.time) / 1000;
    if (Number.isFinite(at)) store.skew = at - Date.now() / 1000;
    store.tell("hello", hello);
  },
  cards(store, { cards, gone }) {
    const whole = store.whole === true;
    const before = store.cards;
    if (whole) store.cards = new Map();
    store.whole = false;
    for (const card of cards) store.cards.set(card.name, card);
    for (const name of gone ?? []) store.cards.delete(name);
    const left = whole ? [...before.keys()].filter((name) => !store.cards.has(name)) : gone ?? [];
    store.ready = true;
    store.tell("cards", { changed: cards.map((card) => card.name), gone: left, whole });
  },
  services(store, services) {
    store.services = services;
    store.tell("services", services);
  },
  outages(store, outages) {
    store.outages = outages;
    store.tell("outages", outages);
  },
  said: (store, facts) => store.tell("said", facts),
  missed: (store, missed) => store.tell("missed", missed.count ?? missed),
  evidence: (store, evidence) => store.tell("evidence", evidence),
};

function may(hello, scope, model) {
  if (hello.models && model !== undefined && !hello.models.includes(model)) return false;
  return hello.scopes.includes(scope);
}
