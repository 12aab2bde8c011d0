"""Plain lines where there is no terminal."""

import io

from engine.progress import Progress


def test_lines_end_with_the_total() -> None:
    stream = io.StringIO()
    with Progress("bricks", 3, "bricks", stream=stream) as progress:
        for done in range(1, 4):
            progress.set_done(done)
        progress.advance(0, "12 sources")
    last = stream.getvalue().splitlines()[-1]
    assert last.startswith("bricks: 3/3 bricks, ")
    assert last.endswith("12 sources")
    assert "\r" not in stream.getvalue()


def test_quiet_prints_nothing() -> None:
    stream = io.StringIO()
    with Progress("bricks", 1, "bricks", stream=stream, quiet=True) as progress:
        progress.advance()
    assert stream.getvalue() == ""
