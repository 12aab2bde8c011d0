"""What a plan will cost: bytes, memory and time, before a pixel is read."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from engine.file_states import FileStates
from engine.plan import RunPlan
from model.predict import Predictor
from partitions.build import arrays_nbytes
from partitions.dr10 import read_coadd_shape
from partitions.photometry import FEATURE_NAMES
from partitions.schema import BANDS, OPTICAL_BANDS, WISE_BANDS, StampSize

# Measured with benchmarks/throughput.py on one core of an x86-64 server; see benchmarks/results.
_SECONDS_PER_MEGAPIXEL = 0.032
"""Reading, decompressing and masking one band of one brick."""
_SECONDS_PER_ROW = 1e-4
"""Stamps, features and Zarr, the network left out."""
_PROCESS_BYTES = 450e6
"""An idle worker: Python with torch, astropy, zarr and pyarrow loaded."""
_BYTES_PER_PIXEL = 24
"""Working memory for one decoded band: file, float32 image, masks, float16 copy, counts."""
_OPTICAL_IMAGES = {f"image-{band}" for band in OPTICAL_BANDS}
_MAX_TRIED = 100
"""Bricks whose header is tried for the size of an image; all of them are the same size."""
_CATALOGUE_BYTES_PER_ROW = 200
"""Parquet, measured on mock rows; fragments and leaves are both kept."""


@dataclass(frozen=True)
class Projection:
    """The expected cost of a run."""

    num_partitions: int
    num_bricks: int
    num_rows: int
    input_bytes: int
    output_bytes: int
    """Fragments and catalogue, arrays not kept."""
    arrays_bytes: int
    """Zarr arrays of all bricks, written only where they are kept."""
    worker_memory_bytes: int
    """Peak of one worker: the brick with the most rows, and a partition's output rows."""
    worker_seconds: float
    """Of one worker; divide by the number of workers."""
    network_sources_per_s: float
    """Measured on this machine; 0 if no predictor was given."""


def project(plan: RunPlan, predictor: Predictor | None = None) -> Projection:
    """Project the cost of a plan; with a predictor the network's speed is measured (one second)."""
    by_rows = sorted(plan.bricks(), key=lambda planned: planned.num_rows or 0, reverse=True)
    with_images = [planned for planned in by_rows if _num_images(planned.files)]
    shapes = (
        read_coadd_shape(plan.survey, planned.brick.name) for planned in with_images[:_MAX_TRIED]
    )
    height, width = next((shape for shape in shapes if all(shape)), (0, 0))
    num_images = sum(_num_images(planned.files) for planned in with_images)
    max_rows = by_rows[0].num_rows or 0
    partition_rows = max(
        (sum(planned.num_rows or 0 for planned in part.bricks) for part in plan.partitions),
        default=0,
    )
    rate = measure_network(predictor, plan.stamp_size) if predictor is not None else 0.0
    seconds = num_images * height * width / 1e6 * _SECONDS_PER_MEGAPIXEL
    seconds += plan.num_rows * _SECONDS_PER_ROW
    if rate:
        seconds += plan.num_rows / rate
    return Projection(
        num_partitions=len(plan.partitions),
        num_bricks=plan.num_bricks,
        num_rows=plan.num_rows,
        input_bytes=plan.num_bytes,
        output_bytes=2 * plan.num_rows * _CATALOGUE_BYTES_PER_ROW,
        arrays_bytes=arrays_nbytes(plan.num_rows, plan.stamp_size),
        worker_memory_bytes=int(
            _PROCESS_BYTES
            + height * width * _BYTES_PER_PIXEL
            + 2 * arrays_nbytes(max_rows, plan.stamp_size)
            + 2 * partition_rows * _CATALOGUE_BYTES_PER_ROW
        ),
        worker_seconds=seconds,
        network_sources_per_s=rate,
    )


def _num_images(files: FileStates) -> int:
    """Optical images of a brick."""
    return sum(kind in _OPTICAL_IMAGES for kind in files.as_dict())


def measure_network(predictor: Predictor, stamp_size: StampSize, num_batches: int = 4) -> float:
    """Sources/s of the network alone, on blank sources, after one batch of warming up."""
    num_sources = predictor.batch_size

    def blank(*shape: int, dtype: type = np.float32) -> np.ndarray:
        return np.zeros((num_sources, *shape), dtype=dtype)

    arrays = {
        "optical": blank(
            len(OPTICAL_BANDS), stamp_size.optical_px, stamp_size.optical_px, dtype=np.float16
        ),
        "wise": blank(len(WISE_BANDS), stamp_size.wise_px, stamp_size.wise_px, dtype=np.float16),
        "features": blank(len(FEATURE_NAMES)),
        "flux": blank(len(BANDS)),
        "flux_ivar": blank(len(BANDS)),
        "mw_transmission": blank(len(BANDS)) + 1,
        "coverage": blank(len(BANDS)),
        "ebv": blank(),
        "quality": blank(dtype=np.int32),
    }
    predictor.predict(arrays)
    begin = time.perf_counter()
    for _ in range(num_batches):
        predictor.predict(arrays)
    return num_batches * num_sources / (time.perf_counter() - begin)
