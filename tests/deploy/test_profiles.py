"""Machine profiles, and the cluster that one describes."""

from pathlib import Path

import pytest

from deploy.cluster import open_cluster
from deploy.profiles import MachineProfile, ProfileError, read_profile

SHIPPED = sorted((Path(__file__).parents[2] / "deploy").glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_profiles_are_valid(path: Path) -> None:
    assert read_profile(path).workers >= 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("workerz = 2", "did you mean 'workers'"),
        ('kind = "cloud"', "kind='cloud'"),
        ("workers = 0", "at least 1"),
        ("workers = ", "cannot be read"),
        ('workers = "two"', "workers='two'"),
        ('memory_limit = "lots"', "memory_limit='lots'"),
        ('local_directory = "/nowhere/at/all"', "is no folder"),
    ],
)
def test_bad_profiles(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(ProfileError, match=words):
        read_profile(tmp_path / "m.toml")


def test_workers_listen_on_loopback_and_run_one_thread() -> None:
    with open_cluster(MachineProfile(), 1, Path()) as cluster:
        info = cluster.client.scheduler_info(n_workers=-1)
        assert info["address"].startswith("tcp://127.0.0.1:")
        (worker,) = info["workers"].values()
        assert worker["nthreads"] == 1
        assert worker["host"] == "127.0.0.1"
