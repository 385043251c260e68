"""The sums that have to close, from sets of event ids: no I/O.

Kinds of ids that a reading of the streams collects, each with all its copies:

`received`; `received-dead`: of received batches that validation could not use; `valid`,
`quarantined`: of batches made from a received one of the window; `valid-before`,
`quarantined-before`: from an older one; `valid-dead`: of valid batches inference could not use;
`scored`, `scored-before`: by the valid batch they answer; `asked`: answered on request; `labels`;
`outcomes`; `unmatched`, `expired`: labels given up. `<kind>-unkept` are ids of batches that
telemetry could not use.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
import numpy as np

from driftloop.bus.audit.ids import Hashes

UNKEPT: Final = "-unkept"
AGAIN: Final = "labelled again"
"""A kind of its own: ids with several labels."""
_NONE: Final[Hashes] = np.zeros(0, np.int64)

Kinds = frozenset[str]
"""All kinds that one id is of."""

TABLES: Final[dict[str, tuple[str, ...]]] = {
    "rows_valid": ("valid", "valid-before"),
    "quarantine": ("quarantined", "quarantined-before"),
    "scored": ("scored", "scored-before", "asked"),
    "labels": ("labels",),
    "outcomes": ("outcomes",),
    "unmatched": ("unmatched", "expired"),
}
"""The tables of ClickHouse with event ids, and the kinds of ids each has to hold."""


class Join(msgspec.Struct, frozen=True, kw_only=True):
    """What the label join says of itself: labels and predictions that wait in it."""

    waiting_labels: int = 0
    waiting_predictions: int = 0


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    """One sum of a model: `left` has to be the sum of `parts`.

    `missing` ids are on the left only, `extra` ones on the right only. `note` says what else a
    person has to know.
    """

    model: str
    name: str
    left: int
    parts: dict[str, int]
    missing: int
    extra: int
    note: str = ""

    @property
    def right(self) -> int:
        """The sum of the parts."""
        return sum(self.parts.values())

    @property
    def closes(self) -> bool:
        """Whether both sides are the same facts."""
        return self.left == self.right and not self.missing and not self.extra


def count(slices: Iterable[Mapping[str, Hashes]], *, whole: bool) -> Counter[str]:
    """Numbers of different ids by what they are. `whole`: the streams are there from their
    beginning.
    """
    found: Counter[str] = Counter()
    for kinds, ids in _by_kinds(slices).items():
        facts = {**_rows(kinds), **_labels(kinds, whole=whole), **_tables(kinds)}
        for name, true in facts.items():
            found[name] += ids if true else 0
    return found


def sums(
    model: str,
    copies: Mapping[str, int],
    found: Mapping[str, int],
    kept: Mapping[str, int],
    join: Join,
    *,
    whole: bool,
) -> list[Sum]:
    """The sums of a model.

    `copies` are rows received, labels and outcomes with all their copies, `found` is what `count`
    found, `kept` the ids ClickHouse has by table. `whole`: the streams are there from their
    beginning; else labels that wait cannot be told from those that came before the window.
    """
    n = Counter(found)
    made = [
        _received_sum(model, copies["received"], n),
        Sum(
            model=model,
            name="valid",
            left=n["to score"],
            parts={"scored": n["scored"], "dead": n["dead valid"]},
            missing=n["unscored"],
            extra=n["scored without a row"],
        ),
        _label_sum(model, copies["labels"], n, join, whole=whole),
        Sum(
            model=model,
            name="outcomes",
            left=copies["outcomes"],
            parts={"joined": n["labelled"]},
            missing=0,
            extra=copies["outcomes"] - n["labelled"],
        ),
    ]
    if whole:
        made.append(_answers(model, n, join))
    return made + [_table_sum(model, table, n, kept.get(table, 0)) for table in TABLES]


def _received_sum(model: str, rows: int, n: Counter[str]) -> Sum:
    return Sum(
        model=model,
        name="received",
        left=rows,
        parts={
            "valid": n["valid"],
            "quarantined": n["quarantined"],
            "duplicate": rows - n["received"],
            "dead": n["dead"],
        },
        missing=n["unchecked"],
        extra=n["unreceived"],
    )


def _label_sum(model: str, sent: int, n: Counter[str], join: Join, *, whole: bool) -> Sum:
    """What waits is told by the join, not found by subtraction: else the sum could not fail.

    A label may wait whose event id was decided before: it was given up, say, and mended then. There
    are at most as many as ids with several labels, and they are not counted again.
    """
    open_, waits = n["undecided"], join.waiting_labels
    again = waits - open_
    fits = 0 <= again <= n["decided, labelled again"] if whole else again >= 0
    pending = open_ if fits else waits
    return Sum(
        model=model,
        name="labels",
        left=sent,
        parts={
            "joined": n["joined"],
            "pending": pending,
            "unmatched": n["unmatched"],
            "expired": n["expired"],
            "duplicate": sent - n["labels"],
        },
        missing=0 if fits else max(0, -again),
        extra=n["unlabelled"] + (0 if fits else max(0, again)),
        note=f"{again:,} more labels wait for ids decided before" if fits and again else "",
    )


def _answers(model: str, n: Counter[str], join: Join) -> Sum:
    """Predictions given up without a label are what is left: nobody writes them down."""
    unlabelled = n["answers"] - n["labelled"]
    pending = min(join.waiting_predictions, max(0, unlabelled))
    return Sum(
        model=model,
        name="predictions",
        left=n["answers"],
        parts={
            "joined": n["labelled"],
            "pending": pending,
            "expired": max(0, unlabelled - pending),
        },
        missing=0,
        extra=n["labelled unscored"],
        note="expired is what is left over",
    )


def _table_sum(model: str, table: str, n: Counter[str], kept: int) -> Sum:
    unkept = n[f"dead {table}"]
    left = n[f"stream {table}"]
    short = left - unkept - kept
    return Sum(
        model=model,
        name=f"stream {table}",
        left=left,
        parts={"ClickHouse": kept, "dead": unkept},
        missing=max(0, short),
        extra=max(0, -short),
    )


def _by_kinds(slices: Iterable[Mapping[str, Hashes]]) -> Counter[Kinds]:
    """How many ids there are of each set of kinds: one sort of all ids, and a bit for each kind."""
    found: Counter[Kinds] = Counter()
    for sets in slices:
        again = _repeated(sets.get("labels", _NONE), sets.get("labels" + UNKEPT, _NONE))
        parts = {**sets, AGAIN: again}
        bits = [np.full(len(its), 1 << at, np.int64) for at, its in enumerate(parts.values())]
        ids = np.concatenate(list(parts.values()))
        if not len(ids):
            continue
        order = np.argsort(ids, kind="stable")
        ids = ids[order]
        firsts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
        masks = np.bitwise_or.reduceat(np.concatenate(bits)[order], firsts)
        for mask, times in zip(*np.unique(masks, return_counts=True), strict=True):
            kinds = (kind for at, kind in enumerate(parts) if int(mask) >> at & 1)
            found[Kinds(kinds)] += int(times)
    return found


def _repeated(*sets: Hashes) -> Hashes:
    """The ids of which there are several copies."""
    ids = np.sort(np.concatenate(sets))
    again: Hashes = ids[1:][ids[1:] == ids[:-1]]
    return again


def _has(kinds: Kinds, *wanted: str) -> bool:
    """Whether an id is of one of these kinds, be it that telemetry could not use its batch."""
    return any(kind in kinds or kind + UNKEPT in kinds for kind in wanted)


def _rows(kinds: Kinds) -> dict[str, bool]:
    """Of an id that is several things the first counts: valid, quarantined, dead."""
    received, valid = "received" in kinds, _has(kinds, "valid")
    refused = _has(kinds, "quarantined") and not valid
    dead = "received-dead" in kinds and not valid and not refused
    checked = valid or refused or dead
    to_score, scored = _has(kinds, "valid", "valid-before"), _has(kinds, "scored")
    dead_valid = "valid-dead" in kinds and not scored
    answered = scored or dead_valid
    return {
        "received": received,
        "valid": valid,
        "quarantined": refused,
        "dead": dead,
        "unchecked": received and not checked,
        "unreceived": checked and not received,
        "to score": to_score,
        "scored": scored,
        "dead valid": dead_valid,
        "unscored": to_score and not answered,
        "scored without a row": answered and not to_score,
    }


def _labels(kinds: Kinds, *, whole: bool) -> dict[str, bool]:
    """Of an id that is several things the first counts: joined, unmatched, expired.

    In a window, what became of labels that came before it does not count.
    """
    label, outcome = _has(kinds, "labels"), _has(kinds, "outcomes")
    counts = label or whole
    joined = outcome and counts
    unmatched = _has(kinds, "unmatched") and counts and not joined
    expired = _has(kinds, "expired") and counts and not joined and not unmatched
    decided = joined or unmatched or expired
    answered = _has(kinds, "scored", "scored-before", "asked")
    return {
        "labels": label,
        "joined": joined,
        "unmatched": unmatched,
        "expired": expired,
        "undecided": label and not decided,
        "decided, labelled again": AGAIN in kinds and decided,
        "unlabelled": decided and not label,
        "answers": answered,
        "labelled": outcome,
        "labelled unscored": outcome and not answered,
    }


def _tables(kinds: Kinds) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for table, its in TABLES.items():
        kept = not kinds.isdisjoint(its)
        found[f"stream {table}"] = _has(kinds, *its)
        found[f"dead {table}"] = _has(kinds, *its) and not kept
    return found
