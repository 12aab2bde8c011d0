"""Questions to a catalogue: a part of the sky, ids, conditions, SQL."""

from engine.query.regions import Box, Cone, Polygon
from engine.query.search import Answer, query
from engine.query.selection import Pixels, Selection, TargetIds

__all__ = ["Answer", "Box", "Cone", "Pixels", "Polygon", "Selection", "TargetIds", "query"]
