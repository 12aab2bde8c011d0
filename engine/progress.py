"""Progress: a bar with rate and ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Counts units of one long piece of work; use it in a `with`.

    On a terminal a tqdm bar; elsewhere (a batch job's log) a line at most every five seconds and
    one at the end. With `patience_s` nothing at all of work that is over by then.
    """

    def __init__(
        self,
        what: str,
        total: int,
        unit: str,
        stream: TextIO | None = None,
        quiet: bool = False,
        patience_s: float = 0.0,
    ) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._patience_s = patience_s
        self._done = 0
        self._shown = -1
        self._begin = self._last_line = time.monotonic()
        self._note = ""
        self._bar: tqdm[None] | None = None
        if not quiet and self._stream.isatty():
            self._bar = tqdm(
                total=total, desc=what, unit=f" {unit}", file=self._stream, delay=patience_s
            )

    def advance(self, count: int = 1, note: str = "") -> None:
        """`count` more units are done; `note` is shown beside them."""
        self._done += count
        self._note = note or self._note
        if self._bar is not None:
            self._bar.set_postfix_str(self._note, refresh=False)
            self._bar.update(count)
        elif time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._line()

    def say(self, text: str) -> None:
        """A line of news, above the bar or among the lines; shown even to who wants no bar."""
        tqdm.write(text, file=self._stream)
        self._stream.flush()

    def set_done(self, done: int, total: int | None = None) -> None:
        """Like `advance`, for a caller that knows the total done, and later how much there is."""
        if total is not None and total != self._total:
            self._total = total
            if self._bar is not None:
                self._bar.total = total
        self.advance(done - self._done)

    def _line(self) -> None:
        self._last_line = time.monotonic()
        elapsed_s = self._last_line - self._begin
        if self._quiet or self._shown == self._done == self._total or elapsed_s < self._patience_s:
            return
        self._shown = self._done
        rate = self._done / elapsed_s if elapsed_s > 0 else 0.0
        text = f"{self._what}: {self._done}/{self._total} {self._unit}, {rate:.2f}/s"
        if self._done < self._total and rate > 0:
            text += f", {_duration((self._total - self._done) / rate)} left"
        if self._note:
            text += f", {self._note}"
        print(text, file=self._stream, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None:
            self._line()


def _duration(seconds: float) -> str:
    """90 -> `1m30s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
