"""What answers for a model now, for a person or a script."""

from collections.abc import Awaitable, Callable

import msgspec

from driftloop.bus.bus import Bus
from driftloop.inference.versions import Versions


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What answers for a model now; version 0 before the first promotion."""

    model: str
    champion: int
    sha256: str
    shadows: list[int]
    spec_revision: int
    features: list[str]
    classes: list[str]
    problem: str = ""


Describe = Callable[[str], Awaitable[Description]]


def describer(bus: Bus, versions: Versions) -> Describe:
    """A function that describes a model by its name."""

    async def describe(model: str) -> Description:
        registered = await bus.spec(model)
        live = await versions.of(model)
        manifest = live.champion.manifest if live.champion else None
        return Description(
            model=model,
            champion=manifest.version if manifest else 0,
            sha256=manifest.model_sha256 if manifest else "",
            shadows=[shadow.manifest.version for shadow in live.shadows],
            spec_revision=registered.revision,
            features=[feature.name for feature in registered.spec.features],
            classes=list(registered.spec.target.classes),
            problem=live.problem,
        )

    return describe
