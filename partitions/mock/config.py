"""What a mock survey is made of: the one set of numbers that, with its seed, fixes every byte."""

from __future__ import annotations

from dataclasses import dataclass

from partitions.mock.sky_tiles import BRICK_SIDE_PX

MOCK_VERSION = 3
"""Raised whenever the same config would write other bytes."""


@dataclass(frozen=True)
class MockConfig:
    """Settings of a mock survey.

    A field is the patch of sky around one brick corner, seen by the (up to) four bricks that meet
    there; each brick image is a square window of the full 3600 x 3600 brick grid at that corner.
    """

    seed: int = 1
    num_fields: int = 3
    bricks_per_field: int = 4
    """1 to 4, in the order south-west, south-east, north-west, north-east."""
    image_size_px: int = 1400
    """Side of every optical image; 3600 is the whole brick."""
    density_per_deg2: float = 60_000.0
    """Sources drawn per square degree, of which about nine in ten are detected. The default mix is
    target-rich; 124,000 is the density of DR10."""
    bright_stars_per_field: int = 2
    """Saturated stars of magnitude 11.5 to 14, with masked cores, trails and BRIGHT haloes."""
    special_bricks: bool = True
    """Write the odd bricks too: an empty one, one with an uncovered strip, some without i."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed={self.seed}: must be in [0, 2**63)")
        if not 1 <= self.num_fields <= 10_000:
            raise ValueError(f"num_fields={self.num_fields}: must be from 1 to 10,000")
        if not 1 <= self.bricks_per_field <= 4:
            raise ValueError(f"bricks_per_field={self.bricks_per_field}: must be from 1 to 4")
        if not 200 <= self.image_size_px <= BRICK_SIDE_PX:
            raise ValueError(
                f"image_size_px={self.image_size_px}: must be from 200 to {BRICK_SIDE_PX}"
            )
        if not 0 < self.density_per_deg2 <= 400_000:
            raise ValueError(f"density_per_deg2={self.density_per_deg2}: must be in (0, 400,000]")
        if not 0 <= self.bright_stars_per_field <= 100:
            raise ValueError(
                f"bright_stars_per_field={self.bright_stars_per_field}: must be from 0 to 100"
            )

    @property
    def num_bricks(self) -> int:
        """Bricks of the whole survey."""
        return self.num_fields * self.bricks_per_field

    @classmethod
    def demo(cls, seed: int = 1) -> MockConfig:
        """Twelve bricks and about 6,000 primary sources: made in seconds."""
        return cls(seed=seed)

    @classmethod
    def training(cls, seed: int = 2, num_fields: int = 52) -> MockConfig:
        """About 2,000 labelled sources per field: more than 100,000 by default."""
        return cls(seed=seed, num_fields=num_fields)

    @classmethod
    def full_brick(cls, seed: int = 3) -> MockConfig:
        """One whole six-band 3600 x 3600 brick at the density of DR10, for benchmarks."""
        return cls(
            seed=seed,
            num_fields=1,
            bricks_per_field=1,
            image_size_px=BRICK_SIDE_PX,
            density_per_deg2=124_000.0,
            special_bricks=False,
        )
