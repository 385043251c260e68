"""`send-rows`, `send-labels` and `predict`: data in, answers out."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from driftloop.cli import output, session
from driftloop.cli.exits import Exit, Stop
from driftloop.cli.options import DEFAULT_URL, Json, ModelName, Url
from driftloop.cli.session import visit
from driftloop.contracts import requests
from driftloop.contracts.errors import InvalidInput

if TYPE_CHECKING:
    from driftloop.bus.bus import Bus
    from driftloop.modelspec.spec import Spec

DataFile = Annotated[Path, typer.Argument(metavar="FILE", help="CSV, Parquet, NDJSON or Arrow.")]
RowsFile = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", help="Rows as CSV, Parquet, NDJSON or Arrow.")
]
Row = Annotated[
    str, typer.Option("--row", metavar="JSON", help="One row, or a list of rows, as JSON.")
]

What = Literal["rows", "labels"]
PREDICT_ROWS = 1_000
PATIENCE_SECONDS = 60.0
IMPATIENCE_SECONDS = 3.0
SHOWN_REASONS = 10


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a file: rows the log took, rows it had before, rows in quarantine."""

    model: str
    sent: int
    duplicate: int
    seconds: float
    quarantined: int = 0
    reasons: dict[str, int] = {}
    all_checked: bool = True


