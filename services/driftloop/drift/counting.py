"""What the drift service counts, and where its detectors stand."""

from driftloop.runtime import metrics

ROWS = metrics.counter("drift_rows", "Rows looked at", ["model", "stream"])
ALARMS = metrics.counter("drift_alarms", "Alarms said, by their event", ["model", "event"])
EVIDENCE = metrics.gauge(
    "drift_evidence_ratio",
    "Evidence of a change as a share of what makes an alarm, by what is watched together",
    ["model", "group"],
)
LEFT_OUT = metrics.gauge(
    "drift_estimate_left_out_rows",
    "Rows the present champion's estimate left out: no number, or labelled too long ago to be kept",
    ["model"],
)
OWNED = metrics.gauge("drift_partitions", "Partitions of the models owned here")
