// The page: one stream from the server, and what it changes.

import { showCards } from "./cards.js";
import { $, put } from "./dom.js";
import { showDropped, showEvents } from "./feed.js";
import { showServices } from "./services.js";

function showState(state) {
  showServices(state);
  showCards(state);
  showDropped(state);
  $("problem").hidden = !state.problem;
  put($("problem"), state.problem);
}

function link(state, text) {
  $("link").dataset.state = state;
  put($("link"), text);
}

// What the stream may have missed; also the first picture.
async function catchUp() {
  const read = async (url) => {
    const reply = await fetch(url);
    if (reply.status === 401) location.assign("/login");
    return reply.json();
  };
  const [state, events] = await Promise.all([read("/api/state"), read("/api/events?limit=200")]);
  showState(state);
  showEvents(events.reverse(), false);
}

const stream = new EventSource("/api/stream");
stream.addEventListener("open", () => {
  link("good", "live");
  catchUp();
});
stream.addEventListener("error", () => {
  link("bad", "reconnecting");
  if (stream.readyState === EventSource.CLOSED) catchUp(); // refused: perhaps for want of a token
});
stream.addEventListener("state", (message) => showState(JSON.parse(message.data)));
stream.addEventListener("said", (message) => showEvents([JSON.parse(message.data)], true));
