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


def test_work_that_is_soon_over_is_not_shown() -> None:
    for patience_s, lines in ((60.0, 0), (0.0, 1)):
        stream = io.StringIO()
        with Progress("bricks", 0, "bricks", stream=stream, patience_s=patience_s) as progress:
            progress.set_done(1, 2)
            progress.set_done(2, 2)
        assert len(stream.getvalue().splitlines()) == lines
    assert "2/2" in stream.getvalue()
