"""What a stress workload is to the runner."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from driftloop.local.bench.stress.results import Condition, Visit
from driftloop.local.bench.stress.stage import Stage
from driftloop.local.bench.workloads import Workload


class Times(Protocol):
    """What scenes read of the options of the bench."""

    @property
    def seconds(self) -> float:
        """How long a visit is, where the scene does not say otherwise."""

    @property
    def warm(self) -> float:
        """Seconds of load before each visit."""

    @property
    def repeats(self) -> int:
        """Visits of each condition."""

    @property
    def swaps(self) -> int:
        """Changes of the champion, of all visits that are looked into together."""

    @property
    def swap_rate(self) -> float:
        """Changes of the champion a second."""


class Scene(ABC):
    """A stress workload: how the service is set up, and what a visit does.

    `kept` is the folder of the models.
    """

    conditions: ClassVar[Sequence[Condition]]
    settings: ClassVar[Mapping[str, str]] = {}
    """Settings of the service by name."""

    def __init__(self, workload: Workload, model: str, kept: Path, times: Times) -> None:
        self.workload = workload
        self.times = times
        self.model = model
        self.kept = kept

    @abstractmethod
    def artifacts(self) -> list[bytes]:
        """The versions of the model, from 1 on; made first if need be."""

    @abstractmethod
    async def begin(self, stage: Stage) -> None:
        """Once, before the first visit: write the requests, warm up."""

    @abstractmethod
    async def visit(self, stage: Stage, condition: str) -> Visit:
        """Load the service under this condition."""

    def totals(self) -> dict[str, float]:
        """Figures of the whole, after the last visit, by what they are."""
        return {}
