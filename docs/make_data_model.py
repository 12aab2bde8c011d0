"""Write docs/data-model.md from the schema, the flag bits and the layout of the catalogue.

    python docs/make_data_model.py

Names, types, units and bits come from the code. What is written here is the meaning of files and
of properties keys, which the code writes without a word; the tests compare both with a catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from engine.catalogue.columns import COLUMN_MEANINGS
from engine.catalogue.index import INDEX_SCHEMA
from engine.catalogue.layout import (
    COLLECTION_PROPERTIES,
    COMMON_METADATA,
    COVERAGE_FILE,
    INDEX,
    INDEX_COLUMN,
    MANIFEST,
    MARGIN,
    MARGIN_RADIUS_ARCSEC,
    METADATA,
    PARTITION_INFO,
    PRIMARY,
    PROPERTIES_FILES,
    SKY_MAPS,
)
from engine.catalogue.schema import SORT_COLUMNS, catalogue_schema
from engine.catalogue.skymap import SKYMAP_ORDER
from model.posterior import QUANTILE_LEVELS
from partitions.schema import QUALITY_BIT_MEANING, QUALITY_BITS
from partitions.targets import BGS_TARGET_BITS, DESI_TARGET_BITS

PAGE = Path(__file__).with_name("data-model.md")

LEAF = "dataset/Norder=K/Dir=D/Npix=N.parquet"
FILE_MEANINGS = {
    COLLECTION_PROPERTIES: "what the parts are; written last, so a folder without it is no "
    "catalogue",
    f"{PRIMARY}/{LEAF}": "a leaf: the sources whose own position lies in pixel N (NESTED) of order "
    "K; D = 10000 (N div 10000)",
    f"{PRIMARY}/{PARTITION_INFO}": "order and pixel of every leaf",
    **{
        f"{PRIMARY}/{name}": f"sources per pixel of order {SKYMAP_ORDER}, a partial HEALPix map, "
        "NESTED, ICRS; the same map under both names"
        for name in SKY_MAPS
    },
    f"{MARGIN}/{LEAF}": f"the sources outside pixel N and within {MARGIN_RADIUS_ARCSEC:g} arcsec "
    "of it",
    f"{MARGIN}/{PARTITION_INFO}": "order and pixel of every margin",
    f"{INDEX}/dataset/index/part.P.parquet": f"{INDEX_COLUMN} to leaf; ascending over all parts",
    **{
        f"{part}/{path.as_posix()}": meaning
        for part in (PRIMARY, MARGIN, INDEX)
        for path, meaning in (
            (COMMON_METADATA, "the schema, with units, UCDs and descriptions (VOParquet)"),
            (METADATA, "the footers of all data files: statistics of every row group"),
        )
    },
    **{
        f"{part}/{name}": "the keys below; the same text under both names"
        for part in (PRIMARY, MARGIN, INDEX)
        for name in PROPERTIES_FILES
    },
    MANIFEST.as_posix(): "rows, bytes and sha256 of every file; `engine verify` reads it",
    COVERAGE_FILE.as_posix(): "covered area in deg^2 by band, and bricks without target cuts",
}
"""Path inside RUN/catalogue, with K, D, N, P for numbers -> what it is."""

PROPERTY_MEANINGS = {
    "obs_collection": "name of this catalogue",
    "dataproduct_type": "`object`, `margin` or `index`",
    "hats_primary_table_url": "folder of the primary catalogue",
    "all_margins": "folders of the margins",
    "default_margin": "the margin that readers take",
    "all_indexes": "column and folder of the indexes",
    "default_index": "the index that readers take",
    "hats_margin_threshold": "width of the margin, arcsec",
    "hats_index_column": "column that is looked up",
    "hats_col_ra": "column of right ascension, deg, ICRS",
    "hats_col_dec": "column of declination, deg, ICRS",
    "hats_cols_default": "columns that readers load if none are named",
    "hats_cols_sort": "order of rows in one order-29 pixel",
    "hats_cols_survey_id": "identifier of a source",
    "hats_col_healpix": "column of the order-29 pixel",
    "hats_col_healpix_order": "its order",
    "hats_npix_suffix": "end of a leaf's name",
    "hats_order": "HEALPix order of the leaves, log2(nside)",
    "hats_nrows": "rows",
    "hats_max_rows": "rows of the largest file",
    "hats_estsize": "size of the data files, KiB",
    "hats_skymap_order": "order of the sky map",
    "moc_sky_fraction": "fraction of the sky in pixels of the sky map that hold a source",
    "hats_builder": "versions of photoz-engine and pyarrow",
    "hats_version": "version of the HATS standard",
    "hats_release_date": "date of that version, not of the catalogue",
    "prov_progenitor": "name of the survey's folder",
    "engine_version": "version of photoz-engine that planned the run",
    "engine_num_bricks": "bricks of the plan",
    "engine_plan_digest": "sha256 of what decides the catalogue's bytes",
    "engine_weights_digest": "digest of the weights",
    "engine_network": "network of the weights",
    "engine_quantile_levels": "cumulative probabilities of Z_PHOT_QUANTILES",
    "engine_redshift_min": "lower edge of the weights' redshift grid",
    "engine_redshift_max": "upper edge",
    "engine_partial": "`true` if the run was not done when the catalogue was finished",
}
"""Key of a properties file -> what its value is."""


def data_model() -> str:
    """The page as text."""
    schema = catalogue_schema(QUANTILE_LEVELS)
    sections = (
        _introduction(),
        _files(),
        _columns(schema),
        _index_columns(),
        _bits(
            "Quality bits",
            "Of `Z_PHOT_FLAG`; names and bits are in `photoz_flag_bits` of the schema's metadata, "
            "too, as JSON. 0: none of these holds.",
            QUALITY_BITS,
            QUALITY_BIT_MEANING,
        ),
        _target_bits(),
        _properties(),
    )
    return "\n".join(sections)


def _introduction() -> str:
    return (
        "# Data model\n"
        "<!-- Made by docs/make_data_model.py; edit that. -->\n"
        "What is in `RUN/catalogue`: a HATS collection of Parquet files. Ask it with "
        "[engine query or other readers](query.md).\n"
    )


def _files() -> str:
    rows = [(f"`{path}`", meaning) for path, meaning in FILE_MEANINGS.items()]
    return "## Files\n" + _table(("in `RUN/catalogue/`", "what it is"), rows)


def _columns(schema: pa.Schema) -> str:
    levels = ", ".join(f"{level:g}" for level in QUANTILE_LEVELS)
    return (
        "## Columns of the catalogue and its margin\n"
        f"Rows are in order of {_code_list(SORT_COLUMNS)}. No column has nulls. The survey's "
        "columns keep the names of DR10's Tractor tables, in capitals. Types are Arrow's: float "
        "has 32 bits, double 64.\n\n"
        + _table(("column", "type", "unit", "UCD", "meaning"), _fields(schema))
        + f"\nThe levels of `Z_PHOT_QUANTILES` are {levels} with the default weights; "
        "`photoz_quantile_levels` of the schema's metadata is what holds.\n"
    )


def _index_columns() -> str:
    return "## Columns of the index\n" + _table(
        ("column", "type", "unit", "UCD", "meaning"), _fields(INDEX_SCHEMA)
    )


def _fields(schema: pa.Schema) -> Iterable[tuple[str, ...]]:
    for field in schema:
        meaning = COLUMN_MEANINGS[field.name]
        unit = f"`{meaning.unit}`" if meaning.unit else ""
        yield f"`{field.name}`", _type(field.type), unit, f"`{meaning.ucd}`", meaning.description


def _type(kind: pa.DataType) -> str:
    if pa.types.is_fixed_size_list(kind):
        return f"{kind.value_type} [{kind.list_size}]"
    return str(kind)


def _bits(title: str, words: str, bits: Mapping[str, int], meanings: Mapping[str, str]) -> str:
    rows = [(str(bit), f"`{name}`", str(1 << bit), meanings[name]) for name, bit in bits.items()]
    return f"## {title}\n{words}\n\n" + _table(("bit", "name", "value", "meaning"), rows)


def _target_bits() -> str:
    rows = [
        (f"`{column}`", str(bit), f"`{name}`", str(1 << bit))
        for column, bits in (("DESI_TARGET", DESI_TARGET_BITS), ("BGS_TARGET", BGS_TARGET_BITS))
        for name, bit in bits.items()
    ]
    return (
        "## Target bits\n"
        "Numbered as in desitarget's main survey. A source that passes the cuts of a class has the "
        "bit of the class and that of the photometric system whose cuts it passed; `BGS_ANY` is "
        "set where `BGS_TARGET` is not 0. Bits that are not listed are 0.\n\n"
        + _table(("column", "bit", "name", "value"), rows)
    )


def _properties() -> str:
    rows = [(f"`{key}`", meaning) for key, meaning in PROPERTY_MEANINGS.items()]
    return (
        "## Properties\n"
        f"Keys of `{COLLECTION_PROPERTIES}` and of the properties files of the three parts, one "
        "`key=value` a line; each file has those that concern it.\n\n"
        + _table(("key", "value"), rows)
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    cells = ((cell.replace("|", "\\|") for cell in line) for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _code_list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    PAGE.write_text(data_model())
