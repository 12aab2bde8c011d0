"""Pictures are drawn of few and of many rows, and what they count is what is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import engine.query.pictures as pictures
from engine.catalogue.read import read_schema
from engine.catalogue.schema import schema_quantile_levels
from engine.config import UserError
from engine.query import Cone, query
from engine.query.pictures import KINDS, draw_picture

if TYPE_CHECKING:
    from tests.engine.query.conftest import AllSky

matplotlib_image = pytest.importorskip("matplotlib.image")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_points", [100, 100_000])
def test_pictures_are_drawn(
    all_sky: AllSky, tmp_path: Path, kind: str, max_points: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "_MAX_POINTS", max_points)
    questions = {"pole": [Cone(0, 90, 36_000)], "all": []}
    for name, selections in questions.items():
        if name == "all" and kind != "sky":
            continue  # The place on the sky makes no difference.
        path = tmp_path / f"{name}.png"
        num_rows = draw_picture(kind, path, all_sky.path, selections, "RA >= 0")
        with query(all_sky.path, *selections) as answer:
            assert num_rows == answer.count()
        image = matplotlib_image.imread(path)
        assert min(image.shape[:2]) > 400
        assert image[..., :3].std() > 0.02


def test_the_stack_holds_the_probability_between_the_quantiles(finished_run: Path) -> None:
    rows = pictures._Rows(finished_run / "catalogue", [], None)
    edges, stack = rows.stack_quantiles()
    assert len(edges) == len(stack) + 1
    assert stack.sum() == pytest.approx(0.98 * rows.count())
    with query(finished_run / "catalogue") as answer:
        quantiles = np.stack(answer.read()["Z_PHOT_QUANTILES"].to_numpy())
    # The stack below a redshift is the sum of the posteriors' cumulative probabilities.
    levels = schema_quantile_levels(read_schema(finished_run / "catalogue"))
    expected = sum(np.interp(0.7, q, levels) - 0.01 for q in quantiles.astype(np.float64))
    assert stack[edges[1:] <= 0.7 + 1e-9].sum() == pytest.approx(expected, rel=0.01)


def test_offsets_go_there_and_back_and_keep_distances() -> None:
    rng = np.random.default_rng(2)
    ra, dec = rng.uniform(0, 360, 500), np.degrees(np.arcsin(rng.uniform(-1, 1, 500)))
    for centre in ((0.0, 90.0), (359.0, -30.0), (180.0, 0.0)):
        x, y = pictures._to_offsets(ra, dec, centre)
        back_ra, back_dec = pictures._from_offsets(x, y, centre)
        np.testing.assert_allclose(back_dec, dec, atol=1e-9)
        np.testing.assert_allclose((back_ra - ra + 180) % 360, 180, atol=1e-7)
        depth_deg = np.degrees(Cone(*centre, 0).depth_rad(ra, dec))
        np.testing.assert_allclose(np.hypot(x, y), -depth_deg, atol=1e-6)


def test_the_command_draws(engine: Callable[..., str], finished_run: Path, tmp_path: Path) -> None:
    catalogue, path = finished_run / "catalogue", tmp_path / "nz.png"
    text = engine("query", catalogue, "--where", "Z_PHOT_MEDIAN > 0.2", "--plot", "nz", path)
    assert text.startswith(f"{path}: nz of ")
    assert path.read_bytes().startswith(b"\x89PNG")
    for arguments, words in (
        (["nz", tmp_path / "nz.pdf"], "ends in .png"),
        (["nz", path, "--where", "RA < -1"], "no row is selected"),
        (["nz", path, "--limit", 5], "leave out --sql and --limit"),
    ):
        assert words in engine("query", catalogue, "--plot", *arguments, expect=2)
    with pytest.raises(UserError, match="S/N > 5"):
        draw_picture("colour", path, catalogue, [], "FLUX_G < 0")
