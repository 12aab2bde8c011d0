"""Known redshifts: spectroscopic tables in, a truth table of the survey's sources out."""

from partitions.truth.truth_table import Truth, read_truth

__all__ = ["Truth", "read_truth"]
