"""Photo-z sweeps: one FITS table, row by row that of a sweep file of the Legacy Surveys.

A sweep with i-band columns gets the columns of DR10's photo-z sweeps, another those of DR9's, in
their order and types; ours follow. The survey fills two sets, from g, r, z (+ W1, W2) and with i;
here one network reads all bands that a source has, so both sets hold its estimate, each under the
survey's rule: -99 without an exposure in every optical band of the set. The columns `..._ALL` hold
the estimate whichever bands there are, and -99 only where the catalogue has no such row.

References
----------
legacysurvey.org/dr10/files, "Photo-z sweeps (10.1-photo-z/sweep-*-pz.fits)"; /dr9/files, the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from engine.atomic import produce_atomic
from engine.catalogue.read import read_leaf_pixels, read_properties
from engine.catalogue.schema import FLAG_COLUMN
from engine.config import UserError
from engine.leaf_columns import Columns, iterate_leaves
from engine.targets import encode_targetid
from partitions.healpix import Pixel, radec_to_pixel
from partitions.schema import QUALITY_BITS
from partitions.truth import read_truth
from partitions.truth.tables import open_table

NO_VALUE = -99
"""What the survey writes where a row has no photo-z."""

_IDENTITY = {"RELEASE": "i2", "BRICKID": "i4", "OBJID": "i4"}
_POINTS = ("MEAN", "MEDIAN", "STD", "L68", "U68", "L95", "U95")
_OWN_POINTS = ("MODE", "ODDS")
_OPTICAL_BANDS_OF_SUFFIX = {"": "grz", "_I": "griz"}
"""Suffix of a set of columns -> the optical bands that it needs."""

# Other products that lie beside the sweeps: photo-z, light curves, extra columns.
_OTHER_SWEEPS = ("-pz", "-lc", "-ex")


@dataclass(frozen=True)
class Sweep:
    """What of a sweep file decides its photo-z table; N rows."""

    path: Path
    identity: Columns
    """RELEASE, BRICKID, OBJID, (N,) each."""
    targetid: npt.NDArray[np.int64]
    """(N,) the three in one number."""
    ra_deg: npt.NDArray[np.float64]
    dec_deg: npt.NDArray[np.float64]
    num_exposures: Columns
    """Optical band -> (N,) NOBS, for the bands that the file has."""

    @property
    def has_i(self) -> bool:
        """Whether it is a sweep of DR10 and not of DR9."""
        return "i" in self.num_exposures


@dataclass(frozen=True)
class Spectroscopy:
    """Known redshifts of M sources."""

    targetid: npt.NDArray[np.int64]
    """(M,) increasing."""
    z: npt.NDArray[np.float64]
    survey: npt.NDArray[np.str_]
    """(M,) where each comes from; empty where the table does not say."""

    def place(self, targetid: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(N,) the row of each source here, -1 where it has none."""
        if not len(self.targetid):
            return np.full(len(targetid), -1)
        place = np.minimum(np.searchsorted(self.targetid, targetid), len(self.targetid) - 1)
        return np.where(self.targetid[place] == targetid, place, -1)


@dataclass(frozen=True)
class SweepCounts:
    """What became of the rows of one sweep file."""

    sweep: str
    output: str
    num_rows: int
    num_matched: int
    """Rows that the catalogue has."""
    num_not_in_catalogue: int
    num_repeated: int
    """Rows whose identifiers an earlier row has; each gets the same values."""
    num_lacking_bands: dict[str, int]
    """Set of columns -> rows that the catalogue has, but -99 there: no exposure in one band."""
    num_known: int
    """Rows with a known redshift."""
    num_leaves: int
    """Leaves read."""


