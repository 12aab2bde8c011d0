"""The table of selected rows: Parquet leaf by leaf, FITS at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.atomic import produce_atomic
from engine.config import UserError, check_folder
from engine.table.output import write_table

SUFFIXES = (".parquet", ".fits")
PROBABILITY_COLUMN = "Z_PHOT_PROB"
OUTPUT_COLUMNS = (
    *("TARGETID", "RELEASE", "BRICKID", "OBJID", "RA", "DEC", "TYPE", "EBV", "MASKBITS"),
    *("PHOTSYS", "DESI_TARGET", "BGS_TARGET", "Z_PHOT_MEAN", "Z_PHOT_MEDIAN", "Z_PHOT_STD"),
    *("Z_PHOT_L68", "Z_PHOT_U68", "Z_PHOT_L95", "Z_PHOT_U95", "Z_PHOT_FLAG"),
)
"""Columns of the catalogue that a selection carries; `PROBABILITY_COLUMN` comes last."""


def check_output(path: Path) -> None:
    """Refuse, before work is spent, what cannot be written.

    Raises
    ------
    UserError
        If the ending is unknown, it is a folder, or its folder cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES or path.is_dir():
        raise UserError(f"--output {path}: name a file that ends in {' or '.join(SUFFIXES)}")
    check_folder("--output", path.parent)


def selection_schema(catalogue: pa.Schema, about: dict[str, Any]) -> pa.Schema:
    """Schema of the table written: the catalogue's own types, and what was asked for."""
    fields = [catalogue.field(name) for name in OUTPUT_COLUMNS]
    fields.append(pa.field(PROBABILITY_COLUMN, pa.float32(), nullable=False))
    metadata = {"photoz_selection": json.dumps(about)}
    for key in (b"photoz_flag_bits", b"photoz_desi_target_bits", b"photoz_bgs_target_bits"):
        metadata[key.decode()] = catalogue.metadata[key].decode()
    return pa.schema(fields, metadata)


def write_selection(path: Path, schema: pa.Schema, tables: Iterator[pa.Table], digest: str) -> None:
    """Write the tables of all leaves as one file, also if there is no row in them.

    Of Parquet, memory holds one leaf; of FITS, whose header comes first and tells the number of
    rows, all selected rows.

    Parameters
    ----------
    digest
        Of the weights, for the FITS header; Parquet has it in the schema's metadata.
    """
    if path.suffix.lower() == ".fits":
        table = pa.concat_tables([schema.empty_table(), *tables])
        columns = {name: table.column(name).to_numpy() for name in schema.names}
        # Object arrays of text become fixed-width text, also where there are none.
        text = {name: values for name, values in columns.items() if values.dtype.kind == "O"}
        columns |= {name: values.astype("U") for name, values in text.items()}
        if not table.num_rows:
            columns |= {name: np.empty(0, "U1") for name in text}
        write_table(path, columns, digest)
        return

    def write(wip: Path) -> None:
        with pq.ParquetWriter(wip, schema, compression="zstd") as writer:
            for table in tables:
                if table.num_rows:
                    writer.write_table(table)

    produce_atomic(path, write)
