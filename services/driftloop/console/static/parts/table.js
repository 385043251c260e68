// A list of any length: only the rows in sight are elements, and only those whose item changed are
// drawn again. One tab stop; arrows, Home, End and Enter move in it. An ARIA grid.

import { empty, h, set } from "./dom.js";

const SPARE = 4; // rows beyond each edge
let made = 0;

// columns: [{ key, name, hint?, num?, sort?: true, down?: false, create?(cell), show(cell, item) }]
//   create fills the cell once, show changes it; a column with `sort` has a button in its head, which
//   begins upwards where `down` is false.
// options: { label, key: (item) => id, href?: (item) => hash, open?: (item) => {}, row?: (element, item) => {},
//   sorted?: { key, down }, sort?: (key, down) => {} (the page sorts), none?: () => element }
export class List {
  #columns;
  #options;
  #id = `list${(made += 1)}`;
  #items = [];
  #height = 40; // of a row, in pixels
  #active = null; // the key of the row that the keyboard is at
  #chosen = null;
  #pressed = null; // the item under the pointer as it went down: rows may move before it comes up
  #sorted;
  #rows = new Map(); // by key: { element, cells, item, at, key }
  #free = [];
  #frame = 0;
  #watch;
  #head = h("div.vhead", { role: "row", "aria-rowindex": 1 });
  #body = h("div.vbody", { role: "rowgroup" });
  #nothing = h("div.vempty", { hidden: true });
  #grid;

