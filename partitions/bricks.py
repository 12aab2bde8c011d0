"""Bricks, and the one function that knows every path of a DR10 release."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from partitions.schema import BANDS


class SurveyError(Exception):
    """The user named something that is no survey, or no part of it."""


class BrickError(Exception):
    """The files of one brick cannot be used; the others can."""


@dataclass(frozen=True, order=True, slots=True)
class Brick:
    """One brick of the survey-bricks table (DR10's file unit, 0.25 deg)."""

    name: str
    """BRICKNAME, for example `0091p035`."""
    brickid: int
    ra_deg: float
    """Centre, ICRS."""
    dec_deg: float
    ra1_deg: float
    """The brick's own area is ra1 <= RA < ra2, dec1 <= Dec < dec2: there its rows are primary."""
    ra2_deg: float
    dec1_deg: float
    dec2_deg: float

    @property
    def area_deg2(self) -> float:
        """Solid angle of the brick's own region."""
        height = np.sin(np.radians(self.dec2_deg)) - np.sin(np.radians(self.dec1_deg))
        return float((self.ra2_deg - self.ra1_deg) * np.degrees(height))


@dataclass(frozen=True)
class SurveyLayout:
    """Where the files of a release lie.

    `root` holds `survey-bricks.fits.gz`; `folder` holds `coadd/` and `tractor/`. They differ for
    a release root (`dr10/` and `dr10/south/`) and are the same for a region folder.
    """

    root: Path
    folder: Path

    def brick_file(self, kind: str, brick_name: str, band: str | None = None) -> Path:
        """Path of one file of a brick.

        Parameters
        ----------
        kind
            `tractor`, `checksums`, `maskbits`, `ccds`, or a coadd map: `image`, `invvar`,
            `model`, `nexp`, `psfsize`, `depth`, `galdepth`.
        band
            Needed for coadd maps only: g, r, i, z, W1, W2.
        """
        return Path(self.brick_path(kind, brick_name, band))

    def brick_path(self, kind: str, brick_name: str, band: str | None = None) -> str:
        """`brick_file` as text: where millions are asked for, a Path costs more than the stat."""
        aaa = brick_name[:3]
        if kind == "tractor":
            return f"{self.folder}/tractor/{aaa}/tractor-{brick_name}.fits"
        if kind == "checksums":
            return f"{self.folder}/tractor/{aaa}/brick-{brick_name}.sha256sum"
        stem = f"{self.folder}/coadd/{aaa}/{brick_name}/legacysurvey-{brick_name}"
        if kind == "maskbits":
            return f"{stem}-maskbits.fits.fz"
        if kind == "ccds":
            return f"{stem}-ccds.fits"
        if kind not in ("image", "invvar", "model", "nexp", "psfsize", "depth", "galdepth"):
            raise ValueError(f"brick_file: unknown kind {kind!r}")
        if band not in BANDS:
            raise ValueError(f"brick_file({kind!r}): band={band!r} is none of {BANDS}")
        return f"{stem}-{kind}-{band}.fits.fz"

    def coadd_folder(self, brick_name: str) -> Path:
        """Folder of all coadd maps of one brick."""
        return self.folder / "coadd" / brick_name[:3] / brick_name

    @property
    def bricks_table(self) -> Path:
        """The all-sky brick grid."""
        return self.root / "survey-bricks.fits.gz"

    @property
    def release_bricks_table(self) -> Path:
        """The bricks of this release, with counts and depths."""
        return self.folder / "survey-bricks-dr10-south.fits.gz"

    @property
    def truth_table(self) -> Path:
        """Known redshifts that a mock survey lays beside its files."""
        return self.root / "truth.fits"
