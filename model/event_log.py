"""Scalars as TensorBoard event files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class EventLog:
    """Event files in a folder, which may hold those of earlier runs.

    Raises
    ------
    ImportError
        If tensorboard is not installed; the message says how to install it.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ImportError(
                "tensorboard is not installed: pip install 'photoz-engine[tensorboard]'"
            ) from None
        self._make_writer = SummaryWriter
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add the scalars of a step, on disk when this returns.

        The first call hides what earlier files say of this step and later ones: a run that goes
        on repeats none, and a run that starts anew replaces the old one.
        """
        if self._writer is None:
            self._writer = self._make_writer(str(self._folder), purge_step=step)
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
