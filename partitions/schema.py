"""The vocabulary of the survey and of the arrays: bands, units, masks, quality bits, array specs.

References
----------
DR10 columns and masks: legacysurvey.org/dr10/catalogs and /dr10/bitmasks.
Extinction coefficients A/E(B-V): legacypipe (Schlafly & Finkbeiner 2011, DECam and WISE).
"""

from __future__ import annotations

from dataclasses import dataclass

OPTICAL_BANDS = ("g", "r", "i", "z")
WISE_BANDS = ("W1", "W2")
BANDS = OPTICAL_BANDS + WISE_BANDS

OPTICAL_PIXEL_SCALE_ARCSEC = 0.262
WISE_PIXEL_SCALE_ARCSEC = 2.75

# Radii of the DR10 columns apflux_{griz} (8) and apflux_w{1,2} (5).
OPTICAL_APERTURE_RADII_ARCSEC = (0.5, 0.75, 1.0, 1.5, 2.0, 3.5, 5.0, 7.0)
WISE_APERTURE_RADII_ARCSEC = (3.0, 5.0, 7.0, 9.0, 11.0)

APERTURE_RADII_ARCSEC = {
    **dict.fromkeys(OPTICAL_BANDS, OPTICAL_APERTURE_RADII_ARCSEC),
    **dict.fromkeys(WISE_BANDS, WISE_APERTURE_RADII_ARCSEC),
}

# mw_transmission = 10**(-0.4 * coefficient * EBV)
EXTINCTION_COEFFICIENT = {
    "g": 3.214,
    "r": 2.165,
    "i": 1.592,
    "z": 1.211,
    "W1": 0.184,
    "W2": 0.113,
}

# WISE coadds are in Vega nanomaggies, the catalogue is AB: flux_AB = flux_Vega * 10**(-dm / 2.5).
WISE_VEGA_TO_AB_MAG = {"W1": 2.699, "W2": 3.339}

# Largest finite float16: brighter pixels are clipped to it and the row is flagged CLIPPED.
STAMP_PIXEL_MAX = 65504.0

# DR10 MASKBITS. The order is g, r, z and only then i (bits 14 and 15).
MASKBITS = {
    "NPRIMARY": 0,
    "BRIGHT": 1,
    "SATUR_G": 2,
    "SATUR_R": 3,
    "SATUR_Z": 4,
    "ALLMASK_G": 5,
    "ALLMASK_R": 6,
    "ALLMASK_Z": 7,
    "WISEM1": 8,
    "WISEM2": 9,
    "BAILOUT": 10,
    "MEDIUM": 11,
    "GALAXY": 12,
    "CLUSTER": 13,
    "SATUR_I": 14,
    "ALLMASK_I": 15,
    "SUB_BLOB": 16,
}

# MASKBITS that make a photo-z doubtful. MEDIUM and SUB_BLOB are left out: they mark a
# neighbourhood and a processing choice, not bad pixels.
MASKBITS_DOUBTFUL = sum(
    1 << bit for name, bit in MASKBITS.items() if name not in ("NPRIMARY", "MEDIUM", "SUB_BLOB")
)

# Morphological types of the column TYPE, in the order of their code in the arrays.
SOURCE_TYPES = ("PSF", "REX", "EXP", "DEV", "SER")

# Quality bits of one source. The array builder sets the first group, the model the last.
QUALITY_BITS = {
    "MISSING_G": 0,
    "MISSING_R": 1,
    "MISSING_I": 2,
    "MISSING_Z": 3,
    "MISSING_W1": 4,
    "MISSING_W2": 5,
    "MASKED": 6,
    "EDGE": 7,
    "CLIPPED": 8,
    "POINT_SOURCE": 9,
    "NONPOSITIVE_FLUX": 10,
    "NO_PHOTOMETRY": 11,
    "OUT_OF_TRAINING_RANGE": 16,
    "FAR_FROM_TRAINING": 17,
}

