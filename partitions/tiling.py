"""Bricks -> partitions: every brick belongs to the one HEALPix pixel that holds its centre.

At nside 32, 35 % of the bricks straddle pixels. Keyed by the pixels of their sources they would
be decoded 1.4 times; keyed by centre each is decoded once, and its rows are routed to their own
pixels when the catalogue is finished.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from partitions.bricks import Brick, SurveyError
from partitions.healpix import Pixel, radec_to_pixel


@dataclass(frozen=True)
class SkyBox:
    """A box in RA and Dec; ra1 > ra2 means that it crosses RA 0."""

    ra1_deg: float
    ra2_deg: float
    dec1_deg: float
    dec2_deg: float

    def __post_init__(self) -> None:
        in_range = 0 <= self.ra1_deg <= 360 and 0 <= self.ra2_deg <= 360
        if not in_range or not -90 <= self.dec1_deg < self.dec2_deg <= 90:
            raise SurveyError(
                f"region {self}: needs 0 <= RA <= 360 and -90 <= Dec1 < Dec2 <= 90 degrees"
            )

    def __str__(self) -> str:
        return f"{self.ra1_deg:g},{self.ra2_deg:g},{self.dec1_deg:g},{self.dec2_deg:g}"

    def overlaps(self, brick: Brick) -> bool:
        """Whether any part of the brick's own area lies in the box."""
        if brick.dec2_deg <= self.dec1_deg or brick.dec1_deg >= self.dec2_deg:
            return False
        # Angles measured eastward from ra1; the box is [0, width], the brick [start, start + w].
        width = (self.ra2_deg - self.ra1_deg) % 360 or 360.0 * (self.ra1_deg != self.ra2_deg)
        start = (brick.ra1_deg - self.ra1_deg) % 360
        brick_width = (brick.ra2_deg - brick.ra1_deg) % 360 or 360.0
        return start < width or start + brick_width > 360


def select_bricks(
    bricks: dict[str, Brick], region: SkyBox | None = None, names: Iterable[str] | None = None
) -> list[Brick]:
    """The bricks that overlap `region` and, if given, are among `names`; in name order.

    Raises
    ------
    SurveyError
        If a name is not a brick of the survey, or nothing is left.
    """
    chosen = bricks
    if names is not None:
        wanted = list(dict.fromkeys(names))
        unknown = [name for name in wanted if name not in bricks]
        if unknown:
            raise SurveyError(
                f"brick list: {len(unknown)} of {len(wanted)} names have no files in this survey, "
                f"for example {unknown[0]!r}; it has {len(bricks)} bricks, "
                f"for example {next(iter(bricks))!r}"
            )
        chosen = {name: bricks[name] for name in wanted}
    if region is not None:
        chosen = {name: brick for name, brick in chosen.items() if region.overlaps(brick)}
    if not chosen:
        limits = f"region {region}" if region is not None else "brick list"
        raise SurveyError(f"{limits}: selects none of the survey's {len(bricks)} bricks")
    return [chosen[name] for name in sorted(chosen)]


def assign_partitions(bricks: list[Brick], order: int) -> dict[Pixel, list[Brick]]:
    """Group bricks by the HEALPix pixel (NESTED) of their centres, in pixel order."""
    numbers = radec_to_pixel(
        np.array([brick.ra_deg for brick in bricks]),
        np.array([brick.dec_deg for brick in bricks]),
        order,
    )
    partitions: dict[Pixel, list[Brick]] = {}
    # By name: comparing whole bricks takes ten times as long.
    pairs = zip(numbers.tolist(), bricks, strict=True)
    for number, brick in sorted(pairs, key=lambda pair: (pair[0], pair[1].name)):
        partitions.setdefault(Pixel(order, number), []).append(brick)
    return partitions
