// Asks the operator API; what it refuses comes back as a Problem that says why (RFC 9457).

export class Problem extends Error {
  constructor(status, title, detail) {
    super(detail || title);
    this.status = status; // 0: nothing answered
    this.title = title;
    this.detail = detail || title;
  }
}

// get("/api/events", { query: { model: "flights", limit: 200 }, signal }): the answer's JSON.
export function get(path, { query, signal } = {}) {
  return ask(path + search(query), { signal });
}

// post("/api/models/flights/retrain", { reason: "..." }): the answer's JSON.
export function post(path, body, { signal } = {}) {
  return ask(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
}

// The query of a URL, without what is empty: search({ model: "a", kind: "" }) is "?model=a".
export function search(query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

// One part of a path: a model name or an id, made safe.
export const part = (name) => encodeURIComponent(name);

async function ask(url, options) {
  let answer;
  try {
    answer = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "no answer", "The console does not answer.");
  }
  if (!answer.ok) throw await refusal(answer);
  return answer.status === 204 ? null : answer.json();
}

// The problem in an answer that is not good; without a token the reader is led to where one is given.
export async function refusal(answer) {
  if (answer.status === 401) location.assign("/login");
  const said = await answer.json().catch(() => ({}));
  return new Problem(answer.status, said.title || `answer ${answer.status}`, said.detail || "");
}

// Asks, shows, and asks again by itself: after a failure (each 2 s, then less often, 15 s at most), when
// the connection comes back, and each `every` seconds if that is given. Of answers that come late, only
// the newest is shown.
//   const it = load(store, (signal) => get("/api/x", { signal }), show, fail, { every: 10 });
//   it.again(); it.stop();
// `show(answer)`; `fail(problem)` says what is gone, and is followed by `show` when it is back.
export function load(store, ask, show, fail, { every = 0 } = {}) {
  let timer = 0;
  let failed = 0;
  let current = null;
  const later = (seconds) => {
    clearTimeout(timer);
    timer = setTimeout(again, seconds * 1000);
  };
  async function again() {
    clearTimeout(timer);
    current?.abort();
    const mine = (current = new AbortController());
    try {
      const answer = await ask(mine.signal);
      if (mine !== current) return;
      failed = 0;
      show(answer);
      if (every) later(every);
    } catch (problem) {
      if (mine !== current || problem.name === "AbortError") return;
      failed += 1;
      if (!(problem instanceof Problem)) console.error(problem);
      fail?.(problem);
      if (!(problem.status >= 400 && problem.status < 500 && problem.status !== 429)) later(Math.min(15, 2 * failed));
      else if (every) later(every);
    }
  }
  const off = store.on("link", (link) => link.state === "live" && failed && again());
  again();
  return {
    again,
    stop() {
      off();
      clearTimeout(timer);
      current?.abort();
      current = null;
    },
  };
}
