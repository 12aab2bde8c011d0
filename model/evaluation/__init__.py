"""How good a method is: metrics with errors, in slices, against another; what drives its errors."""

from model.evaluation.bootstrap import Record as Record
from model.evaluation.bootstrap import compare as compare
from model.evaluation.bootstrap import evaluate as evaluate
from model.evaluation.importance import Importance as Importance
from model.evaluation.importance import crps_loss as crps_loss
from model.evaluation.importance import permutation_importance as permutation_importance
from model.evaluation.importance import sigma_nmad_loss as sigma_nmad_loss
from model.evaluation.outliers import OutlierRecord as OutlierRecord
from model.evaluation.outliers import outlier_records as outlier_records
from model.evaluation.outliers import outlier_rows as outlier_rows
from model.evaluation.records import as_row as as_row
from model.evaluation.scores import STATISTICS as STATISTICS
from model.evaluation.scores import Scores as Scores
from model.evaluation.slices import Slices as Slices
from model.evaluation.slices import slices_by_label as slices_by_label
from model.evaluation.slices import slices_by_missing_band as slices_by_missing_band
from model.evaluation.slices import slices_by_value as slices_by_value
from model.evaluation.slices import whole as whole
from model.evaluation.table import source_slices as source_slices
from model.evaluation.table import source_table as source_table

__all__ = [
    "STATISTICS",
    "Importance",
    "OutlierRecord",
    "Record",
    "Scores",
    "Slices",
    "as_row",
    "compare",
    "crps_loss",
    "evaluate",
    "outlier_records",
    "outlier_rows",
    "permutation_importance",
    "sigma_nmad_loss",
    "slices_by_label",
    "slices_by_missing_band",
    "slices_by_value",
    "source_slices",
    "source_table",
    "whole",
]
