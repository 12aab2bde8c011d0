"""How a run goes, as aligned lines for a person and as one line for a log."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterable, Sequence
from itertools import groupby

import click

from engine.activity import FINISHED, RUNNING, STOPPED, RunActivity, WorkerActivity
from engine.rates import Rate

_LABEL_WIDTH = 11
_BAR_WIDTH = 24
_MAX_DEATHS = 5
_COLOURS = {FINISHED: "green", RUNNING: "green", STOPPED: "red"}


def activity_lines(
    activity: RunActivity, width: int = 100, encoding: str | None = "utf-8"
) -> list[str]:
    """The block that `engine status` begins with; longer values go on in the next line.

    Parameters
    ----------
    width
        Columns of the terminal. Words are never cut: a path may be longer.
    encoding
        Of the output, None if it takes any character: bars are of blocks where it has them.
    """
    bar = _bar_characters(encoding)
    rows = [
        ("phase", _phase(activity)),
        ("partitions", _partitions(activity, bar)),
        ("bricks", _bricks(activity, bar)),
        ("rate", _rates(activity)),
        ("left", _left(activity)),
        ("workers", _workers(activity)),
        ("busy", _busy(activity)),
        ("steps", ", ".join(f"{s} {_percent(f)}" for s, f in activity.step_fractions.items())),
        ("longest", _longest(activity)),
        *_deaths(activity),
        *(("news", driver.message) for driver in activity.drivers[:1]),
        *(("dashboard", driver.dashboard_url or "") for driver in activity.drivers[:1]),
    ]
    lines = [line for label, text in rows if text for line in _wrap(label, text, width)]
    first = lines[0]
    phase = click.style(activity.phase, fg=_COLOURS.get(activity.phase, "yellow"), bold=True)
    return [first.replace(activity.phase, phase, 1), *lines[1:]]


def worker_lines(workers: Sequence[WorkerActivity]) -> list[str]:
    """A table of the processes, host by host; at most 80 columns but for a host's name."""
    if not workers:
        return ["workers    none"]
    head = ("pid", "partition", "brick", "for", "bricks", "sources", "memory", "GPU", "")
    workers = sorted(workers, key=lambda worker: (worker.host, worker.pid))
    rows_of = {
        host: [row for worker in on_host for row in _worker_rows(worker)]
        for host, on_host in groupby(workers, lambda worker: worker.host)
    }
    all_rows = [head, *(row for rows in rows_of.values() for row in rows)]
    widths = [max(len(row[k]) for row in all_rows) for k in range(len(head))]

    def line(row: tuple[str, ...]) -> str:
        cells = (
            # Names to the left, numbers to the right.
            text.ljust(size) if k in (1, 2, 8) else text.rjust(size)
            for k, (text, size) in enumerate(zip(row, widths, strict=True))
        )
        return f"  {'  '.join(cells)}".rstrip()

    lines = [line(head)]
    for host, rows in rows_of.items():
        lines += [host, *(line(row) for row in rows)]
    return lines


def log_line(activity: RunActivity) -> str:
    """All that matters in one line, for a file."""
    parts = [
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(activity.at)),
        activity.phase,
        f"partitions {activity.num_partitions_done}/{activity.num_partitions}",
        f"bricks {activity.num_bricks_done}/{activity.num_bricks}",
        f"quarantined {activity.num_bricks_quarantined}",
        f"sources {activity.num_sources}",
    ]
    if activity.recent is not None:
        parts.append(f"{activity.recent.bricks_per_s:.3g} bricks/s")
    if activity.eta_s is not None:
        parts.append(f"{duration_text(activity.eta_s)} left")
    wanted = "" if activity.num_workers_wanted is None else f"/{activity.num_workers_wanted}"
    parts.append(f"workers {activity.num_workers_alive}{wanted}")
    if activity.network_fraction is not None:
        parts.append(f"network {_percent(activity.network_fraction)}")
    if activity.deaths:
        parts.append(f"deaths {len(activity.deaths)}")
    return "  ".join(parts)


def duration_text(seconds: float) -> str:
    """Two units: 7 -> `7s`, 90 -> `1m30s`, 100000 -> `1d03h`."""
    minutes, rest_s = divmod(round(seconds), 60)
    hours, rest_minutes = divmod(minutes, 60)
    days, rest_hours = divmod(hours, 24)
    if days:
        return f"{days}d{rest_hours:02d}h"
    if hours:
        return f"{hours}h{rest_minutes:02d}m"
    return f"{minutes}m{rest_s:02d}s" if minutes else f"{rest_s}s"


