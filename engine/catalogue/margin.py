"""The margin of a pixel: the rows outside it and within a radius of its boundary.

Without it a cross-match loses the pairs that a pixel's edge parts. The rows are those within the
radius itself, to 2e-5 arcsec; other writers of HATS margins keep whole small pixels around it.

References
----------
HEALPix geometry: Gorski et al. 2005, ApJ 622, 759.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from partitions.healpix import (
    SPATIAL_INDEX_ORDER,
    Pixel,
    boundary_vectors,
    cells_from_edge,
    neighbours,
    radec_to_vectors,
)

LEAST_CELL_STRETCH = 0.6
"""Least angle, in radian, of a step through 1 / 2**order of a base pixel, times 2**order.

Where HEALPix squeezes most (along the edges between base pixels near the poles) it is 0.656.
"""

_ARCSEC = np.pi / 180 / 3600


def rows_in_margins(
    ra_deg: npt.NDArray[np.float64],
    dec_deg: npt.NDArray[np.float64],
    spatial_index: npt.NDArray[np.int64],
    pixel: Pixel,
    radius_arcsec: float,
) -> dict[Pixel, npt.NDArray[np.int64]]:
    """Which rows of one pixel lie in the margins of its neighbours.

    Parameters
    ----------
    ra_deg, dec_deg, spatial_index
        (N,) positions, all of them inside `pixel`, and their order-29 indices.
    radius_arcsec
        At most 10 arcsec up to order 13: what is further than the neighbours is not looked at.

    Returns
    -------
    Neighbour -> numbers of the rows within the radius of its boundary, ascending; neighbours
    without such rows are left out.
    """
    reach = int(np.ceil(radius_arcsec * _ARCSEC / LEAST_CELL_STRETCH * 2**SPATIAL_INDEX_ORDER)) + 1
    near = np.flatnonzero(cells_from_edge(spatial_index, pixel) <= reach)
    if not len(near):
        return {}
    vectors = radec_to_vectors(ra_deg[near], dec_deg[near])
    margins = {}
    for neighbour in neighbours(pixel):
        distance = boundary_distance_arcsec(vectors, neighbour, radius_arcsec)
        rows = near[distance <= radius_arcsec]
        if len(rows):
            margins[neighbour] = rows
    return margins


def boundary_distance_arcsec(
    vectors: npt.NDArray[np.float64], pixel: Pixel, radius_arcsec: float
) -> npt.NDArray[np.float64]:
    """(N, 3) unit vectors -> (N,) distance to the pixel's boundary; infinite beyond the radius.

    The boundary is a polygon with sides under 1 arcsec, and at least 2,048 of them along an edge
    because edges bend on the scale of their pixel.
    """
    polygon = boundary_vectors(pixel, max(1 << max(18 - pixel.order, 0), 2048))
    longest = float(np.sqrt(((polygon - np.roll(polygon, 1, axis=0)) ** 2).sum(axis=1).max()))
    # Chords stand for arcs: at 10 arcsec they differ by 1e-9 arcsec.
    tree = cKDTree(polygon, balanced_tree=False, compact_nodes=False)
    _, corner = tree.query(vectors, distance_upper_bound=radius_arcsec * _ARCSEC + longest)
    distance = np.full(len(vectors), np.inf)
    found = np.flatnonzero(corner < len(polygon))
    for step in (-1, 1):
        ends = polygon[corner[found]], polygon[(corner[found] + step) % len(polygon)]
        to_side = _segment_distance(vectors[found], *ends) / _ARCSEC
        distance[found] = np.minimum(distance[found], to_side)
    distance[distance > radius_arcsec] = np.inf
    return distance


def _segment_distance(
    points: npt.NDArray[np.float64], begin: npt.NDArray[np.float64], end: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """(N,) distance between each point and its straight segment, all (N, 3)."""
    along = end - begin
    place = ((points - begin) * along).sum(axis=1) / (along**2).sum(axis=1)
    foot = begin + np.clip(place, 0.0, 1.0)[:, None] * along
    return np.asarray(np.sqrt(((points - foot) ** 2).sum(axis=1)))
