"""`python -m driftloop.local.bench.many --models 1,100,1000`: measures, and prints the tables."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from driftloop.contracts.errors import DriftloopError
from driftloop.local.bench.many.report import report
from driftloop.local.bench.many.run import PARTS, Options, run_many
from driftloop.runtime.settings import SERVICES


def main() -> None:
    """Exit code 1: something was lost, wrong or failed; 2: a bad argument."""
    given = _arguments()
    json = given.pop("json")
    try:
        results = run_many(msgspec.convert(given, Options), _teller())
    except (DriftloopError, RuntimeError) as error:
        sys.stderr.write(f"\n{error}\n")
        raise SystemExit(2 if isinstance(error, DriftloopError) else 1) from error
    sys.stderr.write("\n")
    sys.stdout.write(report(results) + "\n")
    if json:
        Path(json).write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    problems = [text for result in results for text in result.problems]
    sys.stdout.writelines(f"problem: {text}\n" for text in problems)
    raise SystemExit(1 if problems else 0)


def _arguments() -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="many", description="Measure many models at once.")
    defaults = Options()
    parser.add_argument("--models", type=_numbers, default=defaults.models)
    parser.add_argument("--services", type=_names, default=SERVICES)
    parser.add_argument("--parts", type=_names, default=PARTS, help=f"of {', '.join(PARTS)}")
    parser.add_argument("--rows", type=int, default=defaults.rows, help="of each model")
    parser.add_argument("--batch", type=int, default=defaults.batch, help="rows of a batch")
    parser.add_argument("--requests", type=int, default=defaults.requests)
    parser.add_argument("--seconds", type=float, default=defaults.seconds)
    parser.add_argument("--repeats", type=int, default=defaults.repeats)
    parser.add_argument("--sessions-mb", type=int, default=defaults.sessions_mb)
    parser.add_argument("--json", default="", help="a file for the results")
    return vars(parser.parse_args())


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _teller() -> Callable[[str], None]:
    """One line that is written over, or a line each where there is no terminal."""
    form = "\r\033[K{}" if sys.stderr.isatty() else "{}\n"

    def tell(text: str) -> None:
        sys.stderr.write(form.format(text))
        sys.stderr.flush()

    return tell


if __name__ == "__main__":
    main()
