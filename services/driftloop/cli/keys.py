"""`keys` and `provision`: who may log in to NATS, and the streams that the admin makes."""

from pathlib import Path
from typing import Annotated

import typer

from driftloop.cli import output, session
from driftloop.cli.options import DEFAULT_URL, Json, Url
from driftloop.cli.session import USUAL_KEYS
from driftloop.contracts.errors import InvalidInput

commands = typer.Typer(
    help="Who may log in to NATS: the keys of the services, and of callers.", no_args_is_help=True
)

Folder = Annotated[Path, typer.Option("--folder", help="Where the keys are.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the caller.")]


@commands.command()
def make(
    folder: Folder = USUAL_KEYS,
    apart: Annotated[
        bool,
        typer.Option("--apart", help="Also a folder for each, to mount or to copy to its machine."),
    ] = False,
) -> None:
    """Make the keys that are missing, and authorization.conf for a NATS server to include."""
    from driftloop.bus import authorization

    authorization.prepare(folder)
    if apart:
        authorization.apart(folder)
    output.say(f"keys and {authorization.FILE} are in {folder}")


@commands.command()
def add(
    name: Name,
    model: Annotated[
        list[str], typer.Option("--model", help="A model it may use, `*` for all; again for more.")
    ],
    folder: Folder = USUAL_KEYS,
) -> None:
    """Give a producer or caller a key of its own, for some models."""
    from driftloop.bus import authorization

    path = authorization.admit(_there(folder), name, model)
    output.say(f"{path} is the key of {name}: rows, labels and predictions of {', '.join(model)}")


@commands.command()
def remove(name: Name, folder: Folder = USUAL_KEYS) -> None:
    """Take the key of a producer or caller away."""
    from driftloop.bus import authorization

    authorization.expel(_there(folder), name)
    output.say(f"{name} can no longer log in")


@commands.command("list")
def list_(folder: Folder = USUAL_KEYS, json: Json = False) -> None:
    """List the producers and callers with a key of their own."""
    from driftloop.bus import authorization

    found = authorization.clients(_there(folder))
    if json:
        output.as_json(found)
    elif not found:
        output.note("no caller has a key of its own yet")
    else:
        rows = [(name, ", ".join(models)) for name, models in sorted(found.items())]
        output.table(("name", "models"), rows)


def provision(
    url: Url = DEFAULT_URL,
    folder: Folder = USUAL_KEYS,
    replicas: Annotated[
        int, typer.Option(min=1, max=5, help="Replicas of each stream; 3 on a cluster.")
    ] = 1,
    log_gb: Annotated[
        float, typer.Option(min=0.1, help="Room for all streams together, in GiB.")
    ] = 30.0,
) -> None:
    """Make the streams and buckets of a NATS server, with the key of the admin."""
    import asyncio

    from driftloop.bus.bus import Bus
    from driftloop.bus.provision import Layout
    from driftloop.bus.rights import ADMIN

    async def made() -> None:
        layout = Layout(replicas=replicas, log_gb=log_gb)
        keys = str(folder) if folder.exists() else ""
        bus = await Bus.open(
            url, "provision", layout=layout, keys=keys, user=ADMIN, ca=session.authority()
        )
        await bus.close()

    asyncio.run(made())
    output.say(f"the streams and buckets are there on {url}")


def _there(folder: Path) -> Path:
    if not folder.is_dir():
        raise InvalidInput(
            f"--folder: {folder} is no folder of keys; accepted: one of `driftloop up` or of "
            "`driftloop keys make`"
        )
    return folder
