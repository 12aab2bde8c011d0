"""Training rows: stored arrays and true redshifts, split by sky, standardised, made tensors.

Rows are kept as the arrays store them (float16 stamps, cropped to what the network reads) and
become tensors batch by batch, so that memory holds little more than the crops themselves.

Shapes: N objects, B = 6 bands (g, r, i, z, W1, W2), F features, H W pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from partitions.healpix import radec_to_pixel
from partitions.photometry import FEATURE_BANDS, FEATURE_NAMES
from partitions.schema import BANDS, OPTICAL_BANDS

Arrays = Mapping[str, npt.NDArray[Any]]
FloatArray32 = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

SPLIT_ORDER = 9
"""HEALPix order (NESTED) of the sky cells that are never split: 6.9 arcmin wide."""

# Arrays of shape (N, B), and the number of bands of each stamp array.
_BAND_SHAPED = ("flux", "flux_ivar", "mw_transmission", "coverage")
_STAMP_BANDS = {"optical": len(OPTICAL_BANDS), "wise": len(BANDS) - len(OPTICAL_BANDS)}

_PADDING_VALUE = {"mw_transmission": 1.0}

RANGE_PERCENTILES = (0.1, 99.9)
RANGE_MARGIN = 0.1
"""The training range is widened by this fraction of its width at each end."""


def centre_crop(stamps: npt.NDArray[Any], side_px: int) -> npt.NDArray[Any]:
    """Central pixels of stamps (..., H, W), as a view; the source stays at [side // 2] ** 2."""
    height, width = stamps.shape[-2:]
    if side_px > min(height, width):
        raise ValueError(f"stored stamps are {height} x {width} px, smaller than {side_px}")
    # Floor of each half: a source at pixel H // 2 lands on pixel side // 2.
    top, left = height // 2 - side_px // 2, width // 2 - side_px // 2
    return stamps[..., top : top + side_px, left : left + side_px]


def check_arrays(arrays: Arrays, optical_px: int, wise_px: int) -> int:
    """Number of sources of one brick's arrays.

    Raises
    ------
    ValueError
        If an array is missing, has a wrong shape, or a pixel that the network reads is not
        finite; the message names the array and both values.
    """
    names = (*_STAMP_BANDS, *_BAND_SHAPED, "features")
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"arrays lack {missing}: expected {list(names)}")
    num_sources = len(arrays["features"])
    expected: dict[str, tuple[int, ...]] = {
        name: (num_sources, len(BANDS)) for name in _BAND_SHAPED
    }
    expected["features"] = (num_sources, len(FEATURE_NAMES))
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} has shape {arrays[name].shape}, expected {shape}")
    for name, side in (("optical", optical_px), ("wise", wise_px)):
        stamps, num_bands = arrays[name], _STAMP_BANDS[name]
        if stamps.ndim != 4 or stamps.shape[:2] != (num_sources, num_bands):
            raise ValueError(
                f"{name} has shape {stamps.shape}, expected ({num_sources}, {num_bands}, H, W)"
            )
        _check_finite(name, centre_crop(stamps, side))
    for name in _BAND_SHAPED:
        _check_finite(name, arrays[name])
    return num_sources


def _check_finite(name: str, values: npt.NDArray[Any]) -> None:
    if values.dtype == np.float16:
        # An exponent of all ones is inf or NaN; numpy's own test of float16 is 10 times slower.
        finite = (values.view(np.uint16) & 0x7C00) != 0x7C00
    else:
        finite = np.isfinite(values)
    if not finite.all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"{name}{list(index)} is {values[index]}, expected a finite value: "
            f"{finite.size - np.count_nonzero(finite)} of {finite.size} are not"
        )


def to_inputs(
    arrays: Arrays, rows: slice | Rows, optical_px: int, wise_px: int, pad_to: int = 0
) -> dict[str, Tensor]:
    """Tensors of some rows, in the stored dtypes, as a network's `forward` takes them.

    Parameters
    ----------
    arrays
        Arrays of partitions.schema.ARRAY_SPECS; stamps may be larger than the crops.
    rows
        Rows to take.
    pad_to
        Append empty rows (all bands missing) up to this number, so that every batch has the
        same shape.
    """
    sides = {"optical": optical_px, "wise": wise_px}
    inputs: dict[str, Tensor] = {}
    for name in (*_STAMP_BANDS, *_BAND_SHAPED, "features"):
        values = arrays[name][rows]
        if name in sides:
            values = centre_crop(values, sides[name])
        dtype = np.float16 if name in sides and values.dtype == np.float16 else np.float32
        padded = np.full(
            (max(pad_to, len(values)), *values.shape[1:]), _PADDING_VALUE.get(name, 0.0), dtype
        )
        padded[: len(values)] = values
        inputs[name] = torch.from_numpy(padded)
    return inputs


