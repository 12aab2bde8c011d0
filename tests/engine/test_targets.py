"""TARGETID against desitarget's own test vectors."""

import numpy as np
import pytest

from engine.targets import decode_targetid, encode_targetid

# objid, brickid, release, TARGETID by desitarget 4.4.0.
VECTORS = [
    (0, 1, 10000, 43980465115234304),
    (1234, 662174, 10002, 43992038563120338),
    (4194303, 662174, 9010, 39629176428298239),
    (5, 1, 10002, 43989261208256517),
]


def test_vectors() -> None:
    objid, brickid, release, expected = np.array(VECTORS, dtype=np.int64).T
    found = encode_targetid(release.astype("i2"), brickid.astype("i4"), objid.astype("i4"))
    np.testing.assert_array_equal(found, expected)


def test_decoding_is_the_inverse() -> None:
    objid, brickid, release, targetid = np.array(VECTORS, dtype=np.int64).T
    for found, expected in zip(decode_targetid(targetid), (release, brickid, objid), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("bit", [58, 59, 60, 61, 62])
def test_a_targetid_that_is_no_source(bit: int) -> None:
    targetid = np.array([VECTORS[0][3] | 1 << bit, 0, -1, np.iinfo(np.int64).min])
    for found in decode_targetid(targetid):
        assert found.tolist() == [-1] * 4


@pytest.mark.parametrize(
    ("objid", "brickid", "release", "name"),
    [(1 << 22, 1, 1, "OBJID"), (1, 1 << 20, 1, "BRICKID"), (1, 1, -1, "RELEASE")],
)
def test_a_value_that_does_not_fit(objid: int, brickid: int, release: int, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        encode_targetid(np.array([release]), np.array([brickid]), np.array([objid]))
