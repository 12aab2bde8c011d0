"""Redshifts from photometry alone, of any table: its bands, its columns, its fill values."""

from model.table.fit import FitConfig as FitConfig
from model.table.fit import MemberEpoch as MemberEpoch
from model.table.fit import fit_table as fit_table
from model.table.fit import redshift_grid as redshift_grid
from model.table.point import safe_redshift as safe_redshift
from model.table.predict import POINT_NAMES as POINT_NAMES
from model.table.predict import TablePrediction as TablePrediction
from model.table.predict import TablePredictor as TablePredictor
from model.table.rivals import RIVALS as RIVALS
from model.table.rivals import RivalPrediction as RivalPrediction
from model.table.rivals import predict_rival as predict_rival
from model.table.rivals import rival_arrays as rival_arrays
from model.table.rows import TableLayout as TableLayout
from model.table.rows import TableRows as TableRows
from model.table.split import split_by_row as split_by_row
from model.table.weights import TableWeights as TableWeights
from model.table.weights import load_table_weights as load_table_weights

__all__ = [
    "POINT_NAMES",
    "RIVALS",
    "FitConfig",
    "MemberEpoch",
    "RivalPrediction",
    "TableLayout",
    "TablePrediction",
    "TablePredictor",
    "TableRows",
    "TableWeights",
    "fit_table",
    "load_table_weights",
    "predict_rival",
    "redshift_grid",
    "rival_arrays",
    "safe_redshift",
    "split_by_row",
]
