// The newest events that fit: bounded, and standing still while somebody reads.

const DEEP = 4; // times `most` that may be kept by who goes back in time

export function createRing(most) {
  let kept = []; // what is shown, oldest first
  let coming = []; // what came while the ring was held
  let gap = false; // whether something is missing between the two
  let torn = false; // whether something is missing before what comes next
  const ring = {
    held: false,
    cut: false,
    waiting: 0,
    // Where to go on back in time: the sequence that older ones come before; 0 where there are none.
    before: 0,
    get newest() {
      return coming.at(-1)?.seq ?? kept.at(-1)?.seq ?? 0;
    },
    // Some facts will be missing before those that come next. What is shown begins anew with these then,
    // and the missing ones are read back as older ones.
    tear() {
      torn = true;
    },
    // Newer facts, oldest first.
    add(facts) {
      const { newest } = ring;
      const fresh = facts.filter((fact) => fact.seq > newest);
      if (!fresh.length) return;
      if (torn) {
        coming = [];
        gap = true;
        torn = false;
      }
      coming.push(...fresh);
      ring.waiting += fresh.length;
      if (coming.length > 2 * most) {
        coming = coming.slice(-most);
        gap = true;
      }
    },
    // Facts as the API gives them, newest first, and where to go on; they go below what is kept. Of too
    // many, the newest are forgotten: `cut` says that the ring has to begin anew before it goes on.
    older(facts, before) {
      const oldest = kept[0]?.seq ?? coming[0]?.seq ?? Infinity;
      kept = facts.filter((fact) => fact.seq < oldest).reverse().concat(kept);
      ring.before = before;
      if (kept.length > DEEP * most) {
        kept = kept.slice(0, DEEP * most);
        ring.cut = true;
      }
    },
    // Newest first, as a new array.
    shown() {
      if (!ring.held && coming.length) {
        kept = gap ? coming : kept.concat(coming);
        if (gap || kept.length > most) {
          kept = kept.slice(-most);
          ring.before = kept[0].seq;
        }
        coming = [];
        gap = false;
      }
      if (!ring.held) ring.waiting = 0;
      return kept.toReversed();
    },
    find: (id) => kept.findLast((fact) => fact.id === id),
    values: (name) => kept.map((fact) => fact[name]).filter(Boolean),
    clear() {
      kept = [];
      coming = [];
      gap = false;
      torn = false;
      ring.cut = false;
      ring.waiting = 0;
      ring.before = 0;
    },
  };
  return ring;
}