def find_sweeps(paths: Sequence[Path]) -> list[Path]:
    """Sweep files from files and folders; in a folder the photo-z and other tables are left out.

    Raises
    ------
    UserError
        If a path is not there, or a folder holds no sweep.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [
                file
                for file in sorted(path.glob("*.fits"))
                if not file.stem.endswith(_OTHER_SWEEPS)
            ]
            if not inside:
                raise UserError(f"--sweep {path}: no sweep file (*.fits) in this folder")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"--sweep {path}: no such file or folder")
    return list(dict.fromkeys(found))


def output_paths(sweeps: Sequence[Path], output: Path) -> list[Path]:
    """Where the table of each sweep goes: `output` itself, or `<sweep>-pz.fits` in that folder.

    Raises
    ------
    UserError
        If several sweeps would go into one file, or an output is one of the sweeps.
    """
    if output.suffix.lower() == ".fits" and not output.is_dir():
        if len(sweeps) > 1:
            raise UserError(f"--output {output}: one file, but {len(sweeps)} sweeps; name a folder")
        outputs = [output]
    else:
        outputs = [output / f"{sweep.stem}-pz.fits" for sweep in sweeps]
    twice = next((path for path in outputs if outputs.count(path) > 1), None)
    if twice is not None:
        raise UserError(f"--output {twice}: two of the sweeps have this name; export them apart")
    sources = {sweep.resolve() for sweep in sweeps}
    for path in outputs:
        if path.resolve() in sources:
            raise UserError(f"--output {path}: is the sweep itself; name another file")
    return outputs


def read_sweep(path: Path) -> Sweep:
    """The columns of a sweep file that are needed, names in either case.

    Raises
    ------
    UserError, SurveyError
        If it is no table, lacks a column, or an identifier or a position is impossible.
    """
    table = open_table(path)
    names = {name.upper(): name for name in table.columns}
    needed = [*_IDENTITY, "RA", "DEC", *(f"NOBS_{band.upper()}" for band in "grz")]
    missing = [name for name in needed if name not in names]
    if missing:
        raise UserError(
            f"--sweep {path}: column {', '.join(missing)} missing ({len(names)} columns found); "
            "name a sweep file of the Legacy Surveys"
        )
    wanted = [*needed, *(["NOBS_I"] if "NOBS_I" in names else [])]
    raw = table.read([names[name] for name in wanted])
    columns = {name: raw[names[name]] for name in wanted}
    ra_deg, dec_deg = columns["RA"].astype(np.float64), columns["DEC"].astype(np.float64)
    # NaN fails a comparison, hence "not all good" and not "any bad".
    if not np.all((ra_deg >= 0) & (ra_deg <= 360) & (np.abs(dec_deg) <= 90)):
        raise UserError(f"--sweep {path}: a position is not on the sky; fetch the file again")
    try:
        targetid = encode_targetid(columns["RELEASE"], columns["BRICKID"], columns["OBJID"])
    except ValueError as error:
        raise UserError(f"--sweep {path}: {error}; name a sweep file") from None
    return Sweep(
        path=path,
        identity={name: columns[name].astype(kind) for name, kind in _IDENTITY.items()},
        targetid=targetid,
        ra_deg=ra_deg,
        dec_deg=dec_deg,
        num_exposures={
            band: columns[name] for band in "griz" if (name := f"NOBS_{band.upper()}") in columns
        },
    )


def read_spectroscopy(path: Path) -> Spectroscopy:
    """Finite redshifts of a truth table, stars (z = 0) included; SURVEY if it has that column.

    Raises
    ------
    UserError, SurveyError
        If it is no truth table or an identifier is impossible.
    """
    truth = read_truth(path)
    table = open_table(path)
    name = next((name for name in table.columns if name.upper() == "SURVEY"), None)
    survey = table.read([name])[name].astype(np.str_) if name else np.full(len(truth), "")
    try:
        targetid = encode_targetid(truth.release, truth.brickid, truth.objid)
    except ValueError as error:
        raise UserError(f"--truth {path}: {error}; name a truth table") from None
    kept = np.flatnonzero(np.isfinite(truth.z))
    kept = kept[np.argsort(targetid[kept], kind="stable")]
    return Spectroscopy(targetid[kept], truth.z[kept], survey[kept])


def touched_leaves(leaves: Sequence[Pixel], sweep: Sweep) -> list[Pixel]:
    """The leaves in which a row of the sweep lies, in their order."""
    touched: set[Pixel] = set()
    for order in {leaf.order for leaf in leaves}:
        numbers = np.unique(radec_to_pixel(sweep.ra_deg, sweep.dec_deg, order)).tolist()
        touched |= {Pixel(order, number) for number in numbers}
    return [leaf for leaf in leaves if leaf in touched]


def export_sweep(
    catalogue: Path, sweep: Sweep, output: Path, spectroscopy: Spectroscopy | None = None
) -> SweepCounts:
    """Write the photo-z table of one sweep file.

    Raises
    ------
    UserError
        If this is no finished catalogue, or a leaf is damaged.
    """
    properties = read_properties(catalogue)
    leaves = touched_leaves(read_leaf_pixels(catalogue), sweep)
    found, values = _match(catalogue, leaves, sweep.targetid)
    rows, lacking = photoz_rows(sweep, found, values)
    if spectroscopy is not None:
        place = spectroscopy.place(sweep.targetid)
        rows["Z_SPEC"][place >= 0] = spectroscopy.z[place[place >= 0]]
        survey = np.char.encode(spectroscopy.survey[place[place >= 0]], "ascii", "replace")
        rows["SURVEY"][place >= 0] = survey
    digest = properties.get("engine_weights_digest", "")
    produce_atomic(output, _to_fits(rows, sweep.path.name, digest).writeto)
    num_unique = len(np.unique(sweep.targetid))
    return SweepCounts(
        sweep=str(sweep.path),
        output=str(output),
        num_rows=len(rows),
        num_matched=int(found.sum()),
        num_not_in_catalogue=int((~found).sum()),
        num_repeated=len(rows) - num_unique,
        num_lacking_bands=lacking,
        num_known=int((rows["Z_SPEC"] != NO_VALUE).sum()),
        num_leaves=len(leaves),
    )


def _match(
    catalogue: Path, leaves: list[Pixel], targetid: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.bool_], Columns]:
    """Whether the catalogue has each row (N,), and its columns there (N,)."""
    names = [*(f"Z_PHOT_{point}" for point in (*_POINTS, *_OWN_POINTS)), FLAG_COLUMN]
    unique, place_of_row = np.unique(targetid, return_inverse=True)
    found = np.zeros(len(unique), dtype=np.bool_)
    values: Columns = {
        name: np.full(len(unique), NO_VALUE, "i4" if name == FLAG_COLUMN else "f4")
        for name in names
    }
    for _, leaf in iterate_leaves(catalogue, ["TARGETID", *names], leaves):
        place = np.minimum(np.searchsorted(unique, leaf["TARGETID"]), len(unique) - 1)
        hit = unique[place] == leaf["TARGETID"]
        found[place[hit]] = True
        for name in names:
            values[name][place[hit]] = leaf[name][hit]
    return found[place_of_row], {name: column[place_of_row] for name, column in values.items()}


def photoz_rows(
    sweep: Sweep, found: npt.NDArray[np.bool_], values: Columns
) -> tuple[npt.NDArray[Any], dict[str, int]]:
    """The table of N rows, and rows found that lack a band of a set of columns.

    Parameters
    ----------
    found
        (N,) whether the catalogue has the row.
    values
        Catalogue column -> (N,), -99 where it has not.
    """
    suffixes = [suffix for suffix in _OPTICAL_BANDS_OF_SUFFIX if not suffix or sweep.has_i]
    rows = np.zeros(len(found), dtype=_row_type(suffixes, sweep.has_i))
    for name, column in sweep.identity.items():
        rows[name] = column
    rows["Z_SPEC"] = NO_VALUE
    lacking: dict[str, int] = {}
    for suffix in suffixes:
        bands = _OPTICAL_BANDS_OF_SUFFIX[suffix]
        exposed = np.all([sweep.num_exposures[band] > 0 for band in bands], axis=0)
        lacking[bands] = int((found & ~exposed).sum())
        for point in _POINTS:
            rows[f"Z_PHOT_{point}{suffix}"] = np.where(exposed, values[f"Z_PHOT_{point}"], NO_VALUE)
        rows[f"KFOLD{suffix}"] = NO_VALUE
    for point in _POINTS:
        rows[f"Z_PHOT_{point}_ALL"] = values[f"Z_PHOT_{point}"]
    for name in (*(f"Z_PHOT_{point}" for point in _OWN_POINTS), FLAG_COLUMN):
        rows[name] = values[name]
    rows["IN_CATALOGUE"] = found
    return rows, lacking


def _row_type(suffixes: list[str], is_dr10: bool) -> list[tuple[str, str]]:
    """Columns of the table, in the survey's order, then ours."""
    spectroscopy = [("Z_SPEC", "f4"), ("SURVEY", "S12" if is_dr10 else "S10")]
    columns = [*_IDENTITY.items(), *(spectroscopy if is_dr10 else [])]
    for suffix in suffixes:
        columns += [(f"Z_PHOT_{point}{suffix}", "f4") for point in _POINTS]
        columns += spectroscopy if not is_dr10 else []
        columns += [(f"TRAINING{suffix}", "?"), (f"KFOLD{suffix}", "i2")]
    columns += [(f"Z_PHOT_{point}_ALL", "f4") for point in _POINTS]
    columns += [(f"Z_PHOT_{point}", "f4") for point in _OWN_POINTS]
    return [*columns, (FLAG_COLUMN, "i4"), ("IN_CATALOGUE", "?")]


_COMMENTS = (
    "Rows as in the sweep file named by SWEEP; -99: no value.",
    "One network reads all bands that a source has. Z_PHOT_* is -99 without an",
    "exposure in g, r and z, Z_PHOT_*_I also without one in i; Z_PHOT_*_ALL never",
    "for that reason. IN_CATALOGUE is F where the catalogue has no such row.",
    "Z_SPEC and SURVEY are those of --truth; without it -99 and blank.",
    "The catalogue does not know TRAINING (F) and KFOLD (-99).",
)


def _to_fits(rows: npt.NDArray[Any], sweep_name: str, digest: str) -> fits.HDUList:
    hdu = fits.BinTableHDU(rows, name="PHOTOZ")
    hdu.header["SWEEP"] = sweep_name.encode("ascii", "backslashreplace").decode()
    # A card has no room for a comment beside 64 digits.
    hdu.header["WEIGHTS"] = digest
    for line in _COMMENTS:
        hdu.header["COMMENT"] = line
    for name, bit in QUALITY_BITS.items():
        hdu.header["COMMENT"] = f"{FLAG_COLUMN} bit {bit}: {name}"
    return fits.HDUList([fits.PrimaryHDU(), hdu])