  constructor(columns, options) {
    this.#columns = columns;
    this.#options = options;
    this.#sorted = options.sorted ?? { key: "", down: false };
    this.#grid = h("div.vgrid", { role: "grid", tabindex: 0, "aria-label": options.label, "aria-readonly": "true" },
      h("div.vtop", { role: "rowgroup" }, this.#head), this.#body);
    this.element = h("div.vlist", null, this.#grid, this.#nothing);
    this.#head.append(...columns.map((column) => this.#headCell(column)));
    this.#showSorted();
    this.#listen();
    this.#watch = new ResizeObserver(() => this.#measure());
    this.#watch.observe(this.#grid);
  }

  // Draw these items, in this order. An item that changed has to be another object.
  show(items) {
    this.#items = items;
    this.#stretch();
    set(this.#grid, "aria-rowcount", items.length + 1);
    this.#nothing.hidden = items.length > 0;
    if (!items.length) this.#nothing.replaceChildren(this.#options.none?.() ?? empty("Nothing here."));
    this.#draw();
  }

  // Draw all rows in sight again, changed or not (ages).
  refresh() {
    this.#draw(true);
  }

  // Mark the row with this key as the chosen one; null marks none.
  reveal(key) {
    this.#chosen = key;
    if (key !== null) this.#active = key;
    this.#draw();
  }

  // Pixels above the first row in sight, and below the last.
  get above() {
    return this.#grid.scrollTop;
  }

  get below() {
    return this.#grid.scrollHeight - this.#grid.scrollTop - this.#grid.clientHeight;
  }

  toTop() {
    this.#grid.scrollTop = 0;
  }

  focus() {
    this.#grid.focus({ preventScroll: true });
  }

  onScroll(hear) {
    this.#grid.addEventListener("scroll", hear, { passive: true });
  }

  leave() {
    this.#watch.disconnect();
    cancelAnimationFrame(this.#frame);
  }

  #headCell(column) {
    const cell = h(`div${column.num ? ".num" : ""}`, { role: "columnheader", title: column.hint, data: { column: column.key } });
    if (!column.sort || !this.#options.sort) cell.append(column.name);
    else cell.append(h("button.vsort", { type: "button", onclick: () => this.#sortBy(column) }, column.name));
    return cell;
  }

  #sortBy(column) {
    const down = this.#sorted.key === column.key ? !this.#sorted.down : column.down !== false;
    this.#sorted = { key: column.key, down };
    this.#showSorted();
    this.#options.sort(column.key, down);
  }

  #showSorted() {
    for (const cell of this.#head.children) {
      const its = cell.dataset.column === this.#sorted.key;
      set(cell, "aria-sort", its ? (this.#sorted.down ? "descending" : "ascending") : cell.firstElementChild && "none");
    }
  }

  #listen() {
    this.#grid.addEventListener("keydown", (event) => this.#key(event));
    this.#grid.addEventListener("scroll", () => {
      this.#frame ||= requestAnimationFrame(() => {
        this.#frame = 0;
        this.#draw();
      });
    }, { passive: true });
    this.#body.addEventListener("pointerdown", (event) => {
      this.#pressed = [...this.#rows.values()].find((row) => row.element.contains(event.target))?.item ?? null;
    });
    this.#body.addEventListener("click", (event) => {
      if (event.target.closest("a, button") || getSelection()?.toString() || !this.#pressed) return;
      this.#active = this.#options.key(this.#pressed);
      this.#draw();
      this.#open(this.#pressed, event);
    });
  }

  #key(event) {
    if (event.target !== this.#grid || event.altKey || event.metaKey) return;
    const at = this.#items.findIndex((item) => this.#options.key(item) === this.#active);
    const page = Math.max(1, Math.floor(this.#grid.clientHeight / this.#height) - 2);
    const all = this.#items.length;
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -all, End: all };
    if (event.key in steps) this.#move(at < 0 ? Math.floor(this.above / this.#height) : at + steps[event.key]);
    else if (event.key === "Enter" && at >= 0) this.#open(this.#items[at], event);
    else return;
    event.preventDefault();
  }

  #move(to) {
    if (!this.#items.length) return;
    const at = Math.max(0, Math.min(this.#items.length - 1, to));
    this.#active = this.#options.key(this.#items[at]);
    const top = at * this.#height;
    const inside = this.#grid.clientHeight - this.#head.offsetHeight;
    if (top < this.above) this.#grid.scrollTop = top;
    else if (top + this.#height > this.above + inside) this.#grid.scrollTop = top + this.#height - inside;
    this.#draw();
  }

  #open(item, event) {
    const { open, href } = this.#options;
    if (open) open(item);
    else if (href && (event.ctrlKey || event.metaKey)) window.open(href(item));
    else if (href) location.hash = href(item);
  }

  // The height of a row follows the size of the letters, as on a wall screen.
  #measure() {
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const rows = parseFloat(getComputedStyle(this.element).getPropertyValue("--row")) || 2.5;
    const height = Math.round(rows * rem);
    if (height !== this.#height) for (const row of this.#rows.values()) row.at = -1;
    this.#height = height;
    this.#stretch();
    this.#draw();
  }

  #stretch() {
    this.#body.style.height = `${this.#items.length * this.#height}px`;
  }

  #draw(all = false) {
    const from = Math.max(0, Math.floor(this.above / this.#height) - SPARE);
    const until = Math.min(this.#items.length, Math.ceil((this.above + this.#grid.clientHeight) / this.#height) + SPARE);
    const wanted = new Map();
    for (let at = from; at < until; at += 1) wanted.set(this.#options.key(this.#items[at]), at);
    for (const [key, row] of this.#rows) {
      if (wanted.has(key)) continue;
      this.#rows.delete(key);
      this.#free.push(row);
    }
    for (const [key, at] of wanted) this.#place(this.#rows.get(key) ?? this.#take(key), at, all);
    while (this.#free.length > 2 * SPARE) this.#free.pop().element.remove();
    for (const row of this.#free) row.element.hidden = true;
    set(this.#grid, "aria-activedescendant", this.#rows.has(this.#active) && `${this.#id}-${this.#rows.get(this.#active).at}`);
  }

  // A row for this key: one that nobody needs any more, or a new one.
  #take(key) {
    const row = this.#free.pop() ?? this.#make();
    this.#rows.set(key, row);
    Object.assign(row, { key, item: null, at: -1 });
    row.element.hidden = false;
    return row;
  }

  #make() {
    const cells = this.#columns.map((column) => {
      const cell = h(`div.cell${column.num ? ".num" : ""}`, { role: "gridcell", data: { column: column.key } });
      column.create?.(cell);
      return cell;
    });
    const element = h("div.vrow", { role: "row" }, cells);
    this.#body.append(element);
    return { element, cells };
  }

  #place(row, at, all) {
    const item = this.#items[at];
    if (row.at !== at) {
      row.at = at;
      row.element.id = `${this.#id}-${at}`;
      row.element.style.transform = `translateY(${at * this.#height}px)`;
      set(row.element, "aria-rowindex", at + 2);
    }
    row.element.classList.toggle("active", row.key === this.#active);
    row.element.classList.toggle("chosen", row.key === this.#chosen);
    if (this.#options.open) set(row.element, "aria-selected", String(row.key === this.#chosen));
    if (row.item === item && !all) return;
    row.item = item;
    this.#columns.forEach((column, number) => column.show(row.cells[number], item));
    this.#options.row?.(row.element, item);
  }
}
