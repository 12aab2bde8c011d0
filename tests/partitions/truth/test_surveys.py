"""The packaged table of surveys, against the criteria of Wei et al. 2025."""

from __future__ import annotations

import pytest

from partitions.bricks import SurveyError
from partitions.truth.surveys import find_survey, survey_table

# The sample's table, survey by survey: what a row must meet.
CRITERIA = {
    "sdss": ["ZWARNING = 0"],
    "desi-sv3": ["SURVEY = sv3", "OBJTYPE = TGT", "ZWARN = 0", "ZERR < 0.01"],
    "desi-sv1": ["SURVEY = sv1", "OBJTYPE = TGT", "ZWARN = 0", "ZERR < 0.01"],
    "2dfgrs": ["q_z in 3, 4"],
    "primus": ["ZQUALITY in 3, 4"],
    "zcosmos": ["3 <= cc <= 5"],
    "lamost": ["z_err >= 0", "z_err <= 0.01"],
    "gama": ["NQ = 4"],
    "vipers": ["whole part of zflg in 3, 4"],
    "wigglez": ["q_z in 4, 5"],
    "vvds": ["ZFLAGS = 4"],
    "fcosmos": ["ZFLAG >= 3"],
    "6dfgs": ["q_cz = 4"],
    "ozdes": ["qop = 4"],
    "c3r2": ["Qual >= 3"],
    "deep2": ["ZQUALITY >= 3"],
}


def test_the_sixteen_surveys_and_their_criteria() -> None:
    surveys = survey_table().surveys
    assert [key for key in surveys if key in CRITERIA] == list(CRITERIA)
    assert surveys.keys() - CRITERIA.keys() == {"desi", "generic"}
    for key, criterion in CRITERIA.items():
        assert [str(cut) for cut in surveys[key].cuts] == criterion
    assert [survey.priority for survey in surveys.values()] == list(range(len(surveys)))


def test_every_survey_says_where_its_columns_come_from() -> None:
    for survey in survey_table().surveys.values():
        assert survey.reference
        assert survey.columns_checked
        assert {"ra", "dec", "z"} <= survey.names.keys()


@pytest.mark.parametrize("name", ["DESI SV3", "desi_sv3", "Desi-SV3", "desisv3"])
def test_names_are_forgiving(name: str) -> None:
    assert find_survey(name).key == "desi-sv3"


@pytest.mark.parametrize(("name", "nearest"), [("sdsss", "sdss"), ("Vipres", "vipers")])
def test_an_unknown_survey_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(SurveyError, match=f"did you mean '{nearest}'"):
        find_survey(name)
