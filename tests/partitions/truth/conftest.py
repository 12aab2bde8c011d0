"""One good row of every survey's public table, what spoils it, and a writer of the formats."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

Row = dict[str, Any]

# Key -> columns and values of a row that passes, in the public table's own spelling and order.
GOOD_ROWS: dict[str, Row] = {
    "sdss": {
        "SURVEY": "sdss",
        "SPECOBJID": "299489677444933632",
        "PLUG_RA": 10.5,
        "PLUG_DEC": 1.25,
        "Z": 0.12,
        "Z_ERR": 1e-5,
        "ZWARNING": 0,
        "CLASS": "GALAXY",
        "SUBCLASS": "STARFORMING BROADLINE",
    },
    "desi-sv3": {
        "TARGETID": 39627646350558848,
        "SURVEY": "sv3",
        "PROGRAM": "dark",
        "Z": 1.04,
        "ZERR": 1e-4,
        "ZWARN": 0,
        "SPECTYPE": "GALAXY",
        "SUBTYPE": "",
        "DELTACHI2": 90.0,
        "COADD_FIBERSTATUS": 0,
        "TARGET_RA": 10.5,
        "TARGET_DEC": 1.25,
        "OBJTYPE": "TGT",
    },
    "2dfgrs": {"Name": "S001Z002", "RAJ2000": 10.5, "DEJ2000": 1.25, "z": 0.06, "q_z": 4},
    "primus": {
        "OBJNAME": "cosmos_1",
        "RA": 10.5,
        "DEC": 1.25,
        "Z": 0.56,
        "ZQUALITY": 4,
        "MASK": "cos0001",
    },
    "zcosmos": {"id": 700137, "ra": 10.5, "dec": 1.25, "imag": 21.6, "zpec": 0.68, "cc": 3.5},
    "lamost": {
        "obsid": 101001,
        "class": "GALAXY",
        "subclass": "",
        "z": 0.12,
        "z_err": 1e-4,
        "ra": 10.5,
        "dec": 1.25,
    },
    "gama": {
        "SPECID": "G02_Y3_018_293",
        "SURVEY_CODE": 5,
        "RA": 10.5,
        "DEC": 1.25,
        "Z": 0.19,
        "NQ": 4,
    },
    "vipers": {
        "id_IAU": "VIPERS 101122877",
        "num": 101122877,
        "alpha": 10.5,
        "delta": 1.25,
        "zspec": 0.79,
        "zflg": 3.5,
        "classFlag": 1,
    },
    "wigglez": {"WiggleZ": "R01J003", "RAJ2000": 10.5, "DEJ2000": 1.25, "z": 0.63, "q_z": 5},
    "vvds": {"NUM": 20465339, "ALPHA": 10.5, "DELTA": 1.25, "Z": 0.74, "ZFLAGS": 4},
    "fcosmos": {"FMOS_ID": 77, "RA": 10.5, "DEC": 1.25, "ZBEST": 1.48, "ZFLAG": 3},
    "6dfgs": {
        "_6dFGS": "g0042000+011500",
        "RAJ2000": "00 42 00.00",
        "DEJ2000": "+01 15 00.0",
        "cz": 32977,
        "e_cz": 60,
        "q_cz": 4,
    },
    "ozdes": {
        "ozdes_id": "SVA1_COADD-1",
        "alpha_j2000": 10.5,
        "delta_j2000": 1.25,
        "z": 0.46,
        "qop": 4,
    },
    "c3r2": {
        "ID": "COSMOS-1",
        "RAh": 0,
        "RAm": 42,
        "RAs": 0.0,
        "DE-": "+",
        "DEd": 1,
        "DEm": 15,
        "DEs": 0.0,
        "zspec": 0.82,
        "Qual": 3.5,
    },
    "deep2": {
        "OBJNO": 11001673,
        "RA": 10.5,
        "DEC": 1.25,
        "CLASS": "GALAXY",
        "SUBCLASS": "",
        "Z": 0.81,
        "ZBEST": 0.82,
        "ZERR": 1e-5,
        "ZQUALITY": 4,
    },
    "generic": {"id": 5, "ra": 10.5, "dec": 1.25, "z": 0.3},
}
GOOD_ROWS["desi-sv1"] = GOOD_ROWS["desi-sv3"] | {"SURVEY": "sv1"}
GOOD_ROWS["desi"] = GOOD_ROWS["desi-sv3"] | {"SURVEY": "main", "ZCAT_PRIMARY": True}

# Key -> the cut -> values that fail it, each in a row of its own.
SPOILT: dict[str, dict[str, list[Row]]] = {
    "sdss": {"ZWARNING = 0": [{"ZWARNING": 4}]},
    "desi-sv3": {
        "SURVEY = sv3": [{"SURVEY": "main"}, {"SURVEY": "sv1"}],
        "OBJTYPE = TGT": [{"OBJTYPE": "SKY"}],
        "ZWARN = 0": [{"ZWARN": 512}],
        "ZERR < 0.01": [{"ZERR": 0.01}, {"ZERR": 0.5}],
    },
    "desi-sv1": {"SURVEY = sv1": [{"SURVEY": "sv3"}], "ZERR < 0.01": [{"ZERR": 0.02}]},
    "desi": {
        "OBJTYPE = TGT": [{"OBJTYPE": "SKY"}],
        "ZCAT_PRIMARY = True": [{"ZCAT_PRIMARY": False}],
        "COADD_FIBERSTATUS = 0": [{"COADD_FIBERSTATUS": 8}],
        "ZWARN = 0": [{"ZWARN": 4}],
        "DELTACHI2 > 25": [{"DELTACHI2": 25.0}],
    },
    "2dfgrs": {"q_z in 3, 4": [{"q_z": 2}, {"q_z": 5}], "star": [{"z": 0.0011}]},
    "primus": {"ZQUALITY in 3, 4": [{"ZQUALITY": 2}]},
    "zcosmos": {
        "3 <= cc <= 5": [{"cc": 2.5}, {"cc": 9.5}, {"cc": 13.5}],
        "no finite redshift": [{"zpec": 9.9999}],
    },
    "lamost": {
        "z_err >= 0": [{"z_err": -9999.0, "z": -9999.0}],
        "z_err <= 0.01": [{"z_err": 0.02}],
        "star": [{"class": "STAR", "z": 0.0001}],
    },
    "gama": {"NQ = 4": [{"NQ": 3}]},
    "vipers": {
        "whole part of zflg in 3, 4": [{"zflg": 2.5}, {"zflg": 9.5}, {"zflg": 13.5}],
        "no finite redshift": [{"zspec": 9.9999}],
    },
    "wigglez": {"q_z in 4, 5": [{"q_z": 3}]},
    "vvds": {"ZFLAGS = 4": [{"ZFLAGS": 3}, {"ZFLAGS": 14}]},
    "fcosmos": {"ZFLAG >= 3": [{"ZFLAG": 2}]},
    "6dfgs": {"q_cz = 4": [{"q_cz": 3}, {"q_cz": 6}], "redshift <= 0": [{"cz": -120}]},
    "ozdes": {"qop = 4": [{"qop": 3}, {"qop": 6}]},
    "c3r2": {"Qual >= 3": [{"Qual": 2.0}]},
    "deep2": {"ZQUALITY >= 3": [{"ZQUALITY": -1}, {"ZQUALITY": 2}]},
    "generic": {"redshift <= 0": [{"z": 0.0}, {"z": -0.1}], "no finite redshift": [{"z": np.nan}]},
}


@pytest.fixture(scope="session")
def good_row() -> Callable[[str], Row]:
    """Key of a survey -> a row of its public table that passes every check."""
    return lambda key: dict(GOOD_ROWS[key])


@pytest.fixture(scope="session")
def rows_of() -> Callable[[str], tuple[list[Row], dict[str, int]]]:
    """Key -> two good rows around those that fail, and how many fail at each check."""

    def rows(key: str) -> tuple[list[Row], dict[str, int]]:
        good = GOOD_ROWS[key]
        spoilt = [good | change for changes in SPOILT[key].values() for change in changes]
        expected = {reason: len(changes) for reason, changes in SPOILT[key].items()}
        return [good, *spoilt, good], expected

    return rows


@pytest.fixture(scope="session")
def write_rows() -> Callable[..., Path]:
    """(path, rows, delimiter) -> a FITS, CSV or Parquet file, by the suffix."""

    def write(path: Path, rows: list[Row], delimiter: str = ",") -> Path:
        columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        if ".fits" in path.name:
            Table(columns).write(path, overwrite=True)
        elif path.suffix == ".parquet":
            pq.write_table(pa.table(columns), path)
        else:
            is_gzip = path.suffix == ".gz"
            with gzip.open(path, "wt") if is_gzip else path.open("w", newline="") as file:
                writer = csv.writer(file, delimiter=delimiter)
                writer.writerow(rows[0])
                writer.writerows(row.values() for row in rows)
        return path

    return write
