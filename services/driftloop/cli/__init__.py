"""The `driftloop` command."""
