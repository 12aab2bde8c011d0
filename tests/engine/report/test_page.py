"""The page: what it says, that it needs nothing from elsewhere, and how a browser shows it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.image import imread

from partitions.schema import QUALITY_BIT_MEANING

Engine = Callable[..., str]

SECTIONS = [
    *("Overview", "Sky", "Redshift distribution", "Accuracy", "Flags", "Bands and depth"),
    *("Against the training set", "Failed and quarantined", "Slowest bricks", "Throughput"),
    "Provenance",
]


class Tags(HTMLParser):
    """Headings, addresses, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def plain(page: str) -> str:
    """The text of a page."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


@pytest.fixture(scope="module")
def page_path(engine: Engine, finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    text = engine("report", finished_run, "--output", path)
    assert "8 of 8 bricks" in text
    return path


def test_every_section_is_there_and_nothing_comes_from_elsewhere(page_path: Path) -> None:
    page = page_path.read_text()
    tags = Tags(page)
    assert tags.open == []
    assert re.findall(r"<h2>(.*?)</h2>", page) == SECTIONS
    assert all(link.startswith(("#", "data:")) for link in tags.links)
    assert {link[1:] for link in tags.links if link.startswith("#")} == set(
        re.findall(r'<section id="(.*?)"', page)
    )
    assert "<script" not in page
    assert "@import" not in page
    assert "url(" not in page
    assert "nan" not in re.findall(r'(?:points|x|y|width|height)="([^"]*)"', page)
    assert "nan" not in plain(page).lower().split()


def test_says_what_the_run_did(
    engine: Engine, page_path: Path, finished_run: Path, mock_survey: Path
) -> None:
    text = plain(page_path.read_text())
    plan = json.loads((finished_run / "plan.json").read_text())
    assert plan["digest"] in text
    assert plan["weights"]["digest"] in text
    for meaning in QUALITY_BIT_MEANING.values():
        assert " ".join(meaning.split()) in text
    assert f"engine build --survey {mock_survey / 'south'} --brick " in text
    judged = json.loads(
        engine(
            *("evaluate", "--catalogue", finished_run / "catalogue", "--json"),
            *("--truth", mock_survey / "truth.fits", "--output", page_path.parent / "judged"),
        )
    )
    value = {r["metric"]: r["value"] for r in judged["records"] if r["slice"] == "all"}
    assert f"sigma_NMAD {value['sigma_nmad']:.4f}" in text
    assert f"{judged['num_rows']:,}" in text


def test_a_run_that_is_not_whole_says_what_lacks(
    engine: Engine, run_copy: Path, tmp_path: Path
) -> None:
    receipts = sorted((run_copy / "receipts").glob("*.json"))
    receipt = json.loads(receipts[0].read_text())
    name = next(iter(receipt["bricks"]))
    del receipt["bricks"][name]
    receipt["quarantined"][name] = "tractor.fits: truncated <script>alert(1)</script> & worse"
    receipts[0].write_text(json.dumps(receipt))
    receipts[-1].unlink()
    for properties in (run_copy / "catalogue").glob("*properties"):
        properties.unlink()
    report = json.loads(engine("report", run_copy, "--output", tmp_path / "r.html", "--json"))
    assert report["num_rows"] == 0
    page = (tmp_path / "r.html").read_text()
    text = plain(page)
    assert "No row is published yet" in text
    assert "<script" not in page
    assert "tractor.fits: truncated <script>alert(1)</script> & worse" in text or (
        "&lt;script&gt;alert(1)&lt;/script&gt; &amp; worse" in page
    )
    assert f"--brick {name}" in text
    assert "Not done:" in text
    assert Tags(page).open == []


def test_weights_and_truth_may_be_gone(
    engine: Engine, run_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = json.loads((run_copy / "plan.json").read_text())
    plan["weights"]["path"] = str(tmp_path / "moved")
    plan["survey"]["root"] = str(tmp_path / "unmounted")
    (run_copy / "plan.json").write_text(json.dumps(plan))
    engine("report", run_copy, "--output", tmp_path / "r.html")
    text = plain((tmp_path / "r.html").read_text())
    assert f"cannot read {tmp_path / 'moved'}" in text
    assert "No known redshifts: add --truth" in text


def test_mistakes_are_one_line(engine: Engine, finished_run: Path, tmp_path: Path) -> None:
    assert "no run there" in engine("report", tmp_path, expect=2)
    assert "ends in .html" in engine("report", finished_run, "--output", tmp_path, expect=2)
    missing = ("--truth", tmp_path / "none.fits", "--output", tmp_path / "r.html")
    assert "none.fits" in engine("report", finished_run, *missing, expect=2).splitlines()[-1]


# --- in a browser --------------------------------------------------------------------------------


def run_chromium(profile: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Headless, from an empty profile, without a network of its own."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium here (Debian: apt-get install chromium)")
    quiet = ("background-networking", "component-update", "sync")
    return subprocess.run(
        [
            *(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", f"--user-data-dir={profile}", "--hide-scrollbars"),
            *(f"--disable-{name}" for name in quiet),
            *("--enable-logging=stderr", *arguments),
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_browser_shows_it_without_errors(page_path: Path, tmp_path: Path) -> None:
    for name, width in (("desktop", 1180), ("phone", 390)):
        picture = tmp_path / f"{name}.png"
        done = run_chromium(
            tmp_path / name,
            f"--window-size={width},1600",
            f"--screenshot={picture}",
            page_path.as_uri(),
        )
        assert "CONSOLE" not in done.stderr, done.stderr
        pixels = imread(picture)
        assert pixels.shape[:2] == (1600, width)
        assert pixels[..., :3].std() > 0.05  # Not a blank page.


def test_nothing_is_wider_than_a_phone(page_path: Path, tmp_path: Path) -> None:
    # The same page in a frame as wide as a phone; the frame's own script measures it.
    frame = tmp_path / "frame.html"
    page = page_path.read_text().replace("&", "&amp;").replace('"', "&quot;")
    frame.write_text(
        f'<iframe id="f" width="390" height="844" style="border:0" srcdoc="{page}"></iframe>'
        "<script>"
        'const f = document.getElementById("f");'
        "f.onload = () => { const d = f.contentDocument;"
        "const wide = [...d.querySelectorAll('svg text')].filter("
        "t => { const r = t.getBoundingClientRect(); return r.left < 0 || r.right > 390; });"
        "const small = [...d.querySelectorAll('svg text')].filter("
        "t => t.getBoundingClientRect().height < 8 && !t.getAttribute('transform'));"
        "const cut = [...d.querySelectorAll('.wide')].filter(t => t.scrollWidth > t.clientWidth);"
        "document.title = [d.documentElement.scrollWidth, d.documentElement.scrollHeight > 3000,"
        "wide.length, small.length, cut.length].join(' '); };</script>"
    )
    done = run_chromium(tmp_path / "profile", "--dump-dom", frame.as_uri())
    found = re.search(r"<title>(.*?)</title>", done.stdout)
    assert found is not None
    assert found[1] == "390 true 0 0 0"
