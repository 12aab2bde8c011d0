"""What every column means: unit, UCD and description, for the catalogue's metadata.

References
----------
Units are VOUnits 1.0 (a unit it does not know stands in quotes); UCDs are UCD1+ 1.5.
Columns of the survey: legacysurvey.org/dr10/catalogs; of the targets: desidatamodel.readthedocs.io.
"""

from __future__ import annotations

from dataclasses import dataclass

from model.posterior import ODDS_HALF_WIDTH
from partitions.schema import BANDS, SOURCE_TYPES

_NANOMAGGY = "'nanomaggy'"
_PHOT_Z = "src.redshift.phot"
_BAND_UCD = {
    "g": "em.opt.B",
    "r": "em.opt.R",
    "i": "em.opt.I",
    "z": "em.opt.I",
    "W1": "em.IR.3-4um",
    "W2": "em.IR.4-8um",
}


@dataclass(frozen=True)
class ColumnMeaning:
    """What a reader has to know of one column."""

    ucd: str
    description: str
    unit: str = ""
    """VOUnits; empty for a pure number or a text."""


def _band_columns(band: str) -> dict[str, ColumnMeaning]:
    ucd, suffix = _BAND_UCD[band], band.upper()
    return {
        f"FLUX_{suffix}": ColumnMeaning(
            f"phot.flux.density;{ucd}",
            f"Model flux in {band}, AB, not corrected for Galactic extinction",
            _NANOMAGGY,
        ),
        f"FLUX_IVAR_{suffix}": ColumnMeaning(
            f"stat.weight;phot.flux.density;{ucd}",
            f"Inverse variance of FLUX_{suffix}; 0 where the band is missing",
            f"{_NANOMAGGY}**(-2)",
        ),
        f"MW_TRANSMISSION_{suffix}": ColumnMeaning(
            f"phys.transmission;{ucd}",
            f"Galactic transmission in {band}: FLUX_{suffix} divided by it is dereddened",
        ),
    }


def _limit(level_percent: float, end: str) -> ColumnMeaning:
    return ColumnMeaning(
        f"{_PHOT_Z};stat.{end}",
        f"{'Lower' if end == 'min' else 'Upper'} end of the central {level_percent:g} % interval "
        "of the redshift posterior",
    )


COLUMN_MEANINGS: dict[str, ColumnMeaning] = {
    "_healpix_29": ColumnMeaning("pos.healpix", "HEALPix NESTED pixel of RA, DEC at order 29"),
    "RELEASE": ColumnMeaning("meta.version", "Processing of the brick that the source is from"),
    "BRICKID": ColumnMeaning("meta.id.part", "Number of the brick, 1 to 662174"),
    "OBJID": ColumnMeaning("meta.id.part", "Number of the source in its brick"),
    "TARGETID": ColumnMeaning(
        "meta.id;meta.main", "DESI identifier: RELEASE << 42 | BRICKID << 22 | OBJID"
    ),
    "RA": ColumnMeaning("pos.eq.ra;meta.main", "Right ascension, ICRS", "deg"),
    "DEC": ColumnMeaning("pos.eq.dec;meta.main", "Declination, ICRS", "deg"),
    "TYPE": ColumnMeaning(
        "src.class", f"Morphological model of the source: {', '.join(SOURCE_TYPES)}"
    ),
    "EBV": ColumnMeaning("phys.absorption.gal", "Galactic extinction E(B-V), SFD98", "mag"),
    "MASKBITS": ColumnMeaning("meta.code.qual", "Bits of the survey's mask at the source"),
    **{name: meaning for band in BANDS for name, meaning in _band_columns(band).items()},
    "Z_PHOT_MEAN": ColumnMeaning(f"{_PHOT_Z};stat.mean", "Mean of the redshift posterior"),
    "Z_PHOT_MEDIAN": ColumnMeaning(
        f"{_PHOT_Z};stat.median;meta.main", "Median of the redshift posterior"
    ),
    "Z_PHOT_MODE": ColumnMeaning(_PHOT_Z, "Redshift at which the posterior is densest"),
    "Z_PHOT_STD": ColumnMeaning(
        f"stat.stdev;{_PHOT_Z}", "Standard deviation of the redshift posterior"
    ),
    "Z_PHOT_L68": _limit(68, "min"),
    "Z_PHOT_U68": _limit(68, "max"),
    "Z_PHOT_L95": _limit(95, "min"),
    "Z_PHOT_U95": _limit(95, "max"),
    "Z_PHOT_ODDS": ColumnMeaning(
        f"stat.probability;{_PHOT_Z}",
        f"Probability within {ODDS_HALF_WIDTH:g} (1 + mode) of the mode (Benitez 2000)",
    ),
    "Z_PHOT_QUANTILES": ColumnMeaning(
        f"stat.percentile;{_PHOT_Z}",
        "Quantiles of the redshift posterior at the levels photoz_quantile_levels of the schema",
    ),
    "Z_PHOT_FLAG": ColumnMeaning(
        "meta.code.qual", "Quality bits, named in photoz_flag_bits of the schema"
    ),
    "DESI_TARGET": ColumnMeaning("meta.code", "DESI main-survey target classes, one bit a class"),
    "BGS_TARGET": ColumnMeaning("meta.code", "DESI Bright Galaxy Survey classes, one bit a class"),
    "PHOTSYS": ColumnMeaning("instr", "Photometric system: S (DECam) or N (BASS, MzLS)"),
    "Norder": ColumnMeaning("pos.healpix", "HEALPix order of the leaf that holds the source"),
    "Npix": ColumnMeaning("pos.healpix", "HEALPix NESTED pixel of the leaf that holds the source"),
}
"""Of the catalogue, its margin and its index; a column that is missing here is a KeyError."""
