"""The methods to beat, all with one interface: redshifts and posteriors from photometry alone."""

from model.baselines.boosted import BoostedTrees as BoostedTrees
from model.baselines.forest import RandomForest as RandomForest
from model.baselines.interface import Baseline as Baseline
from model.baselines.neighbours import NearestNeighboursLinear as NearestNeighboursLinear
from model.baselines.photometry import MISSING_VALUE as MISSING_VALUE
from model.baselines.photometry import SURVEY as SURVEY
from model.baselines.photometry import Photometry as Photometry
from model.baselines.photometry import fluxes_to_table as fluxes_to_table
from model.baselines.photometry import photometry_matrix as photometry_matrix
from model.baselines.photometry import table_photometry as table_photometry

__all__ = [
    "MISSING_VALUE",
    "SURVEY",
    "Baseline",
    "BoostedTrees",
    "NearestNeighboursLinear",
    "Photometry",
    "RandomForest",
    "fluxes_to_table",
    "photometry_matrix",
    "table_photometry",
]