def send_rows(model: ModelName, file: DataFile, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Send rows of a file; exit code 1 when some of them were quarantined."""
    from driftloop.client.quarantine import watch

    async def work(bus: "Bus") -> Sent:
        start = await bus.log.last_seq("ROWS") + 1
        sent = await _send(bus, model, "rows", file)
        with output.err.status("Waiting for validation"):
            found = await watch(bus, model, start)
        return msgspec.structs.replace(
            sent, quarantined=found.rows, reasons=dict(found.reasons), all_checked=found.all_checked
        )

    _tell(visit(url, work), "rows", json)


def send_labels(
    model: ModelName, file: DataFile, json: Json = False, url: Url = DEFAULT_URL
) -> None:
    """Send labels of a file: event id, the target's column or `label`, and `label_time` if any."""
    _tell(visit(url, lambda bus: _send(bus, model, "labels", file)), "labels", json)


def predict(
    model: ModelName,
    file: RowsFile = None,
    row: Row = "",
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Ask the champion for answers on rows by feature name."""

    async def work(bus: "Bus") -> list[requests.Prediction]:
        spec = (await bus.spec(model)).spec
        questions = _questions(spec, file, row)
        state = await bus.models.get(model)
        if state is None or not state.champion:
            raise Stop(Exit.NO, f"{model} has no champion yet: no candidate has been promoted")
        return [await _ask(bus, model, rows) for rows in questions]

    answers = visit(url, work)
    if json:
        output.as_json(_joined(answers))
        return
    for answer in answers:
        _show(answer)


async def _send(bus: "Bus", model: str, what: What, file: Path) -> Sent:
    from driftloop.cli import prepare
    from driftloop.cli.files import count, read, sha256
    from driftloop.client import Client, NotSent

    registered = await bus.spec(model)
    name = sha256(file)
    stamp = prepare.Stamp(prefix=name[:16], now_ms=int(time.time() * 1000))
    fit = prepare.rows if what == "rows" else prepare.labels
    began, sent, duplicate = time.monotonic(), 0, 0
    with _progress() as progress:
        task = progress.add_task(f"Sending {file.name}", total=count(file))
        async with Client(
            bus.connection.url,
            key=session.key(),
            ca=session.authority(),
            name=bus.service,
            deadline=PATIENCE_SECONDS,
        ) as client:
            send = client.send_rows if what == "rows" else client.send_labels
            for at, batch in enumerate(fit(read(file), registered.spec, stamp)):
                # Under this name a file that is sent again is known; under a new spec it is new.
                key = f"{name[:32]}-{what}-{registered.revision}-{at}"
                try:
                    done = await send(model, batch, key=key)
                except NotSent as error:
                    raise Stop(Exit.SILENT, f"after {sent:,} {what}: {error}") from error
                sent, duplicate = sent + done.rows, duplicate + done.duplicate
                progress.update(task, advance=batch.num_rows)
    seconds = round(time.monotonic() - began, 3)
    return Sent(model=model, sent=sent, duplicate=duplicate, seconds=seconds)


async def _patience(bus: "Bus") -> float:
    """How long to insist: a restart is worth waiting for, a service that was not there is not."""
    from driftloop.cli.models import health

    return PATIENCE_SECONDS if (await health(bus, "ingest")).ready else IMPATIENCE_SECONDS


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeElapsedColumn(),
        console=output.err,
        transient=True,
    )


def _tell(sent: Sent, what: What, json: bool) -> None:
    if json:
        output.as_json(sent)
    else:
        known = f", {sent.duplicate:,} of them known already" if sent.duplicate else ""
        output.say(f"{sent.sent:,} {what} of {sent.model} sent{known}, in {sent.seconds:.1f} s.")
        if not sent.all_checked:
            output.note(
                "Validation has not looked at all of them yet; is it running? (`driftloop status`)"
            )
    if sent.quarantined and not json:
        output.fail(f"{sent.quarantined:,} rows were quarantined:")
        worst = sorted(sent.reasons.items(), key=lambda item: -item[1])
        for reason, rows in worst[:SHOWN_REASONS]:
            output.fail(f"  {rows:,} x {reason}")
        if len(worst) > SHOWN_REASONS:
            output.fail(f"  and {len(worst) - SHOWN_REASONS} more reasons")
    if sent.quarantined:
        raise Stop(Exit.NO)


def _questions(spec: "Spec", file: Path | None, row: str) -> Iterator[list[dict[str, Any]]]:
    if bool(row) == (file is not None):
        raise InvalidInput("--row: give either --row or FILE; accepted: one of the two")
    if row:
        yield _row(row)
        return
    assert file is not None
    yield from _file_questions(spec, file)


def _row(text: str) -> list[dict[str, Any]]:
    accepted = """accepted: an object such as '{"distance": 1400}', or a list of them"""
    try:
        given = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"--row: {text[:80]!r} is not JSON ({error}); {accepted}") from error
    rows = given if isinstance(given, list) else [given]
    if not rows or not all(isinstance(one, dict) for one in rows):
        raise InvalidInput(f"--row: {text[:80]!r} is not a row; {accepted}")
    return rows


def _file_questions(spec: "Spec", file: Path) -> Iterator[list[dict[str, Any]]]:
    from driftloop.cli.files import read
    from driftloop.cli.prepare import features

    for batch in features(read(file), spec):
        rows = batch.to_pylist()
        for at in range(0, len(rows), PREDICT_ROWS):
            yield rows[at : at + PREDICT_ROWS]


async def _ask(bus: "Bus", model: str, rows: list[dict[str, Any]]) -> requests.Prediction:
    payload = msgspec.json.encode({"rows": rows})
    reply = await bus.ask(
        requests.infer(model), payload, headers={"content-type": "application/json"}
    )
    return msgspec.json.decode(reply.payload, type=requests.Prediction)


def _joined(answers: list[requests.Prediction]) -> requests.Prediction:
    return requests.Prediction(
        model=answers[0].model,
        version=answers[-1].version,
        predictions=[p for answer in answers for p in answer.predictions],
        event_ids=[i for answer in answers for i in answer.event_ids],
        probabilities=[p for answer in answers for p in answer.probabilities],
    )


def _show(answer: requests.Prediction) -> None:
    for at, value in enumerate(answer.predictions):
        shown = f"{value:.6g}" if isinstance(value, float) else str(value)
        if answer.probabilities:
            chances = ", ".join(f"{name} {p:.4f}" for name, p in answer.probabilities[at].items())
            shown += f"  ({chances})"
        output.say(f"{shown}  version {answer.version}")