def _wrap(label: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        max(width, 40),
        initial_indent=label.ljust(_LABEL_WIDTH),
        subsequent_indent=" " * _LABEL_WIDTH,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _phase(activity: RunActivity) -> str:
    drivers = activity.drivers
    if not drivers:
        return activity.phase
    since = duration_text(max(0.0, activity.at - min(driver.started_at for driver in drivers)))
    more = f" and {len(drivers) - 1} more" if len(drivers) > 1 else ""
    return f"{activity.phase}, {drivers[0].machine}{more}, driven from {drivers[0].host}, {since}"


def _bar_characters(encoding: str | None) -> str:
    """What stands for done and for not done."""
    try:
        "█░".encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return "#-"
    return "█░"


def _bar(done: int, total: int, characters: str) -> str:
    filled = _BAR_WIDTH * done // total if total else 0
    return characters[0] * filled + characters[1] * (_BAR_WIDTH - filled)


def _partitions(activity: RunActivity, bar: str) -> str:
    done, total = activity.num_partitions_done, activity.num_partitions
    counts = _counts(
        ("in work", activity.num_partitions_in_work),
        ("remain", activity.num_partitions_remaining),
    )
    return f"{_bar(done, total, bar)} {done:,} of {total:,} done{counts}"


def _bricks(activity: RunActivity, bar: str) -> str:
    done, total = activity.num_bricks_done, activity.num_bricks
    counts = _counts(
        ("done in partitions in work", activity.num_bricks_done_in_work),
        ("in work", activity.num_bricks_in_work),
        ("remain", activity.num_bricks_remaining),
        ("quarantined", activity.num_bricks_quarantined),
    )
    over = total - activity.num_bricks_in_work - activity.num_bricks_remaining
    return f"{_bar(over, total, bar)} {done:,} of {total:,} done{counts}"


def _counts(*counts: tuple[str, int]) -> str:
    return "".join(f", {count:,} {word}" for word, count in counts if count)


def _rates(activity: RunActivity) -> str:
    parts = []
    if activity.recent is not None:
        parts.append(f"{_rate(activity.recent)} of late")
    if activity.overall is not None:
        parts.append(f"{_rate(activity.overall)} over the whole run")
    return "; ".join(parts)


def _rate(rate: Rate) -> str:
    bricks = f"{rate.bricks_per_s:,.0f}" if rate.bricks_per_s >= 100 else f"{rate.bricks_per_s:.3g}"
    return f"{bricks} bricks/s, {rate.sources_per_s:,.0f} sources/s"


def _left(activity: RunActivity) -> str:
    if activity.eta_s is None:
        return ""
    end = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(activity.at + activity.eta_s))
    return f"about {duration_text(activity.eta_s)}, until {end}"


def _workers(activity: RunActivity) -> str:
    if not activity.workers and activity.num_workers_wanted is None:
        return ""
    wanted = activity.num_workers_wanted
    text = f"{activity.num_workers_alive} alive" + ("" if wanted is None else f" of {wanted}")
    silent = [worker for worker in activity.workers if not worker.is_alive]
    if silent:
        last = max(silent, key=lambda worker: worker.silent_s)
        at = f" over {', '.join(last.bricks)}" if last.bricks else ""
        text += (
            f", {len(silent)} not heard of (the longest: {last.host} process {last.pid}"
            f"{at}, for {duration_text(last.silent_s)})"
        )
    return text


def _busy(activity: RunActivity) -> str:
    shares = (
        ("network", activity.network_fraction),
        ("decode", activity.decode_fraction),
        ("GPU", None if activity.gpu_percent is None else activity.gpu_percent / 100),
    )
    return ", ".join(f"{name} {_percent(share)}" for name, share in shares if share is not None)


def _longest(activity: RunActivity) -> str:
    found = activity.longest
    if found is None:
        return ""
    return (
        f"brick {found.brick} for {duration_text(found.seconds)} on {found.host}, "
        f"process {found.pid}"
    )


def _deaths(activity: RunActivity) -> Iterable[tuple[str, str]]:
    for number, death in enumerate(activity.deaths[::-1][:_MAX_DEATHS]):
        bricks = ", ".join(f"{name} ({duration_text(s)})" for name, s in death.bricks.items())
        ago = duration_text(max(0.0, activity.at - death.at))
        label = "deaths" if number == 0 else ""
        yield (
            label,
            f"{death.cause} over {bricks or 'no brick'} on {death.host}, process {death.pid}, "
            f"{ago} ago",
        )
    if len(activity.deaths) > _MAX_DEATHS:
        yield "", f"and {len(activity.deaths) - _MAX_DEATHS} before"


def _worker_rows(worker: WorkerActivity) -> list[tuple[str, ...]]:
    """One row, and one more for each further brick in work."""
    bricks = sorted(worker.bricks.items(), key=lambda brick: -brick[1]) or [("", -1.0)]
    gpu = "" if worker.gpu_percent is None else f"{worker.gpu_percent:.0f} %"
    silent = "" if worker.is_alive else f"silent {duration_text(worker.silent_s)}"
    whole = (
        f"{worker.num_bricks:,}",
        f"{worker.num_sources:,}",
        f"{worker.memory_bytes / 1e9:.1f} GB",
        gpu,
        silent,
    )
    rows: list[tuple[str, ...]] = []
    for number, (name, seconds) in enumerate(bricks):
        begun = duration_text(seconds) if seconds >= 0 else ""
        if number == 0:
            rows.append((str(worker.pid), worker.partition or "idle", name, begun, *whole))
        else:
            rows.append(("", "", name, begun, *[""] * len(whole)))
    return rows


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"
