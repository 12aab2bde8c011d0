"""The Zarr group of a brick: identity, declared schema, atomicity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from partitions.photometry import FEATURE_NAMES
from partitions.schema import ARRAY_SPECS
from partitions.store import Arrays, StoreError, read_arrays, write_arrays

SIZES = {
    "band": 6,
    "optical_band": 4,
    "wise_band": 2,
    "feature": len(FEATURE_NAMES),
    "y": 8,
    "x": 8,
    "wise_y": 4,
    "wise_x": 4,
}


def random_arrays(num_sources: int, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    sizes = SIZES | {"source": num_sources}
    return {
        spec.name: rng.normal(0, 50, [sizes[d] for d in spec.dimensions]).astype(spec.dtype)
        for spec in ARRAY_SPECS
    }


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(num_sources=st.sampled_from([0, 1, 5, 1023, 1025]))
def test_what_is_written_is_read(tmp_path: Path, num_sources: int) -> None:
    arrays = random_arrays(num_sources)
    arrays["optical"][:, 2] = 0  # a missing band
    write_arrays(tmp_path / "a.zarr", arrays, {"brick": "x"})
    read = read_arrays(tmp_path / "a.zarr")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)


def test_known_redshifts_are_written_all_or_none(tmp_path: Path) -> None:
    known = {"z_spec": np.array([0.1, 2.0]), "class_code": np.array([1, 0], np.int32)}
    arrays = random_arrays(2) | known
    write_arrays(tmp_path / "a.zarr", arrays, {})
    read = read_arrays(tmp_path / "a.zarr")
    assert read.keys() == arrays.keys()
    np.testing.assert_array_equal(read["z_spec"], known["z_spec"])
    del arrays["class_code"]
    with pytest.raises(StoreError, match="class_code"):
        write_arrays(tmp_path / "b.zarr", arrays, {})


def test_group_declares_dimensions_units_and_version(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.zarr", random_arrays(3), {})
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="r")
    assert group.metadata.zarr_format == 3
    assert group.attrs["format_version"] == 2
    for spec in ARRAY_SPECS:
        assert group[spec.name].metadata.dimension_names == spec.dimensions
        assert group[spec.name].attrs["unit"] == spec.unit


def test_a_missing_band_takes_no_space(tmp_path: Path) -> None:
    arrays = random_arrays(100)
    write_arrays(tmp_path / "full.zarr", arrays, {})
    arrays["optical"][:, 2] = 0
    write_arrays(tmp_path / "less.zarr", arrays, {})
    count = {
        n: len(list((tmp_path / n / "optical").rglob("*"))) for n in ("full.zarr", "less.zarr")
    }
    assert count["less.zarr"] < count["full.zarr"]


def test_wrong_arrays_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    for name, bad in (
        ("flux", np.zeros((3, 5), np.float32)),
        ("ra_deg", np.zeros(3, np.float32)),
        ("objid", np.zeros(4, np.int32)),
    ):
        with pytest.raises(StoreError, match=name):
            write_arrays(tmp_path / "a.zarr", random_arrays(3) | {name: bad}, {})
    arrays = random_arrays(3)
    del arrays["ebv"]
    with pytest.raises(StoreError, match="ebv"):
        write_arrays(tmp_path / "a.zarr", arrays, {})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_arrays(tmp_path / "a.zarr", random_arrays(3, seed=1), {})

    def fail(self: zarr.Array, key: object, value: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zarr.Array, "__setitem__", fail)
    with pytest.raises(OSError, match="No space left"):
        write_arrays(tmp_path / "a.zarr", random_arrays(3, seed=2), {})
    monkeypatch.undo()
    np.testing.assert_array_equal(
        read_arrays(tmp_path / "a.zarr")["flux"], random_arrays(3, seed=1)["flux"]
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_no_group_and_another_format(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no Zarr group"):
        read_arrays(tmp_path / "none.zarr")
    write_arrays(tmp_path / "a.zarr", random_arrays(1), {"format_version": 99})
    with pytest.raises(StoreError, match="array format 99, expected 2"):
        read_arrays(tmp_path / "a.zarr")
