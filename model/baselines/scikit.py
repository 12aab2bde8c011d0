"""scikit-learn, which comes with the extra `baselines`: the engine runs without it."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def scikit_class(module: str, name: str, needed_by: str) -> Any:
    """A class of scikit-learn, imported only when a baseline that needs it is made.

    Raises
    ------
    ImportError
        If scikit-learn is not installed; the message names what needs it and the extra.
    """
    try:
        return getattr(import_module(f"sklearn.{module}"), name)
    except ImportError as error:
        raise ImportError(
            f"{needed_by} needs scikit-learn, which is not installed: install the extra `baselines`"
        ) from error
