"""A tiny synthetic survey as stored arrays: fluxes and stamps that depend on redshift."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from model.dataset import TrainingSet
from model.network import CompactConfig
from model.predict import cpu_threads
from model.train import TrainConfig, train
from model.weights import Weights
from partitions.photometry import photometric_features
from partitions.schema import BANDS, EXTINCTION_COEFFICIENT

Arrays = dict[str, npt.NDArray[Any]]
NOISE = np.array([0.004, 0.008, 0.01, 0.02, 1.5, 4.0])
PEAK = np.array([0.2, 0.5, 0.9, 1.3, 1.8, 2.6])


def _blob(side_px: int, sigma_px: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(N, S, S) Gaussians of unit sum around pixel S // 2."""
    offset = (np.arange(side_px) - side_px // 2)[None, :]
    profile = np.exp(-0.5 * (offset / sigma_px[:, None]) ** 2)
    blob = profile[:, :, None] * profile[:, None, :]
    return blob / blob.sum(axis=(1, 2), keepdims=True)


def make_arrays(num_sources: int, seed: int = 0, optical_px: int = 32, wise_px: int = 8) -> Arrays:
    """Arrays of one brick with the true redshift as `z_true`; every band present."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(0.02, 1.5, num_sources)
    magnitude = rng.uniform(18, 21, num_sources)
    # A redshift-dependent bump moves through the bands: the colours determine z.
    shape = 0.3 + np.exp(-0.5 * ((z[:, None] - PEAK) / 0.45) ** 2)
    ebv = rng.uniform(0.0, 0.2, num_sources)
    coefficient = np.array([EXTINCTION_COEFFICIENT[band] for band in BANDS])
    transmission = 10 ** (-0.4 * coefficient * ebv[:, None])
    flux = shape * 10 ** (0.4 * (22.5 - magnitude))[:, None] * transmission
    error = 3 * NOISE * np.array([1, 1, 1, 1, 0.2, 0.2])
    flux = flux + rng.normal(size=flux.shape) * error
    radii = {band: np.linspace(0.3, 0.95, 8 if len(band) == 1 else 5) for band in BANDS}
    apertures = {band: flux[:, [i]] * radii[band] for i, band in enumerate(BANDS)}
    ivar = np.broadcast_to(error**-2.0, flux.shape).astype(np.float32)
    arrays: Arrays = {
        "flux": flux.astype(np.float32),
        "flux_ivar": ivar.copy(),
        "mw_transmission": transmission.astype(np.float32),
        "coverage": np.ones((num_sources, 6), np.float32),
        "ebv": ebv.astype(np.float32),
        "features": photometric_features(flux, ivar, apertures, transmission, ebv),
        "ra_deg": rng.uniform(150.0, 151.0, num_sources),
        "dec_deg": rng.uniform(2.0, 3.0, num_sources),
        "quality": np.zeros(num_sources, np.int32),
        "z_true": z,
    }
    for name, side, bands, width in (
        ("optical", optical_px, slice(0, 4), 3 - z),
        ("wise", wise_px, slice(4, 6), 1.2 + 0 * z),
    ):
        stamps = flux[:, bands, None, None] * _blob(side, width)[:, None]
        noise = rng.normal(size=stamps.shape) * (0.3 * NOISE[bands])[:, None, None]
        arrays[name] = (stamps + noise).astype(np.float16)
    return arrays


def training_set(arrays: Arrays, optical_px: int = 32, wise_px: int = 8) -> TrainingSet:
    """All rows of the arrays."""
    return TrainingSet.from_arrays(arrays, arrays["z_true"], optical_px, wise_px)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """One torch thread: for tiny networks more only wait for each other on a busy machine."""
    with cpu_threads(1):
        yield


@pytest.fixture(scope="session")
def arrays_of() -> Callable[..., Arrays]:
    """The maker of synthetic arrays."""
    return make_arrays


@pytest.fixture(scope="session")
def small_network() -> CompactConfig:
    """The default network, made small."""
    return CompactConfig(
        num_bins=60, optical_px=16, optical_channels=(16, 16), wise_channels=16, hidden=48
    )


@pytest.fixture(scope="session")
def tiny_set() -> TrainingSet:
    """600 synthetic rows."""
    return training_set(make_arrays(600, seed=1))


@pytest.fixture(scope="session")
def quick() -> TrainConfig:
    """A few epochs of small batches."""
    return TrainConfig(epochs=3, batch_size=64, learning_rate=3e-3, z_max=2.0)


@pytest.fixture(scope="session")
def tiny_weights(
    tiny_set: TrainingSet, quick: TrainConfig, small_network: CompactConfig
) -> Weights:
    """Weights of a short training on the synthetic rows."""
    return train(tiny_set, quick, small_network)
