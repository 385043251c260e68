// Elements made once and then changed in place, so that nothing jumps and nothing typed is lost.

export const $ = (id) => document.getElementById(id);

export function fromTemplate(id) {
  return $(id).content.firstElementChild.cloneNode(true);
}

export function parts(root) {
  const found = {};
  for (const element of root.querySelectorAll("[data-at]")) found[element.dataset.at] = element;
  return found;
}

export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function make(name, className = "", text = "") {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

export function chip(text, tone) {
  const element = make("span", "chip", text);
  if (tone) element.dataset.tone = tone;
  return element;
}

// One child for each item, in order: found by key, made where missing, removed where gone.
export function keep(parent, items, key, create, update) {
  const have = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, at) => {
    const id = String(key(item));
    let child = have.get(id);
    have.delete(id);
    if (!child) {
      child = create(item);
      child.dataset.key = id;
    }
    if (parent.children[at] !== child) parent.insertBefore(child, parent.children[at] ?? null);
    update(child, item);
  });
  for (const child of have.values()) child.remove();
}
