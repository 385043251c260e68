// Keys: single ones and pairs ("g o"); never while somebody types, never with Ctrl, Alt or Meta.

export const KEYS = [
  [["g", "o"], "overview"],
  [["g", "e"], "events"],
  [["g", "d"], "data"],
  [["g", "s"], "services"],
  [["/"], "search"],
  [["\u2191", "\u2193"], "row up, row down (in a list)"],
  [["Enter"], "open the row"],
  [["p"], "pause or go on (events)"],
  [["t"], "colours: system, light, dark"],
  [["w"], "wall screen"],
  [["Esc"], "close what is open"],
  [["?"], "these keys"],
];

const PAIR_MS = 1_500;
const TYPED = "input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]";

// listen({ "g o": f, "/": g }): calls them; one that gives false leaves the key to others. Gives a function
// that stops it.
export function listen(deeds) {
  let first = "";
  let timer = 0;
  const hear = (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (event.target.closest?.(TYPED) || document.querySelector("dialog[open]")) return;
    const pair = `${first} ${event.key}`;
    const key = first && deeds[pair] ? pair : event.key;
    clearTimeout(timer);
    first = event.key;
    timer = setTimeout(() => (first = ""), PAIR_MS);
    if (!deeds[key]) return;
    if (deeds[key]() === false) return;
    event.preventDefault();
    first = "";
  };
  document.addEventListener("keydown", hear);
  return () => document.removeEventListener("keydown", hear);
}
