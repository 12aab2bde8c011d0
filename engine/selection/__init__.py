"""Rows of a catalogue by DESI target class and by probability of a redshift range."""

from engine.selection.classes import TARGET_CLASSES
from engine.selection.probability import interval_probability
from engine.selection.select import Selection, SelectionConfig, select_targets

__all__ = [
    "TARGET_CLASSES",
    "Selection",
    "SelectionConfig",
    "interval_probability",
    "select_targets",
]
