"""Units, UCDs and descriptions inside Parquet: a VOTable header in the schema's metadata.

References
----------
VOParquet convention 1.0 (IVOA Note): the metadata keys, and a VOTable without data as value.
VOTable 1.4 (IVOA Recommendation).
"""

from __future__ import annotations

from xml.etree import ElementTree

import pyarrow as pa

from engine.catalogue.columns import COLUMN_MEANINGS
from engine.catalogue.layout import INDEX, MARGIN, MARGIN_RADIUS_ARCSEC, PRIMARY

VERSION_KEY = b"IVOA.VOTable-Parquet.version"
CONTENT_KEY = b"IVOA.VOTable-Parquet.content"
_CONVENTION_VERSION = b"1.0"

TABLE_DESCRIPTIONS = {
    PRIMARY: "Photometric redshifts, one row a source",
    MARGIN: f"For each pixel the sources outside it, within {MARGIN_RADIUS_ARCSEC:g} arcsec",
    INDEX: "The leaf that holds each TARGETID",
}

_DATATYPES = {
    pa.uint8(): "unsignedByte",
    pa.int16(): "short",
    pa.int32(): "int",
    pa.int64(): "long",
    # VOTable has no unsigned 64-bit type; a pixel number fits the signed one.
    pa.uint64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
}


def with_votable(schema: pa.Schema, name: str, description: str) -> pa.Schema:
    """The schema with the meaning of its columns in its metadata.

    Raises
    ------
    KeyError
        If a column has no entry in COLUMN_MEANINGS, or a type that VOTable has no name for.
    """
    added = {
        VERSION_KEY: _CONVENTION_VERSION,
        CONTENT_KEY: votable_header(schema, name, description),
    }
    return schema.with_metadata({**(schema.metadata or {}), **added})


def without_votable(schema: pa.Schema) -> pa.Schema:
    """The schema that the leaves have: the meaning of columns is said once, not in every leaf."""
    metadata = schema.metadata or {}
    kept = {key: v for key, v in metadata.items() if key not in (VERSION_KEY, CONTENT_KEY)}
    return schema.with_metadata(kept or None)


def votable_header(schema: pa.Schema, name: str, description: str) -> bytes:
    """A VOTable document with one FIELD a column and no data."""
    root = ElementTree.Element(
        "VOTABLE", {"version": "1.4", "xmlns": "http://www.ivoa.net/xml/VOTable/v1.3"}
    )
    resource = ElementTree.SubElement(root, "RESOURCE", {"type": "results"})
    ElementTree.SubElement(resource, "COOSYS", {"ID": "icrs", "system": "ICRS"})
    table = ElementTree.SubElement(resource, "TABLE", {"name": name})
    ElementTree.SubElement(table, "DESCRIPTION").text = description
    for column in schema:
        meaning = COLUMN_MEANINGS[column.name]
        attributes = {"name": column.name, **_datatype(column.type), "ucd": meaning.ucd}
        if meaning.unit:
            attributes["unit"] = meaning.unit
        if meaning.ucd.startswith("pos.eq"):
            attributes["ref"] = "icrs"
        element = ElementTree.SubElement(table, "FIELD", attributes)
        ElementTree.SubElement(element, "DESCRIPTION").text = meaning.description
    ElementTree.indent(root, " ")
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _datatype(kind: pa.DataType) -> dict[str, str]:
    if pa.types.is_string(kind):
        return {"datatype": "char", "arraysize": "*"}
    if pa.types.is_fixed_size_list(kind):
        return {"datatype": _DATATYPES[kind.value_type], "arraysize": str(kind.list_size)}
    return {"datatype": _DATATYPES[kind]}
