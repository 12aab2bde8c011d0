"""What the user asks of a run."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from partitions.tiling import SkyBox


class UserError(Exception):
    """A mistake that the user can mend: one line, exit code 2.

    The message says what, where, both values, and what to do.
    """


@dataclass(frozen=True)
class RunConfig:
    """The settings of one run. The machine it runs on is not among them."""

    survey: Path
    """A folder in the DR10 layout."""
    output: Path
    """The run directory: plan, receipts, fragments, catalogue."""
    nside: int
    """HEALPix nside of the partitions and of the catalogue's leaves, NESTED."""
    weights: Path
    """Folder of the trained weights."""
    region: SkyBox | None = None
    """Only bricks that overlap this box."""
    brick_names: tuple[str, ...] | None = None
    """Only these bricks."""
    batch_size: int | None = None
    """Sources in one batch of the network, None for the network's own; the last batch of a brick
    is padded to it. Part of the plan, because the last digits of a posterior depend on it."""


def parse_region(text: str) -> SkyBox:
    """`ra1,ra2,dec1,dec2` in degrees; ra1 > ra2 crosses RA 0."""
    try:
        ra1, ra2, dec1, dec2 = (float(part) for part in text.split(","))
    except ValueError:
        raise UserError(
            f"--region {text!r}: expected four numbers RA1,RA2,DEC1,DEC2 in degrees, "
            "for example 149.5,150.7,1.6,2.8"
        ) from None
    return SkyBox(ra1, ra2, dec1, dec2)


def read_brick_list(path: Path) -> tuple[str, ...]:
    """Brick names from a text file, one a line; blank lines and `#` comments are skipped."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--bricks {path}: cannot be read ({error})") from None
    names = tuple(line.split("#")[0].strip() for line in lines)
    names = tuple(name for name in names if name)
    if not names:
        raise UserError(f"--bricks {path}: names no brick; write one brick name a line")
    return names


def check_folder(option: str, folder: Path) -> None:
    """Make a folder and try to write into it, before work is spent that would be lost.

    Raises
    ------
    UserError
        If it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{option} {folder}: cannot be written ({error.strerror}); choose another"
        ) from None
