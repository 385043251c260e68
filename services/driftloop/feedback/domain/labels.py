"""A label as it was sent, into the number that travels: its class's index, or the value itself."""

import math
from collections.abc import Sequence

from driftloop.modelspec.spec import Spec


class LabelCodec:
    """Turns label texts into numbers by a spec."""

    def __init__(self, spec: Spec) -> None:
        self._classes = {text: float(at) for at, text in enumerate(spec.target.classes)}
        self.accepted = ", ".join(spec.target.classes) if self._classes else "a finite number"

    def numbers(self, labels: Sequence[str | None]) -> list[float | None]:
        """One number a label, None for a label that is not accepted."""
        if self._classes:
            return list(map(self._classes.get, labels))  # type: ignore[arg-type]  # None is simply not a class
        return [_number(label) for label in labels]


def _number(label: str | None) -> float | None:
    try:
        value = float(label or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