@cache
def feature_usage() -> Tensor:
    """(B, F) 1 where a feature needs a band, else 0."""
    usage = [[float(band in needed) for needed in FEATURE_BANDS] for band in BANDS]
    return torch.tensor(usage, dtype=torch.float32)


def drop_bands(inputs: Mapping[str, Tensor], keep_NB: Tensor) -> dict[str, Tensor]:
    """Inputs as if some bands had never been observed.

    The band vanishes everywhere at once, exactly as the arrays store a missing band: zero pixels,
    zero coverage, zero flux and inverse variance, NaN in every feature that needs it.

    Parameters
    ----------
    keep_NB
        (N, B) bool, False where a band is dropped.
    """
    keep = keep_NB.to(torch.float32)
    lost_NF = ((1 - keep) @ feature_usage().to(keep.device)) > 0
    num_optical = len(OPTICAL_BANDS)
    result = dict(inputs)
    for name, bands in (("optical", slice(0, num_optical)), ("wise", slice(num_optical, None))):
        dropped = ~keep_NB[:, bands, None, None]
        result[name] = inputs[name].masked_fill(dropped, 0.0)
    for name in ("flux", "flux_ivar", "coverage"):
        result[name] = inputs[name].masked_fill(~keep_NB, 0.0)
    result["features"] = inputs["features"].masked_fill(lost_NF, float("nan"))
    return result


# --- splitting -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of the three parts; together every row once."""

    train: Rows
    """Rows the parameters are fitted on."""
    validation: Rows
    """Rows that choose the epoch and the temperature."""
    test: Rows
    """Rows that nothing is fitted on."""


def split_by_sky(
    ra_deg: npt.ArrayLike,
    dec_deg: npt.ArrayLike,
    seed: int,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    order: int = SPLIT_ORDER,
    groups: npt.ArrayLike | None = None,
) -> Split:
    """Split rows into train, validation and test without dividing a patch of sky.

    Neighbours share exposures, calibration and large-scale structure, and a source may appear in
    two bricks: a random split would leak all of that into the test.

    Parameters
    ----------
    ra_deg, dec_deg
        (N,) ICRS positions.
    fractions
        Shares of train, validation and test; they sum to 1.
    order
        HEALPix order (NESTED) of the patches.
    groups
        (N,) labels to keep together instead, for example brick ids.

    Raises
    ------
    ValueError
        If the fractions do not sum to 1, or there are fewer patches than wanted parts.
    """
    if abs(sum(fractions) - 1) > 1e-9 or min(fractions) < 0:
        raise ValueError(f"fractions {fractions} sum to {sum(fractions)}, expected 1")
    labels = radec_to_pixel(ra_deg, dec_deg, order) if groups is None else np.asarray(groups)
    cells, cell_of_row, counts = np.unique(labels, return_inverse=True, return_counts=True)
    wanted = np.array(fractions)
    if len(cells) < np.count_nonzero(wanted):
        raise ValueError(
            f"{len(cells)} patches of sky for {np.count_nonzero(wanted)} parts: use a higher "
            f"order than {order}, or more bricks"
        )
    part_of_cell = _deal_cells(counts, wanted, np.random.default_rng(seed))
    part_of_row = part_of_cell[cell_of_row]
    train, validation, test = (np.flatnonzero(part_of_row == part) for part in range(3))
    return Split(train, validation, test)


