"""Writes a small survey in DR10's own file layout from a seed, with known redshifts."""

from partitions.mock.config import MockConfig
from partitions.mock.survey import write_mock_survey

__all__ = ["MockConfig", "write_mock_survey"]
