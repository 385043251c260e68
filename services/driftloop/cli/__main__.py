"""`python -m driftloop.cli` is the `driftloop` command."""

from driftloop.cli.main import main

main()
