"""Which versions are to answer by the registry's state, and whether they fit the spec."""

from typing import NamedTuple, Protocol

from driftloop.contracts.batches import Matrix
from driftloop.contracts.events import Manifest
from driftloop.contracts.state import ModelState
from driftloop.modelspec.spec import Spec


class Cost(Protocol):
    """How long a run takes."""

    def micros(self, rows: int) -> float:
        """Microseconds of a run of so many rows."""


class Answers(Protocol):
    """Anything that answers a (rows, features) matrix with a (rows, width) matrix."""

    @property
    def cost(self) -> Cost:
        """How long a run takes, as measured."""

    def run(self, matrix: Matrix) -> Matrix:
        """The answers in row order."""


class Lineup(NamedTuple):
    """The versions of a model that are to answer; no champion before the first promotion."""

    champion: Manifest | None
    shadows: tuple[Manifest, ...]


def lineup(state: ModelState | None) -> Lineup:
    """What the registry's state asks for; a version it does not describe cannot answer."""
    if state is None:
        return Lineup(None, ())
    known = {number: version.manifest for number, version in state.versions.items()}
    shadows = dict.fromkeys(s.version for s in state.shadows if s.version != state.champion)
    return Lineup(known.get(state.champion), tuple(known[v] for v in shadows if v in known))


def misfit(manifest: Manifest, spec: Spec) -> str:
    """Why a version cannot answer rows of this spec, or an empty text."""
    names = tuple(feature.name for feature in spec.features)
    about = f"version {manifest.version} was trained for spec revision {manifest.spec_revision}"
    if manifest.features != names:
        return (
            f"{about} with features {', '.join(manifest.features)}; "
            f"the spec now has {', '.join(names)}"
        )
    if manifest.width != spec.width:
        return f"{about} with answers of width {manifest.width}; the spec now has {spec.width}"
    return ""
