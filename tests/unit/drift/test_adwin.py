"""Our ADWIN is River's."""

import subprocess
import sys

import numpy as np
from river.drift import ADWIN

from driftloop.drift.domain.adwin import Adwin


def test_it_says_what_the_adwin_of_river_says() -> None:
    random = np.random.default_rng(1)
    values = np.concatenate([random.random(1_500), 0.4 + random.random(1_500), random.random(900)])
    ours, theirs = Adwin(delta=1e-4, clock=32), ADWIN(delta=1e-4, clock=32)

    alarms = 0
    for value in values.tolist():
        ours.update(value)
        theirs.update(value)
        alarms += ours.drift_detected
        assert ours.drift_detected == theirs.drift_detected
        assert (ours.width, ours.estimation, ours.variance) == (
            theirs.width,
            theirs.estimation,
            theirs.variance,
        )
    assert alarms == 2


def test_the_drift_service_imports_no_data_frames() -> None:
    code = (
        "import sys, driftloop.drift.app; print({'pandas', 'scipy', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"