def _deal_cells(
    counts: npt.NDArray[np.int64], fractions: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Part (0, 1, 2) of every cell: in random order, each to the part that lacks most."""
    target = fractions * counts.sum()
    dealt = np.zeros(3)
    part_of_cell = np.zeros(len(counts), np.int64)
    for cell in rng.permutation(len(counts)):
        # Relative to the target, so that the small parts fill early and none stays empty.
        lacking = np.where(fractions > 0, 1 - dealt / np.maximum(target, 1e-12), -np.inf)
        part = int(np.argmax(lacking))
        part_of_cell[cell] = part
        dealt[part] += counts[cell]
    return part_of_cell


# --- training rows ---------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Stored arrays with true redshifts, cropped, in memory."""

    arrays: dict[str, npt.NDArray[Any]]
    """The network's arrays, all of N rows."""
    z_true: npt.NDArray[np.float64]
    """(N,) spectroscopic redshifts."""
    ra_deg: npt.NDArray[np.float64]
    """(N,) ICRS."""
    dec_deg: npt.NDArray[np.float64]
    """(N,) ICRS."""
    targetid: npt.NDArray[np.int64] | None = None
    """(N,) DESI TARGETID; None where the rows are no sources of a survey."""
    class_code: npt.NDArray[np.int32] | None = None
    """(N,) which class a row is of, from 0; None where classes are not known."""

    def __len__(self) -> int:
        return len(self.z_true)

    @classmethod
    def from_arrays(
        cls,
        arrays: Arrays,
        z_true: npt.ArrayLike,
        optical_px: int = 32,
        wise_px: int = 8,
        rows: npt.ArrayLike | None = None,
        targetid: npt.NDArray[np.int64] | None = None,
    ) -> TrainingSet:
        """Rows of one brick.

        Where the stored stamps are larger than the crops, the coverage is counted anew on the
        crops: it is that of stamps stored at their size, but for pixels under 3e-8 nanomaggy,
        which float16 stores as zero.

        Parameters
        ----------
        arrays
            The brick's arrays, with `ra_deg` and `dec_deg`.
        z_true
            (N,) spectroscopic redshift of every taken row.
        optical_px, wise_px
            Sides of the crops to keep; what the network reads, see its configuration.
        rows
            Rows that have a redshift; all by default.
        targetid
            (N,) DESI TARGETID of every taken row, if known.

        Raises
        ------
        ValueError
            If an array is missing or malformed, or a redshift is not finite.
        """
        num_sources = check_arrays(arrays, optical_px, wise_px)
        taken = np.arange(num_sources) if rows is None else np.asarray(rows)
        z = np.asarray(z_true, dtype=np.float64)
        if z.shape != taken.shape:
            raise ValueError(f"z_true has shape {z.shape}, expected {taken.shape}, one per row")
        if not np.isfinite(z).all():
            raise ValueError(f"{np.count_nonzero(~np.isfinite(z))} of {z.size} z_true not finite")
        kept: dict[str, npt.NDArray[Any]] = {}
        for name, side in (("optical", optical_px), ("wise", wise_px)):
            # A copy: a view would keep the whole brick's stamps alive.
            kept[name] = centre_crop(arrays[name], side)[taken].astype(np.float16)
        for name in (*_BAND_SHAPED, "features"):
            kept[name] = arrays[name][taken].astype(np.float32)
        start = 0
        for name, side in (("optical", optical_px), ("wise", wise_px)):
            stop = start + _STAMP_BANDS[name]
            if arrays[name].shape[-2:] != (side, side):
                num_with_data = np.count_nonzero(kept[name], axis=(2, 3))
                kept["coverage"][:, start:stop] = num_with_data / side**2
            start = stop
        position = [arrays[name][taken].astype(np.float64) for name in ("ra_deg", "dec_deg")]
        return cls(kept, z, position[0], position[1], targetid)

    @classmethod
    def concatenate(cls, parts: Sequence[TrainingSet]) -> TrainingSet:
        """Rows of many bricks."""
        if not parts:
            raise ValueError("no training rows: 0 bricks with true redshifts")
        arrays = {
            name: np.concatenate([part.arrays[name] for part in parts]) for name in parts[0].arrays
        }
        targetids = [part.targetid for part in parts if part.targetid is not None]
        codes = [part.class_code for part in parts if part.class_code is not None]
        return cls(
            arrays,
            np.concatenate([part.z_true for part in parts]),
            np.concatenate([part.ra_deg for part in parts]),
            np.concatenate([part.dec_deg for part in parts]),
            np.concatenate(targetids) if len(targetids) == len(parts) else None,
            np.concatenate(codes) if len(codes) == len(parts) else None,
        )

    def take(self, rows: Rows) -> TrainingSet:
        """Some rows, in the given order."""
        arrays = {name: values[rows] for name, values in self.arrays.items()}
        return TrainingSet(
            arrays,
            self.z_true[rows],
            self.ra_deg[rows],
            self.dec_deg[rows],
            None if self.targetid is None else self.targetid[rows],
            None if self.class_code is None else self.class_code[rows],
        )

    @property
    def num_bytes(self) -> int:
        """Memory of the arrays."""
        return sum(values.nbytes for values in self.arrays.values())


def targetid_digest(targetid: npt.NDArray[np.int64]) -> str:
    """SHA-256 of a set of TARGETIDs (N,), hexadecimal; the order of the rows does not matter."""
    return hashlib.sha256(np.sort(targetid).astype("<i8").tobytes()).hexdigest()


# --- standardisation -------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Standardisation:
    """Statistics of the training rows; part of the weights."""

    feature_center: FloatArray32
    """(F,) median of each feature, mag."""
    feature_scale: FloatArray32
    """(F,) robust standard deviation of each feature, mag."""
    depth_center: FloatArray32
    """(B,) median dereddened 1-sigma depth of each band, mag."""
    depth_scale: FloatArray32
    """(B,) robust standard deviation of the depth, mag."""
    softening: FloatArray32
    """(B,) asinh softening of the pixels: their robust noise, nanomaggy."""
    feature_low: FloatArray32
    """(F,) lower end of the training range, mag."""
    feature_high: FloatArray32
    """(F,) upper end of the training range, mag."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def identity(cls) -> Standardisation:
        """Statistics that change nothing, with an unbounded range."""
        num_features, num_bands = len(FEATURE_NAMES), len(BANDS)
        zeros, ones = np.zeros(num_features, np.float32), np.ones(num_features, np.float32)
        bands = zeros[:num_bands], ones[:num_bands], ones[:num_bands]
        wide = np.full(num_features, np.inf, np.float32)
        return cls(zeros, ones, *bands, -wide, wide)


def _robust_centre_and_scale(
    values_NK: npt.NDArray[np.floating],
) -> tuple[FloatArray32, FloatArray32]:
    """Median and 1.4826 MAD of each column, NaN ignored; (0, 1) for a column of NaN."""
    centre, scale = np.zeros(values_NK.shape[1]), np.ones(values_NK.shape[1])
    for column, values in enumerate(values_NK.T.astype(np.float64)):
        finite = values[np.isfinite(values)]
        if finite.size:
            centre[column] = np.median(finite)
            spread = 1.4826 * np.median(np.abs(finite - centre[column]))
            # More than half the rows alike: the plain deviation; all alike: leave the unit.
            scale[column] = spread if spread > 1e-6 else max(float(finite.std()), 0.0)
            scale[column] = scale[column] if scale[column] > 1e-6 else 1.0
    return centre.astype(np.float32), scale.astype(np.float32)


def _training_range(features_NF: npt.NDArray[np.floating]) -> tuple[FloatArray32, FloatArray32]:
    """Percentiles of each feature, widened; unbounded for a feature that was never seen."""
    low = np.full(features_NF.shape[1], -np.inf, np.float32)
    high = np.full(features_NF.shape[1], np.inf, np.float32)
    for column, values in enumerate(features_NF.T):
        finite = values[np.isfinite(values)]
        if finite.size:
            ends = np.percentile(finite.astype(np.float64), RANGE_PERCENTILES)
            margin = RANGE_MARGIN * (ends[1] - ends[0])
            low[column], high[column] = ends[0] - margin, ends[1] + margin
    return low, high


def _pixel_noise(stamps: npt.NDArray[np.floating], present: npt.NDArray[np.bool_]) -> float:
    """Robust standard deviation of the pixels of present stamps (N, H, W); 1 without any."""
    rows = np.flatnonzero(present)
    # A few thousand stamps, from all over the sky, fix a median to a fraction of a percent.
    pixels = stamps[rows[:: len(rows) // 4096 + 1]].astype(np.float32)
    # Exactly zero is "no data" in the arrays.
    pixels = pixels[pixels != 0]
    if not pixels.size:
        return 1.0
    spread = 1.4826 * float(np.median(np.abs(pixels - np.median(pixels))))
    return spread if spread > 0 else 1.0


def fit_standardisation(arrays: Arrays, rows: Rows) -> Standardisation:
    """Statistics of the given rows only, which must be training rows.

    Parameters
    ----------
    arrays
        Arrays of a training set.
    rows
        Row numbers to use.
    """
    features = arrays["features"][rows].astype(np.float32)
    ivar = arrays["flux_ivar"][rows].astype(np.float64)
    transmission = arrays["mw_transmission"][rows].astype(np.float64)
    depth = np.full(ivar.shape, np.nan)
    seen = ivar > 0
    depth[seen] = 22.5 + 2.5 * np.log10(np.sqrt(ivar[seen]) * transmission[seen])
    present = arrays["coverage"][rows].astype(np.float32) > 0
    num_optical = len(OPTICAL_BANDS)
    softening = np.empty(len(BANDS), np.float32)
    for index in range(len(BANDS)):
        name, plane = ("optical", index) if index < num_optical else ("wise", index - num_optical)
        stamps = arrays[name][rows, plane].astype(np.float16)
        softening[index] = _pixel_noise(stamps, present[:, index])
    feature_center, feature_scale = _robust_centre_and_scale(features)
    depth_center, depth_scale = _robust_centre_and_scale(depth)
    low, high = _training_range(features)
    return Standardisation(
        feature_center, feature_scale, depth_center, depth_scale, softening, low, high
    )


def outside_range(
    features_NF: npt.NDArray[np.floating], standardisation: Standardisation
) -> npt.NDArray[np.bool_]:
    """(N,) whether any measured feature lies outside the training range; NaN is not measured."""
    low, high = standardisation.feature_low, standardisation.feature_high
    with np.errstate(invalid="ignore"):
        return np.asarray(((features_NF < low) | (features_NF > high)).any(axis=1))
