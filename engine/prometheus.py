"""How a run goes as a text file for Prometheus, in the way of node_exporter's textfile collector.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from engine.activity import PHASES, RunActivity
from engine.config import UserError

Sample = tuple[dict[str, str], float | None]
Metric = tuple[str, str, list[Sample]]
"""Name without its prefix, help, samples; a sample without a value is unknown and left out."""


def metrics_text(activity: RunActivity, run: str) -> str:
    """All metrics of a run; `run` becomes a label of each."""
    lines = []
    for name, about, samples in _metrics(activity):
        known = [(labels, value) for labels, value in samples if value is not None]
        if known:
            lines += [f"# HELP photoz_{name} {about}", f"# TYPE photoz_{name} gauge"]
        for labels, value in known:
            lines.append(f"photoz_{name}{{{_labels({'run': run, **labels})}}} {value!r}")
    return "\n".join(lines) + "\n"


def write_metrics(path: Path, text: str) -> None:
    """Replace the file. The name beside it does not end in .prom, so that nobody collects it.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    wip = path.with_name(f"{path.name}.wip-{os.getpid()}")
    try:
        wip.write_text(text)
        os.replace(wip, path)
    except OSError as error:
        raise UserError(
            f"--prometheus {path}: cannot be written ({error.strerror}); choose another"
        ) from None


def _metrics(activity: RunActivity) -> Iterator[Metric]:
    yield (
        "phase",
        "1 for the phase that the run is in.",
        [({"phase": phase.split(":")[0]}, float(phase == activity.phase)) for phase in PHASES],
    )
    yield (
        "partitions",
        "Partitions of the plan.",
        [
            ({"state": "done"}, activity.num_partitions_done),
            ({"state": "in_work"}, activity.num_partitions_in_work),
            ({"state": "remaining"}, activity.num_partitions_remaining),
        ],
    )
    yield (
        "bricks",
        "Bricks of the plan; done_in_work are lost if their worker dies.",
        [
            ({"state": "done"}, activity.num_bricks_done),
            ({"state": "quarantined"}, activity.num_bricks_quarantined),
            ({"state": "done_in_work"}, activity.num_bricks_done_in_work),
            ({"state": "in_work"}, activity.num_bricks_in_work),
            ({"state": "remaining"}, activity.num_bricks_remaining),
        ],
    )
    yield "sources", "Sources with a posterior.", [({}, activity.num_sources)]
    windows = (("10m", activity.recent), ("run", activity.overall))
    yield (
        "bricks_per_second",
        "Bricks a second of wall time, by window.",
        [({"window": name}, rate.bricks_per_s if rate else None) for name, rate in windows],
    )
    yield (
        "sources_per_second",
        "Sources a second of wall time, by window.",
        [({"window": name}, rate.sources_per_s if rate else None) for name, rate in windows],
    )
    yield "remaining_seconds", "Seconds until all bricks are done.", [({}, activity.eta_s)]
    yield (
        "workers",
        "Worker processes.",
        [
            ({"state": "alive"}, activity.num_workers_alive),
            ({"state": "stale"}, activity.num_workers_stale),
            ({"state": "wanted"}, activity.num_workers_wanted),
        ],
    )
    gpu = None if activity.gpu_percent is None else activity.gpu_percent / 100
    yield (
        "busy_ratio",
        "Part of the time that live workers were in the network, their decoders at work, their "
        "GPUs busy.",
        [
            ({"part": "network"}, activity.network_fraction),
            ({"part": "decode"}, activity.decode_fraction),
            ({"part": "gpu"}, gpu),
        ],
    )
    yield (
        "step_ratio",
        "Part of the time spent in steps, by step.",
        [({"step": step}, value) for step, value in activity.step_fractions.items()],
    )
    yield (
        "longest_brick_seconds",
        "For how long the slowest brick in work has been.",
        [({}, activity.longest.seconds if activity.longest else None)],
    )
    causes = {"killed": 0, "hung": 0}
    for death in activity.deaths:
        causes[death.cause] = causes.get(death.cause, 0) + 1
    yield (
        "deaths",
        "Processes that died in the middle of a partition.",
        [({"cause": cause}, count) for cause, count in causes.items()],
    )
    yield (
        "memory_bytes",
        "Largest resident memory of a live worker.",
        [({}, max((w.memory_bytes for w in activity.workers if w.is_alive), default=None))],
    )
    yield "looked_at_seconds", "Unix time of these numbers.", [({}, activity.at)]


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
