"""`pause`, `resume` and `silence`: what an operator holds back, by way of the console."""

from typing import Annotated, Final, Literal

import typer

from driftloop.cli.complete import DEFAULT_CONSOLE
from driftloop.cli.options import ConsoleUrl, Json, ModelName, Token
from driftloop.cli.steer import By, ordered, tell, who
from driftloop.contracts import requests
from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.names import check_model_name, new_id

Why = Annotated[
    str, typer.Option("--reason", help="Why; kept in the audit trail, and shown to all.")
]
Length = Annotated[
    str, typer.Option("--for", metavar="DURATION", help="For how long: 30m, 12h, 7d ...; 30d most.")
]
Detector = Annotated[
    str, typer.Option(metavar="NAME", help="Only alarms of this detector; by default all.")
]
End = Annotated[bool, typer.Option("--end", help="End the silence now.")]
ByNats = Annotated[
    str,
    typer.Option(
        "--url",
        metavar="NATS",
        help="Ask the registry over NATS with the operator's key, where no console runs.",
    ),
]
DEFAULT_LENGTH: Final = "12h"


def pause(
    model: ModelName,
    reason: Why,
    by: By = "",
    json: Json = False,
    console: ConsoleUrl = DEFAULT_CONSOLE,
    token: Token = "",
    url: ByNats = "",
) -> None:
    """Let nothing but an operator start a run of this model; one in progress goes on."""
    _order(model, "pause", reason, by, json=json, console=console, token=token, url=url)


def resume(
    model: ModelName,
    reason: Why,
    by: By = "",
    json: Json = False,
    console: ConsoleUrl = DEFAULT_CONSOLE,
    token: Token = "",
    url: ByNats = "",
) -> None:
    """Let alarms, new data and the schedule start runs again."""
    _order(model, "resume", reason, by, json=json, console=console, token=token, url=url)


def silence(
    model: ModelName,
    reason: Why,
    length: Length = DEFAULT_LENGTH,
    detector: Detector = "",
    end: End = False,
    by: By = "",
    json: Json = False,
    console: ConsoleUrl = DEFAULT_CONSOLE,
    token: Token = "",
    url: ByNats = "",
) -> None:
    """Show alarms no longer as trouble, and notify nobody, for a while; the loop still reacts."""
    seconds = 0 if end else _seconds(length)
    _order(
        model,
        "silence",
        reason,
        by,
        json=json,
        console=console,
        token=token,
        url=url,
        detector=detector,
        seconds=seconds,
    )


def _seconds(length: str) -> int:
    from driftloop.modelspec import durations

    try:
        return max(1, round(durations.seconds(length)))
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"--for: {length!r} is not a duration; accepted: {durations.ACCEPTED}"
        ) from error


def _order(
    model: str,
    command: Literal["pause", "resume", "silence"],
    reason: str,
    by: str,
    *,
    json: bool,
    console: str,
    token: str,
    url: str,
    detector: str = "",
    seconds: int = 0,
) -> None:
    if not reason.strip():
        raise InvalidInput("--reason: is empty; accepted: why, for the audit trail")
    check_model_name(model)
    if url:
        asked = requests.Command(
            command=command,
            by=by or who(),
            reason=reason,
            detector=detector,
            seconds=float(seconds),
            request=new_id(),
        )
        done = ordered(url, model, asked)
    else:
        from driftloop.cli.api import Api
        from driftloop.console.api.shapes import Order

        body = Order(reason=reason, by=by or who(), detector=detector, seconds=seconds)
        path = f"/api/models/{model}/{command}"
        done = Api(console, token).post(path, body, requests.Done)
    tell(done, json=json)
