"""The metrics against Prometheus's own parser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.activity import RUNNING, BrickInWork, RunActivity
from engine.config import UserError
from engine.deaths import Death
from engine.prometheus import metrics_text, write_metrics
from engine.rates import Rate

ACTIVITY = RunActivity(
    phase=RUNNING,
    at=1_800_000_000.25,
    num_partitions=6,
    num_partitions_done=3,
    num_partitions_in_work=2,
    num_partitions_remaining=1,
    num_bricks=31,
    num_bricks_done=15,
    num_bricks_quarantined=2,
    num_bricks_done_in_work=3,
    num_bricks_in_work=4,
    num_bricks_remaining=7,
    num_sources=123_456_789,
    recent=Rate(0.1 + 0.2, 1e5 / 3),
    overall=None,
    eta_s=1e-7,
    num_workers_alive=2,
    num_workers_wanted=None,
    num_workers_stale=1,
    network_fraction=0.75,
    decode_fraction=None,
    gpu_percent=62.5,
    step_fractions={"decode": 0.25, "infer": 0.75},
    longest=BrickInWork("0001p000", 61.5, "gpu1", 7),
    deaths=(Death("5-1", {}, "hung", "gpu1", 7, 1.0), Death("5-2", {}, "hung", "gpu2", 7, 2.0)),
)


def parsed(text: str) -> dict[tuple[str, str], float]:
    """(metric, its label other than run) -> value."""
    values = {}
    for family in text_string_to_metric_families(text):
        assert family.name.startswith("photoz_")
        assert family.documentation
        assert family.type == "gauge"
        for sample in family.samples:
            labels = {name: text for name, text in sample.labels.items() if name != "run"}
            assert len(labels) <= 1
            values[sample.name.removeprefix("photoz_"), "".join(labels.values())] = sample.value
    return values


def test_every_number_arrives() -> None:
    values = parsed(metrics_text(ACTIVITY, "/runs/cosmos"))
    phases = {label: value for (name, label), value in values.items() if name == "phase"}
    assert sum(phases.values()) == phases["running"] == 1
    assert set(phases) == {
        *("planning", "waiting for workers", "running", "finishing", "finished", "stopped")
    }
    rest = {key: value for key, value in values.items() if key[0] != "phase"}
    assert rest == {
        ("partitions", "done"): 3,
        ("partitions", "in_work"): 2,
        ("partitions", "remaining"): 1,
        ("bricks", "done"): 15,
        ("bricks", "quarantined"): 2,
        ("bricks", "done_in_work"): 3,
        ("bricks", "in_work"): 4,
        ("bricks", "remaining"): 7,
        ("sources", ""): 123_456_789,
        ("bricks_per_second", "10m"): 0.1 + 0.2,
        ("sources_per_second", "10m"): 1e5 / 3,
        ("remaining_seconds", ""): 1e-7,
        ("workers", "alive"): 2,
        ("workers", "stale"): 1,
        ("busy_ratio", "network"): 0.75,
        ("busy_ratio", "gpu"): 0.625,
        ("step_ratio", "decode"): 0.25,
        ("step_ratio", "infer"): 0.75,
        ("longest_brick_seconds", ""): 61.5,
        ("deaths", "killed"): 0,
        ("deaths", "hung"): 2,
        ("looked_at_seconds", ""): 1_800_000_000.25,
    }


@pytest.mark.parametrize("run", ["/runs/cosmos", 'a "b"', "back\\slash\\n", "two\nlines", "é ☃"])
def test_any_folder_name_is_a_label(run: str) -> None:
    families = list(text_string_to_metric_families(metrics_text(ACTIVITY, run)))
    assert {sample.labels["run"] for family in families for sample in family.samples} == {run}


def test_the_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "photoz.prom"
    for num_sources in (1, 2):
        write_metrics(path, metrics_text(replace(ACTIVITY, num_sources=num_sources), "run"))
        assert parsed(path.read_text())["sources", ""] == num_sources
        assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(UserError, match="cannot be written"):
        write_metrics(tmp_path / "nowhere" / "photoz.prom", "")
