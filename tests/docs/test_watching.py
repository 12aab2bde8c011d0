"""docs/watching.md names what `engine status` shows and writes, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from engine.activity import PHASES, RunFiles, run_activity
from engine.activity_display import activity_lines
from engine.deaths import Death
from engine.driver_state import DriverState
from engine.prometheus import metrics_text
from engine.receipt_facts import ReceiptFacts
from engine.worker_state import WorkerState

PAGE = (Path(__file__).parents[2] / "docs" / "watching.md").read_text()

RECEIPT = ReceiptFacts(
    *(1, 10, 10, 0, 0),
    **{"decoded": {}, "covered_deg2": {}, "targets_left_out": {}, "seconds": {"infer": 3.0}},
    **{"quarantined": {}, "leaf_rows": {}, "finished_at": 90.0, "elapsed_s": 5.0},
    **{"process": 1, "host": "a"},
)
# All that can be known is known.
ACTIVITY = run_activity(
    RunFiles(
        planned={"5-1": ["0001p000"], "5-2": ["0002p000", "0003p000"]},
        receipts={"5-1": RECEIPT},
        workers=[
            WorkerState(
                *("a", 1, 10.0, "cuda"),
                updated_at=99.0,
                partition="5-2",
                bricks={"0002p000": 95.0},
                seconds={"infer": 3.0},
                gpu_percent=50.0,
            )
        ],
        drivers=[
            DriverState(
                host="a",
                pid=2,
                started_at=5.0,
                updated_at=99.0,
                machine="2 workers",
                num_workers=2,
                num_remaining=1,
                dashboard_url="http://a:8787",
                message="1 job replaced",
            )
        ],
        deaths=[Death("5-1", {"0001p000": 3.0}, "killed", "a", 3, 20.0)],
    ),
    now=100.0,
)


def test_every_line_is_explained() -> None:
    rows = re.findall(r"^\| (`.*?`) \|", PAGE.split("## Prometheus")[0], re.MULTILINE)
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    shown = {line.split()[0] for line in activity_lines(ACTIVITY, width=300)}
    assert shown == explained
    for phase in PHASES:
        assert f"`{phase.split(':')[0]}`" in PAGE


def test_every_metric_is_listed() -> None:
    rows = re.findall(r"^\| (`photoz_.*?) \| (.*?) \|", PAGE, re.MULTILINE)
    listed = {name: labels for row, labels in rows for name in re.findall(r"`(\w+)`", row)}
    families = {
        family.name: family
        for family in text_string_to_metric_families(metrics_text(ACTIVITY, "cosmos"))
    }
    assert listed.keys() == families.keys()
    for name, family in families.items():
        for sample in family.samples:
            for label, value in sample.labels.items():
                assert label == "run" or f"`{label}`" in listed[name]
                if label not in ("run", "phase", "step"):
                    assert value in listed[name].split(": ")[1].split(", ")
