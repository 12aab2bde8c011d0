"""Machine profiles: those that come with the package, and mistakes in one."""

from pathlib import Path

import pytest

from deploy.profiles import KINDS, ProfileError, find_profile, read_profile, shipped_profiles

SHIPPED = sorted((Path(__file__).parents[2] / "deploy").glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_profiles_are_valid(path: Path) -> None:
    profile = read_profile(path)
    assert profile.workers >= (0 if profile.kind == "cuda" else 1)


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
        ("[limits]\ndeaths = 0", "at least 1"),
        ("[limits]\nbrick_minutes = nan", "minutes above 0"),
        ("[limits]\ndrain_seconds = -1.0", "at least 0"),
        (
            'kind = "slurm"\nmemory_limit = "1GB"\n[slurm]\nwarning_seconds = 60',
            "at most 30 with slurm.warning_seconds=60",
        ),
    ],
)
def test_bad_profiles(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(ProfileError, match=words):
        read_profile(tmp_path / "m.toml")


def test_every_kind_has_a_profile_that_says_what_it_is() -> None:
    found = [read_profile(path) for path in shipped_profiles().values()]
    assert {profile.kind for profile in found} == set(KINDS)
    assert all(profile.summary for profile in found)


def test_a_profile_is_found_by_name_or_path(tmp_path: Path) -> None:
    assert find_profile("laptop") == shipped_profiles()["laptop"]
    assert find_profile("mine.toml") == Path("mine.toml")
    assert find_profile(str(tmp_path / "mine")) == tmp_path / "mine"
    with pytest.raises(ProfileError, match="did you mean 'slurm-cpu'"):
        find_profile("slurm-cpus")
