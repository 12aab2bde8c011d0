"""The source's layout of results."""

from __future__ import annotations

import numpy as np

from model.evaluation import Scores, evaluate, source_slices, source_table


def test_rows_are_those_of_the_source() -> None:
    r = np.array([20.0, 21.5, 23.0, 19.0, np.nan])
    labels = np.array(["AGN", "STARFORMING", "OTHER", "AGN", "OTHER"])
    slices = source_slices(r, labels)
    assert {name: np.flatnonzero(mask).tolist() for name, mask in slices.items()} == {
        "all": [0, 1, 2, 3, 4],
        "r < 21.5": [0, 3],
        "r >= 21.5": [1, 2],
        "r missing": [4],
        "class = STARFORMING": [1],
        "class = AGN": [0, 3],
        "classes together": [0, 1, 3],
    }
    assert list(source_slices(r[:4])) == ["all", "r < 21.5", "r >= 21.5"]
    assert list(source_slices(r[:4], labels[[2, 2, 2, 2]])) == ["all", "r < 21.5", "r >= 21.5"]


def test_table_is_markdown_with_counts() -> None:
    rng = np.random.default_rng(0)
    z = rng.uniform(0.1, 1, 1200)
    scores = Scores.of_points(z + 0.01 * rng.normal(size=1200), z)
    r = np.where(np.arange(1200) < 1195, 20.0, 22.0)
    text = source_table(evaluate(scores, source_slices(r), "forest"))
    lines = text.splitlines()
    assert lines[0] == "| method | sample | bias | sigma_nmad | eta_0.15 |"
    assert lines[1] == "|---|---|---|---|---|"
    assert lines[2].startswith("| forest | all (1,200) | ")
    assert lines[4] == "| forest | r >= 21.5 (5) | nan ± nan | nan ± nan | nan ± nan |"
    assert {line.count("|") for line in lines} == {6}
