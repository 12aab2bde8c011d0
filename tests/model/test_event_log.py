"""TensorBoard's own reader sees what was written, each step once."""

from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model.event_log import EventLog


def test_a_run_that_goes_on_replaces_what_it_repeats(tmp_path: Path) -> None:
    for steps, value in (((1, 2, 3), 0.5), ((3, 4), 0.25)):
        log = EventLog(tmp_path / "events")
        for step in steps:
            log.write(step, {"loss/train": value})
        log.close()
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert events.Tags()["scalars"] == ["loss/train"]
    found = [(event.step, event.value) for event in events.Scalars("loss/train")]
    assert found == [(1, 0.5), (2, 0.5), (3, 0.25), (4, 0.25)]


def test_nothing_is_written_without_a_step(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    log.close()
    assert not (tmp_path / "events").exists()
