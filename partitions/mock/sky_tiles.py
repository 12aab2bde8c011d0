"""The DR10 brick grid, the tangent plane of a brick image, and where the mock's fields lie.

References
----------
Brick grid: desiutil `brick.Bricks(0.25)`, the tiling of the Legacy Surveys (rows of 0.25 deg in
Dec, an even number of columns per row). Projection: Calabretta & Greisen 2002, A&A 395, 1077.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partitions.bricks import Brick
from partitions.healpix import radec_to_pixel
from partitions.schema import OPTICAL_PIXEL_SCALE_ARCSEC, WISE_PIXEL_SCALE_ARCSEC

FloatArray = NDArray[np.float64]

BRICK_SIDE_DEG = 0.25
BRICK_SIDE_PX = 3600
PARTITION_ORDER = 5
"""nside 32: every second field straddles a boundary between its pixels."""


def columns_per_row() -> NDArray[np.int64]:
    """Number of bricks in each of the 721 rows of Dec, south to north."""
    center_dec_deg = np.arange(721) * BRICK_SIDE_DEG - 90.0
    low_edge_deg = np.abs(center_dec_deg) - BRICK_SIDE_DEG / 2
    wide = 360.0 / BRICK_SIDE_DEG * np.cos(np.radians(low_edge_deg))
    columns: NDArray[np.int64] = (np.ceil(wide / 2) * 2).astype(np.int64)
    columns[[0, -1]] = 1
    return columns


def brick_at(row: int, column: int) -> Brick:
    """One brick of the grid, by row (south to north) and column (in RA), both from 0."""
    columns = columns_per_row()
    edges_deg = np.linspace(0.0, 360.0, int(columns[row]) + 1)
    ra1_deg, ra2_deg = float(edges_deg[column]), float(edges_deg[column + 1])
    ra_deg = 0.5 * (ra1_deg + ra2_deg)
    dec_deg = row * BRICK_SIDE_DEG - 90.0
    # Digits are cut, not rounded, after a rounding that absorbs binary fractions (39.5999 -> 39.6).
    name = f"{ra_deg * 1e4:07.0f}"[:4] + ("p" if dec_deg >= 0 else "m")
    name += f"{abs(dec_deg) * 1e4:06.0f}"[:3]
    return Brick(
        name=name,
        brickid=int(columns[:row].sum()) + column + 1,
        ra_deg=ra_deg,
        dec_deg=dec_deg,
        ra1_deg=ra1_deg,
        ra2_deg=ra2_deg,
        dec1_deg=dec_deg - BRICK_SIDE_DEG / 2,
        dec2_deg=dec_deg + BRICK_SIDE_DEG / 2,
    )


@dataclass(frozen=True)
class TangentPlane:
    """A north-up gnomonic image. Pixels are 0-indexed: the first centre is (0, 0)."""

    ra_deg: float
    """Tangent point (CRVAL)."""
    dec_deg: float
    x_px: float
    """Pixel of the tangent point: CRPIX - 1."""
    y_px: float
    pixel_arcsec: float
    width_px: int
    height_px: int

    def sky_to_pixel(
        self, ra_deg: FloatArray, dec_deg: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Pixels (x, y), shape (n,), of positions, shape (n,), degrees."""
        delta = np.radians(np.asarray(ra_deg) - self.ra_deg)
        dec, dec0 = np.radians(dec_deg), np.radians(self.dec_deg)
        cos_c = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(delta)
        xi = np.cos(dec) * np.sin(delta) / cos_c
        eta = (np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(delta)) / cos_c
        pixel_rad = np.radians(self.pixel_arcsec / 3600.0)
        return self.x_px - xi / pixel_rad, self.y_px + eta / pixel_rad

    def pixel_to_sky(self, x_px: FloatArray, y_px: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Positions (ra, dec), degrees, shape (n,), of pixels, shape (n,)."""
        pixel_rad = np.radians(self.pixel_arcsec / 3600.0)
        xi = (self.x_px - np.asarray(x_px, dtype=float)) * pixel_rad
        eta = (np.asarray(y_px, dtype=float) - self.y_px) * pixel_rad
        dec0 = np.radians(self.dec_deg)
        down = np.cos(dec0) - eta * np.sin(dec0)
        ra = np.degrees(np.arctan2(xi, down)) + self.ra_deg
        dec = np.arctan2(np.sin(dec0) + eta * np.cos(dec0), np.hypot(xi, down))
        return np.mod(ra, 360.0), np.degrees(dec)


@dataclass(frozen=True)
class MockBrick:
    """One brick of a mock field: its place in the grid and the window of its image."""

    brick: Brick
    row: int
    column: int
    field: int
    position: int
    """0 south-west, 1 south-east, 2 north-west, 3 north-east of the field's corner."""
    image_size_px: int

    @property
    def optical(self) -> TangentPlane:
        """The optical image: the corner of the 3600 x 3600 brick grid next to the field's corner.

        A full image reaches about 82 px beyond the brick's own box, so a window in its corner
        covers the corner of the box with the survey's normal overlap.
        """
        # RA grows to the left: a western brick has the field's corner at its left edge.
        far = BRICK_SIDE_PX - self.image_size_px
        x0 = 0 if self.position % 2 == 0 else far
        y0 = far if self.position < 2 else 0
        middle = BRICK_SIDE_PX / 2 - 0.5
        return TangentPlane(
            self.brick.ra_deg,
            self.brick.dec_deg,
            middle - x0,
            middle - y0,
            OPTICAL_PIXEL_SCALE_ARCSEC,
            self.image_size_px,
            self.image_size_px,
        )

    @property
    def wise(self) -> TangentPlane:
        """The WISE image: same extent, tangent at the centre of the window, as legacypipe does."""
        optical = self.optical
        middle = np.array([(self.image_size_px - 1) / 2])
        ra_deg, dec_deg = optical.pixel_to_sky(middle, middle)
        side = int(self.image_size_px * OPTICAL_PIXEL_SCALE_ARCSEC / WISE_PIXEL_SCALE_ARCSEC)
        return TangentPlane(
            float(ra_deg[0]),
            float(dec_deg[0]),
            (side - 1) / 2,
            (side - 1) / 2,
            WISE_PIXEL_SCALE_ARCSEC,
            side,
            side,
        )


def is_primary(brick: Brick, ra_deg: FloatArray, dec_deg: FloatArray) -> NDArray[np.bool_]:
    """Whether positions, shape (n,), lie in the brick's own half-open box."""
    in_ra = (ra_deg >= brick.ra1_deg) & (ra_deg < brick.ra2_deg)
    return np.asarray(in_ra & (dec_deg >= brick.dec1_deg) & (dec_deg < brick.dec2_deg))


def outside_box(brick: Brick, plane: TangentPlane) -> NDArray[np.bool_]:
    """Pixels outside the brick's own box (NPRIMARY), shape (height, width).

    A meridian is a straight line in a gnomonic image; a parallel is found per column by iteration.
    """
    pixel_rad = np.radians(plane.pixel_arcsec / 3600.0)
    dec0 = np.radians(plane.dec_deg)
    x_px, y_px = np.arange(plane.width_px, dtype=float), np.arange(plane.height_px, dtype=float)
    down = np.cos(dec0) - (y_px - plane.y_px) * pixel_rad * np.sin(dec0)
    left, right = (
        plane.x_px - np.tan(np.radians(edge - plane.ra_deg)) * down / pixel_rad
        for edge in (brick.ra2_deg, brick.ra1_deg)
    )
    edges_y = []
    for edge in (brick.dec1_deg, brick.dec2_deg):
        y = np.full(plane.width_px, plane.y_px)
        for _ in range(4):
            _, dec_deg = plane.pixel_to_sky(x_px, y)
            y = y + (edge - dec_deg) * 3600.0 / plane.pixel_arcsec
        edges_y.append(y)
    outside = (x_px[None, :] <= left[:, None]) | (x_px[None, :] > right[:, None])
    outside |= (y_px[:, None] < edges_y[0][None, :]) | (y_px[:, None] >= edges_y[1][None, :])
    return np.asarray(outside)


def field_corners(seed: int, num_fields: int, image_size_px: int) -> list[tuple[int, int, int]]:
    """Brick corners of the mock's fields, as (row, column, column of the row above).

    The bricks (row, column), (row, column + 1), (row + 1, upper) and (row + 1, upper + 1) meet
    there. Rows have different numbers of columns, so corners are drawn until the edges of two rows
    agree to 12 arcsec. Every second field (0, 2, ...) straddles a HEALPix boundary.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    columns = columns_per_row()
    corners: list[tuple[int, int, int]] = []
    taken: list[tuple[float, float]] = []
    while len(corners) < num_fields:
        sin_dec = rng.uniform(np.sin(np.radians(-60)), np.sin(np.radians(30)), 20_000)
        row = np.round((np.degrees(np.arcsin(sin_dec)) + 90) / BRICK_SIDE_DEG).astype(np.int64)
        ra_deg = rng.uniform(5, 355, row.size)
        column = np.floor(ra_deg / 360 * columns[row]).astype(np.int64)
        corner_deg = (column + 1) * 360 / columns[row]
        upper = np.round(corner_deg / 360 * columns[row + 1]).astype(np.int64) - 1
        dec_deg = (row + 0.5) * BRICK_SIDE_DEG - 90
        cos_dec = np.cos(np.radians(dec_deg))
        offset_arcsec = np.abs((upper + 1) * 360 / columns[row + 1] - corner_deg) * 3600 * cos_dec
        reach_deg = max(image_size_px * OPTICAL_PIXEL_SCALE_ARCSEC / 3600 - 0.008, 0.008)
        steps = np.linspace(-1, 1, 7) * reach_deg
        grid_ra = corner_deg[:, None, None] + steps[None, :, None] / cos_dec[:, None, None]
        grid_dec = dec_deg[:, None, None] + steps[None, None, :]
        shape = np.broadcast_shapes(grid_ra.shape, grid_dec.shape)
        good = np.flatnonzero(offset_arcsec < 12)
        ra_good, dec_good = (np.broadcast_to(a, shape)[good] for a in (grid_ra, grid_dec))
        pixels = radec_to_pixel(ra_good.ravel(), dec_good.ravel(), PARTITION_ORDER)
        pixels = pixels.reshape(good.size, -1)
        share = (pixels == np.median(pixels, axis=1)[:, None]).mean(axis=1)
        straddles = (share > 0.25) & (share < 0.75)
        for i, straddling in zip(good, straddles, strict=True):
            far = all(
                abs(dec_deg[i] - d) > 1 or abs(corner_deg[i] - a) * cos_dec[i] > 1 for a, d in taken
            )
            if far and bool(straddling) == (len(corners) % 2 == 0):
                corners.append((int(row[i]), int(column[i]), int(upper[i])))
                taken.append((float(corner_deg[i]), float(dec_deg[i])))
                if len(corners) == num_fields:
                    break
    return corners


def field_bricks(
    corner: tuple[int, int, int], field: int, bricks_per_field: int, image_size_px: int
) -> list[MockBrick]:
    """The bricks of one field, in the order south-west, south-east, north-west, north-east.

    West is the side of smaller RA.
    """
    row, column, upper = corner
    places = [(row, column), (row, column + 1), (row + 1, upper), (row + 1, upper + 1)]
    return [
        MockBrick(brick_at(r, c), r, c, field, position, image_size_px)
        for position, (r, c) in enumerate(places[:bricks_per_field])
    ]
