"""Target bits against desitarget itself: real rows, and rows on every cut, north and south."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from partitions.schema import MASKBITS
from partitions.targets import (
    BGS_TARGET_BITS,
    CUT_COLUMNS,
    DESI_TARGET_BITS,
    TARGET_COLUMNS,
    UNKNOWN_PHOTSYS,
    release_to_photsys,
    target_bits,
)

FloatArray = npt.NDArray[np.float64]
Columns = dict[str, npt.NDArray[Any]]
Oracle = Callable[[Mapping[str, Any], npt.NDArray[Any]], tuple[npt.NDArray[Any], npt.NDArray[Any]]]
Values = dict[str, Any]

EXTINCTION = {"G": 3.214, "R": 2.165, "Z": 1.211, "W1": 0.184, "W2": 0.113}

# --- rows inside each class; magnitudes dereddened but for rfibtot and zfibtot -------------------

ELG: Values = {"g": 22.5, "r": 22.3, "z": 21.6, "gfib": 23.5, "w1": 21.0}
LRG: Values = {"g": 23.2, "r": 21.5, "z": 20.3, "w1": 18.5, "zfib": 21.0, "zfibtot": 20.9}
BGS: Values = {"g": 19.8, "r": 19.0, "z": 18.5, "w1": 18.0, "rfib": 20.5, "rfibtot": 20.0}
WISE: Values = {"g": 18.5, "r": 18.0, "z": 17.7, "w1": 17.0, "w2": 16.5, "gaia": 18.1}
WISE |= {"rfib": 19.0, "rfibtot": 18.9}
QSO: Values = {"g": 20.1, "r": 20.0, "z": 19.8, "w1": 19.0, "w2": 18.7, "type": "PSF"}
GALAXY: Values = {"type": "DEV", "gaia": 0.0, "ref_cat": "", "maskbits": 0, "nobs": 3, "ebv": 0.05}
GALAXY |= {"w2": 20.0, "gfib": 22.0, "rfib": 21.0, "zfib": 21.0, "rfibtot": 20.5, "zfibtot": 20.5}


def boundaries(north: bool, o: FloatArray, u: FloatArray) -> dict[str, tuple[str, Values]]:
    """Cut -> the class that it decides, and rows on it.

    `o` is the distance to the cut, magnitudes, of either sign; `u` is uniform in (0, 1).
    """
    found: dict[str, tuple[str, Values]] = {}
    x, y, w = 0.2 + 0.45 * u, 0.75 + 0.3 * u, 0.9 + 0.4 * u
    elg: dict[str, Values] = {
        "g = 20": {"g": 20 + o, "r": 19.8 + o, "z": 19.1 + o},
        "r-z = 0.15": {"r": 22.4, "z": 22.25 - o},
        "g_fib = 24.1": {"gfib": 24.1 + o},
        "g-r = 0.5(r-z)+0.1": {"r": 22.5 - (0.5 * x + 0.1 + o), "z": 22.4 - 1.5 * x - o},
        "g-r = 1.3-1.2(r-z)": {"r": 22.5 - (1.3 - 1.2 * y + o), "z": 21.2 + 0.2 * y - o},
    }
    found |= {f"ELG_LOP {name}": ("ELG_LOP", ELG | v) for name, v in elg.items()}
    vlo = {"r": 22.5 - (1.6 - 1.2 * w + o), "z": 22.5 - (1.6 - 1.2 * w + o) - w}
    found["ELG_VLO g-r = 1.6-1.2(r-z)"] = ("ELG_VLO", ELG | vlo)
    found |= lrg_boundaries(north, o, u)
    found |= bgs_boundaries(north, o, u)
    found |= wise_boundaries(o)
    found |= qso_boundaries(north, o, u)
    return found


def lrg_boundaries(north: bool, o: FloatArray, u: FloatArray) -> dict[str, tuple[str, Values]]:
    fib, g_w1, slope, steep, flat, high = (
        (21.61, 2.97, 1.83, 17.13, 16.31, 3.4) if north else (21.6, 2.9, 1.8, 17.14, 16.33, 3.3)
    )
    w_steep, w_flat = 18.35 + 0.5 * u, 17.95 + 0.1 * u

    def at(w1: Any, r_w1: Any, **more: Any) -> Values:
        """Rows of W1 and r - W1, all else well inside."""
        r = w1 + r_w1
        return LRG | {"w1": w1, "r": r, "z": r - 1.2, "g": r + 1.7, "zfib": 20.5} | more

    lrg = {
        "z-W1 = 0.8(r-z)-0.6": LRG | {"z": 18.5 + (0.8 * 3.0 - 0.6) / 1.8 + o},
        "z_fib": LRG | {"zfib": fib + o},
        "g-W1": at(17.3, 1.7, g=17.3 + g_w1 + o),
        "r-W1 = 1.8": at(17.3, 1.8 + o, g=17.3 + 2.5),
        "steep": at(w_steep, slope * (w_steep - steep) + o),
        "flat": at(w_flat, w_flat - flat + o),
        "high z": at(19.5, high + o),
        "Gaia G = 18": LRG | {"gaia": 18 + o},
        "z_fibtot = 17.5": LRG | {"zfibtot": 17.5 + o},
    }
    far, near = w_steep + 0.275, w_flat + 0.275
    lge = {
        "steep": at(far, slope * (far - 0.275 - steep) + o),
        "flat": at(near, near - 0.275 - flat + o),
        "high z": at(19.9, high - 0.1 + o),
    }
    return {
        **{f"LRG {name}": ("LRG", v) for name, v in lrg.items()},
        **{f"LGE {name}": ("LGE", v) for name, v in lge.items()},
    }


def bgs_boundaries(north: bool, o: FloatArray, u: FloatArray) -> dict[str, tuple[str, Values]]:
    offset, faint_limit = (0.04, 20.22) if north else (0.0, 20.175)

    def at(r: Any, **more: Any) -> Values:
        return BGS | {"r": r, "g": r + 0.8, "z": r - 0.5, "w1": r - 1.0, "rfib": 20.5} | more

    low, middle = 16 + 1.5 * u, 18 + 1.4 * u
    red = {"g": 21.0, "w1": 19.3}  # z - W1 = 0 and g - r = 1.2: the colour of low success
    odd = {"g": 25.0, "ref_cat": "L3", "rfib": 20.0}  # g - r > 4, but in the galaxy atlas
    bright = {
        "g-r = -1": at(19.0, g=18.0 + o),
        "g-r = 4": at(19.0, g=23.0 + o),
        "r-z = -1": at(19.0, z=20.0 + o),
        "r-z = 4": at(19.0, z=15.0 + o),
        "r = 12": at(12 + o, rfibtot=16.0, rfib=16.0),
        "r = 19.5": at(19.5 + offset + o),
        "r_fib = 5.1+r": at(low, rfib=5.1 + low + o),
        "r_fib = 22.9": at(middle, rfib=22.9 + o),
        "r_fibtot = 15": at(16.0, rfib=16.5, rfibtot=15 + o),
        "Gaia G-r = 0.6": at(18.0, gaia=18.0 + 0.05 * EXTINCTION["R"] + 0.6 + o),
        "atlas r = 19.5": at(19.5 + offset + o, **odd),
    }
    faint = {
        "r faint": at(faint_limit + o),
        "r_fib = 20.75": at(19.8, **red, rfib=20.75 + offset + o),
        "r_fib = 21.5": at(19.8, rfib=21.5 + offset + o),
        "colour = 0": at(19.8, rfib=21.0, w1=19.3 - (1.2 * (0.8 + offset) - 1.2) - o),
        "atlas r faint": at(faint_limit + o, **odd),
    }
    return {
        **{f"BGS_BRIGHT {name}": ("BGS_BRIGHT", v) for name, v in bright.items()},
        **{f"BGS_FAINT {name}": ("BGS_FAINT", v) for name, v in faint.items()},
    }


def wise_boundaries(o: FloatArray) -> dict[str, tuple[str, Values]]:
    observed = 0.05 * EXTINCTION["R"]

    def at(r: Any, **more: Any) -> Values:
        mags = {"g": r + 0.5, "z": r - 0.3, "w1": r - 1.0, "w2": r - 1.5, "rfib": r + 1.0}
        return WISE | {"r": r, "gaia": r + observed + 0.1} | mags | more

    wise = {
        "z-W2-(g-r) = -0.5": at(18.0, w1=17.8, w2=17.7 + o),
        "z-W1-(g-r) = -0.7": at(18.0, w1=17.9 + o, w2=17.5),
        "W1-W2 = -0.2": at(18.0, w2=17.2 + o),
        "r = 20.3": at(20.3 + o, rfib=21.0),
        "r = 16": at(16 + o, gaia=16.3, rfibtot=16.5),
        "r = 19.5": at(19.5 + o, rfib=21.7),
        "r_fib = 22": at(19.0, rfib=22 + o),
        "r_fib = 21.5": at(19.8, rfib=21.5 + o),
        "r_fibtot = 15": at(18.0, rfibtot=15 + o),
        "r = 17.5, PSF": at(17.5 + o, type="PSF"),
        "Gaia G = 16": at(16.5, gaia=16 + o, rfibtot=16.5),
        "Gaia G-r = 0.6": at(18.0, gaia=18.0 + observed + 0.6 + o),
        "W1 S/N = 10": at(18.0, snr_w1=10 + o),
        "W2 S/N = 10": at(18.0, snr_w2=10 + o),
    }
    return {f"BGS_WISE {name}": ("BGS_WISE", v) for name, v in wise.items()}


def qso_boundaries(north: bool, o: FloatArray, u: FloatArray) -> dict[str, tuple[str, Values]]:
    def at(r: Any, g_r: Any, r_z: Any, **more: Any) -> Values:
        return QSO | {"r": r, "g": r + g_r, "z": r - r_z, "w1": r - 1.0, "w2": r - 1.3} | more

    def flux(mag: Any) -> Any:
        return 10 ** ((22.5 - mag) / 2.5)

    def mag(flux: Any) -> Any:
        return 22.5 - 2.5 * np.log10(flux)

    x = 0.05 + 0.45 * u
    red = {"w1": 19.0, "w2": 18.3}  # W1 - W2 = 0.7: no star
    g_of_grz = mag(2.3 * flux(17 + o) - 0.8 * flux(17.6) - 0.5 * flux(17.4))
    grz = mag((flux(20.6) + 0.8 * flux(20.0) + 0.5 * flux(19.2)) / 2.3)
    w_of_line = grz - (1.4 - 1.0) - o
    qso = {
        "r = 17.5": at(17.5 + o, 0.1, 0.2),
        "r = 22.7": at(22.7 + o, 0.1, 0.2),
        "grz = 17": at(17.6, g_of_grz - 17.6, 0.2),
        "g-r = 1.3": at(20.0, 1.3 + o, 0.2, **red),
        "r-z = -0.4": at(20.0, 0.1, -0.4 + o),
        "r-z = 1.1": at(20.0, 0.1, 1.1 + o),
        "W1-W2": at(20.0, 0.1, 0.2, w1=18.5, w2=18.5 + (0.3 if north else 0.4) + o),
        # grz - W = (g - z) - 1, W1 - W2 = 0; off the locus of stars by a blue g - r for its r - z.
        "grz-W": at(20.0, 0.6, 0.8, w1=w_of_line, w2=w_of_line),
        "locus, blue side": at(20.0, 1.53 * x + 0.1 + o, x, w2=18.9),
        "locus, red side": at(20.0, 1.53 * x + 0.3 + o, x, w2=18.9),
        "locus, g-r = 0.2": at(20.0, 0.2 + o, 0.0, w2=18.9),
        "locus, W1-W2 = 0.3": at(20.0, 0.7, 0.33, w1=19.0, w2=18.7 + o),
        "W1 S/N = 4": at(20.0, 0.1, 0.2, snr_w1=4 + o),
        "W2 S/N": at(20.0, 0.1, 0.2, snr_w2=(3 if north else 2) + o),
    }
    if north:  # The box is cut in the DECam system.
        qso = {name: values | _south_to_north(values) for name, values in qso.items()}
    return {f"QSO {name}": ("QSO", values) for name, values in qso.items()}


def _south_to_north(values: Values) -> Values:
    """Magnitudes in BASS and MzLS that desitarget shifts to these: the inverse, by iteration."""
    want = [np.asarray(values[name], float) for name in "grz"]
    g, r, z = want
    for _ in range(30):
        g = want[0] - 0.004 + 0.059 * (g - r)
        r = want[1] + 0.003 + 0.024 * (r - z)
        z = want[2] + 0.013 - 0.015 * (r - z)
    return {"g": g, "r": r, "z": z}


def observe(values: Values, n: int) -> Columns:
    """Columns of a sweep file of n rows: reddened float32 fluxes, inverse variances, masks."""
    v = GALAXY | values
    columns: Columns = {}

    def put(name: str, value: Any, dtype: str) -> None:
        columns[name] = np.broadcast_to(np.asarray(value), n).astype(dtype)

    for band in ("G", "R", "Z", "W1", "W2"):
        put(f"MW_TRANSMISSION_{band}", 10 ** (-0.4 * EXTINCTION[band] * v["ebv"]), "f4")
        transmission = columns[f"MW_TRANSMISSION_{band}"].astype(float)
        flux = 10 ** ((22.5 - np.asarray(v[band.lower()])) / 2.5) * transmission
        put(f"FLUX_{band}", flux, "f4")
        snr = np.asarray(v.get(f"snr_{band.lower()}", 50.0))
        put(f"FLUX_IVAR_{band}", (snr / columns[f"FLUX_{band}"].astype(float)) ** 2, "f4")
        if band in "GRZ":
            fiber = 10 ** ((22.5 - np.asarray(v[f"{band.lower()}fib"])) / 2.5) * transmission
            put(f"FIBERFLUX_{band}", fiber, "f4")
            put(f"NOBS_{band}", v["nobs"], "i2")
    for band in "RZ":
        total = 10 ** ((22.5 - np.asarray(v[f"{band.lower()}fibtot"])) / 2.5)
        put(f"FIBERTOTFLUX_{band}", total, "f4")
    put("GAIA_PHOT_G_MEAN_MAG", v["gaia"], "f4")
    put("REF_CAT", v["ref_cat"], "S2")
    put("TYPE", v["type"], "S3")
    put("MASKBITS", v["maskbits"], "i4")
    return columns


def spoil(rng: np.random.Generator, columns: Columns) -> Columns:
    """The same rows with one value each that the quality cuts look at."""
    n = len(columns["MASKBITS"])
    spoilt = {name: values.copy() for name, values in columns.items()}
    bits = rng.choice([MASKBITS[name] for name in MASKBITS], n)
    spoilt["MASKBITS"] |= (1 << bits) * (rng.random(n) < 0.3).astype("i4")
    for name in TARGET_COLUMNS:
        if name.startswith(("NOBS", "FLUX", "FIBER")):
            spoilt[name][rng.random(n) < 0.02] = 0
        if name.startswith(("FLUX_G", "FLUX_R", "FLUX_Z", "FLUX_W", "FIBER")):
            spoilt[name][rng.random(n) < 0.01] *= -1
    is_star = rng.random(n) < 0.2
    spoilt["GAIA_PHOT_G_MEAN_MAG"][is_star] = rng.uniform(15, 20, is_star.sum())
    spoilt["TYPE"] = np.where(rng.random(n) < 0.2, b"PSF", spoilt["TYPE"])
    spoilt["REF_CAT"] = np.where(rng.random(n) < 0.1, b"L3", spoilt["REF_CAT"])
    return spoilt


def rows_on_cuts(
    rng: np.random.Generator, system: str, num_rows: int
) -> tuple[Columns, dict[str, tuple[str, slice]]]:
    """Sound rows on every cut, then as many spoilt ones; cut -> its class and rows."""
    num_cuts = len(boundaries(system == "N", np.zeros(1), np.zeros(1)))
    n = num_rows // (2 * num_cuts)
    parts: list[Columns] = []
    where: dict[str, tuple[str, slice]] = {}
    # Each part of the range from 1e-7 to 0.1 mag counts alike: the last digits and the rough.
    o = 10 ** rng.uniform(-7, -1, n) * rng.choice([-1, 1], n)
    for name, (target, values) in boundaries(system == "N", o, rng.random(n)).items():
        where[name] = (target, slice(n * len(parts), n * (len(parts) + 1)))
        parts.append(observe(values, n))
    sound = {name: np.concatenate([part[name] for part in parts]) for name in TARGET_COLUMNS}
    spoilt = spoil(rng, sound)
    both = {name: np.concatenate([sound[name], spoilt[name]]) for name in TARGET_COLUMNS}
    return both, where


def has_bit(target: str, desi: npt.NDArray[Any], bgs: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    if target in BGS_TARGET_BITS:
        return np.asarray(bgs >> BGS_TARGET_BITS[target] & 1, bool)
    return np.asarray(desi >> DESI_TARGET_BITS[target] & 1, bool)


# --- tests ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["N", "S"])
def test_rows_on_every_cut(desitarget_bits: Oracle, system: str) -> None:
    columns, where = rows_on_cuts(np.random.default_rng(5), system, 51_000)
    photsys = np.full(len(columns["MASKBITS"]), system)
    assert len(photsys) >= 50_000
    desi, bgs = desitarget_bits(columns, photsys)
    found = target_bits(columns, photsys)
    np.testing.assert_array_equal(found.desi_target, desi)
    np.testing.assert_array_equal(found.bgs_target, bgs)
    assert found.left_out == {}
    # The rows do lie on the cut they are named after: desitarget takes some and leaves some.
    shares = {
        name: has_bit(target, desi, bgs)[rows].mean() for name, (target, rows) in where.items()
    }
    assert {name: share for name, share in shares.items() if not 0.2 < share < 0.8} == {}


def test_north_and_south_in_one_table(desitarget_bits: Oracle) -> None:
    columns, _ = rows_on_cuts(np.random.default_rng(6), "N", 4000)
    photsys = np.where(np.arange(len(columns["MASKBITS"])) % 3 == 0, "N", "S")
    desi, bgs = desitarget_bits(columns, photsys)
    found = target_bits(columns, photsys)
    np.testing.assert_array_equal(found.desi_target, desi)
    np.testing.assert_array_equal(found.bgs_target, bgs)
    for suffix, rows in (("_NORTH", photsys == "N"), ("_SOUTH", photsys == "S")):
        selected = has_bit("ELG" + suffix, desi, bgs)
        assert selected.any()
        assert not selected[~rows].any()


_ODD = st.sampled_from([0.0, -0.0, -1.0, 1e-30, 1e-7, 0.5, 3.0, 40.0, 1e6, -1e6, np.inf, np.nan])


@settings(max_examples=60)
@given(data=st.data(), system=st.sampled_from("NS"))
def test_any_values_at_all(desitarget_bits: Oracle, data: st.DataObject, system: str) -> None:
    """Fluxes that are zero, negative or no number; desitarget needs a finite mean of z alone."""
    n = 4
    columns = observe(data.draw(st.sampled_from([ELG, LRG, BGS, WISE, QSO])), n)
    finite = _ODD.filter(np.isfinite)
    floats = [name for name in TARGET_COLUMNS if columns[name].dtype.kind == "f"]
    for name in data.draw(st.lists(st.sampled_from(floats), max_size=5, unique=True)):
        values = finite.filter(lambda v: v != 0) if name == "MW_TRANSMISSION_Z" else _ODD
        values = finite if name == "FLUX_Z" else values
        columns[name] = data.draw(hnp.arrays("f4", n, elements=values.map(np.float32)))
    photsys = np.full(n, system)
    desi, bgs = desitarget_bits(columns, photsys)
    found = target_bits(columns, photsys)
    np.testing.assert_array_equal(found.desi_target, desi)
    np.testing.assert_array_equal(found.bgs_target, bgs)


def test_real_rows(desitarget_bits: Oracle, real_data: Path) -> None:
    """36 rows of DR8, sweep and Tractor files: every row, and each class among them."""
    paths = sorted((real_data / "desitarget-dr8-tractor-sweep" / "t").glob("*[0-9].fits"))
    seen: set[str] = set()
    num_rows = 0
    for path in paths:
        table = Table.read(path)
        columns = {name: np.asarray(table[name]) for name in TARGET_COLUMNS}
        photsys = release_to_photsys(np.asarray(table["RELEASE"]))
        desi, bgs = desitarget_bits(columns, photsys)
        found = target_bits(columns, photsys)
        np.testing.assert_array_equal(found.desi_target, desi)
        np.testing.assert_array_equal(found.bgs_target, bgs)
        classes = ("LRG", "ELG_LOP", "QSO", "BGS_BRIGHT")
        seen |= {name for name in classes if has_bit(name, desi, bgs).any()}
        num_rows += len(table)
    assert (len(paths), num_rows) == (6, 36)
    assert seen == {"LRG", "ELG_LOP", "QSO", "BGS_BRIGHT"}


def test_a_missing_column_leaves_its_cuts_out() -> None:
    columns = {
        name: np.concatenate([observe(v, 2)[name] for v in (ELG, LRG, BGS, QSO)])
        for name in TARGET_COLUMNS
    }
    photsys = np.full(8, "S")
    whole = target_bits(columns, photsys)
    assert has_bit("LRG", whole.desi_target, whole.bgs_target).any()
    del columns["FIBERFLUX_Z"]
    found = target_bits(columns, photsys)
    assert found.left_out == {"LRG": "no column FIBERFLUX_Z"}
    lrg_bits = sum(1 << DESI_TARGET_BITS[n] for n in DESI_TARGET_BITS if n[:3] in ("LRG", "LGE"))
    np.testing.assert_array_equal(found.desi_target, whole.desi_target & ~lrg_bits)
    np.testing.assert_array_equal(found.bgs_target, whole.bgs_target)


def test_an_unknown_release_has_no_bits() -> None:
    columns = observe(ELG, 2)
    found = target_bits(columns, release_to_photsys(np.array([9999, 10002])))
    assert (found.desi_target != 0).tolist() == [False, True]
    assert found.left_out == dict.fromkeys(CUT_COLUMNS, UNKNOWN_PHOTSYS)


def test_photsys_of_every_release() -> None:
    known = pytest.importorskip("desitarget.io").releasedict
    numbers = np.array([*known, 10002, 9999])
    assert release_to_photsys(numbers).tolist() == [*known.values(), "S", ""]


def test_bits_are_those_of_the_target_mask() -> None:
    masks = pytest.importorskip("desitarget.targetmask")
    for name, bit in DESI_TARGET_BITS.items():
        assert masks.desi_mask[name] == 1 << bit
    for name, bit in BGS_TARGET_BITS.items():
        assert masks.bgs_mask[name] == 1 << bit