QUALITY_BIT_MEANING = {
    **{
        f"MISSING_{band.upper()}": f"no {band} image, or no {band} flux (flux_ivar <= 0)"
        for band in BANDS
    },
    "MASKED": "a doubtful MASKBITS bit is set (all but NPRIMARY, MEDIUM, SUB_BLOB)",
    "EDGE": "part of the stamp of a present band lies outside its coverage (zero there)",
    "CLIPPED": "a pixel exceeded 65,504 nanomaggy, the largest float16, and was clipped",
    "POINT_SOURCE": "TYPE is PSF: likely a star or a quasar",
    "NONPOSITIVE_FLUX": "a model flux of a present band is <= 0 (asinh magnitude used)",
    "NO_PHOTOMETRY": "no band has a flux: the posterior is the prior of the training set",
    "OUT_OF_TRAINING_RANGE": "a feature lies outside the range of the training set",
    "FAR_FROM_TRAINING": "what the network makes of image and photometry is unlike the training "
    "set: farther in its embedding than 99.9 % of held-out training sources",
}

ARRAY_FORMAT_VERSION = 2


@dataclass(frozen=True)
class ArraySpec:
    """One array of a brick's Zarr group."""

    name: str
    dtype: str
    """Numpy dtype string."""
    dimensions: tuple[str, ...]
    """Dimension names; the first is always `source`."""
    unit: str
    """Unit as a FITS-standard string, "" for a pure number."""
    description: str


ARRAY_SPECS = (
    ArraySpec("release", "i2", ("source",), "", "RELEASE"),
    ArraySpec("brickid", "i4", ("source",), "", "BRICKID"),
    ArraySpec("objid", "i4", ("source",), "", "OBJID"),
    ArraySpec("ra_deg", "f8", ("source",), "deg", "RA, ICRS"),
    ArraySpec("dec_deg", "f8", ("source",), "deg", "DEC, ICRS"),
    ArraySpec("type_code", "i1", ("source",), "", "index into SOURCE_TYPES"),
    ArraySpec("ebv", "f4", ("source",), "mag", "EBV, Galactic E(B-V)"),
    ArraySpec("maskbits", "i4", ("source",), "", "MASKBITS"),
    ArraySpec("desi_target", "i8", ("source",), "", "DESI_TARGET bits of the main survey's cuts"),
    ArraySpec("bgs_target", "i8", ("source",), "", "BGS_TARGET bits of the main survey's cuts"),
    ArraySpec("flux", "f4", ("source", "band"), "nanomaggy", "model fluxes, AB, observed"),
    ArraySpec(
        "flux_ivar", "f4", ("source", "band"), "nanomaggy**-2", "0 where the band is missing"
    ),
    ArraySpec("mw_transmission", "f4", ("source", "band"), "", "Galactic transmission"),
    ArraySpec(
        "features", "f4", ("source", "feature"), "mag", "86 features, NaN where a band is missing"
    ),
    ArraySpec("coverage", "f4", ("source", "band"), "", "fraction of stamp pixels with data"),
    ArraySpec("quality", "i4", ("source",), "", "QUALITY_BITS"),
    ArraySpec(
        "optical",
        "f2",
        ("source", "optical_band", "y", "x"),
        "nanomaggy",
        "stamps, 0.262 arcsec/px",
    ),
    ArraySpec(
        "wise",
        "f2",
        ("source", "wise_band", "wise_y", "wise_x"),
        "nanomaggy",
        "stamps, AB, 2.75 arcsec/px",
    ),
)

TRUTH_ARRAY_SPECS = (
    ArraySpec("z_spec", "f8", ("source",), "", "spectroscopic redshift"),
    ArraySpec("class_code", "i4", ("source",), "", "index into the attribute `classes`"),
)
"""What the group of a brick holds besides where it was built for known redshifts."""


@dataclass(frozen=True)
class StampSize:
    """Sides of the stored stamps in whole pixels of their own image."""

    optical_px: int = 64
    """Side of an optical stamp, 0.262 arcsec/px."""
    wise_px: int = 16
    """Side of a WISE stamp, 2.75 arcsec/px."""

    def __post_init__(self) -> None:
        # A DR10 brick image reaches 77.5 px beyond any primary source, so a side up to 152 px
        # never needs a neighbouring brick.
        if not 2 <= self.optical_px <= 152 or self.optical_px % 2:
            raise ValueError(f"optical_px={self.optical_px}: must be even, from 2 to 152")
        if not 2 <= self.wise_px <= 64 or self.wise_px % 2:
            raise ValueError(f"wise_px={self.wise_px}: must be even, from 2 to 64")
