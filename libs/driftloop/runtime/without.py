"""Keeps a process from loading installed packages that it does not need."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class Without(MetaPathFinder):
    """Makes packages look as if they were not installed; optional imports then go without them."""

    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = frozenset(packages)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Nothing for others; raises `ModuleNotFoundError` for ours."""
        if fullname.partition(".")[0] in self._packages:
            raise ModuleNotFoundError(f"this process does without {fullname}", name=fullname)
        return None


def do_without(packages: Sequence[str]) -> None:
    """Keep `packages` from being imported from now on."""
    sys.meta_path.insert(0, Without(packages))
