"""The consensus of a film: STAPLE as SimpleITK's, kept with its inputs, new where a drawing changed, locked before."""

from pathlib import Path

import numpy as np
import pytest
from annotated_cases import film_number, finish, image_of, project_of
from sqlalchemy.orm import Session
from xai_bench_annotations.drawings import Brush, Label, LabelSchema
from xai_bench_annotations.films.raster import decode_runs, mask_of
from xai_bench_annotations.results.consensus import ALL_METHODS, agree, consensus_of, keep
from xai_bench_annotations.server.database import Database
from xai_bench_annotations.server.refusals import Refusal
from xai_bench_annotations.server.tables import Consensus

from xai_bench.agreement import reader_rates
from xai_bench.consensus import METHODS, soft_mean
from xai_bench.errors import BadInput

AREA = LabelSchema(
    labels=[
        Label(code="apex", name="Apex", color="#e76f51"),
        Label(code="cobb", name="Cobb", color="#4895ef", kinds=["cobb"], required=False),
    ]
)
SHAPE = (60, 50)


def votes_of(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(count)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    truth = (y - 30) ** 2 / 18**2 + (x - 25) ** 2 / 12**2 < 1
    return {f"reader{n}": np.where(truth, rng.random(SHAPE) < 0.85, rng.random(SHAPE) < 0.04) for n in range(count)}


def drawn(folder: Path, votes: dict[str, np.ndarray]) -> Database:
    database = project_of(folder, [film_number(0)], list(votes), AREA)
    for who, mask in votes.items():
        finish(database, 1, who, {"apex": [mask]})
    return database


def made(database: Database, method: str = "majority", label: str = "apex") -> Consensus:
    with database.writing() as session:
        found = consensus_of(session, image_of(database), label, method)
        keep(session, found)
        return found


def mask(found: Consensus) -> np.ndarray:
    assert found.mask is not None
    return mask_of(Brush.model_validate(found.mask), SHAPE)


@pytest.mark.parametrize("count", [3, 5, 8])
def test_staple_is_that_of_simpleitk(tmp_path: Path, count: int) -> None:
    sitk = pytest.importorskip("SimpleITK")
    votes = votes_of(count)
    found = made(drawn(tmp_path, votes), "staple")
    staple = sitk.STAPLEImageFilter()
    theirs = sitk.GetArrayFromImage(
        staple.Execute([sitk.GetImageFromArray(v.astype(np.uint8)) for v in votes.values()])
    )
    assert np.array_equal(mask(found), theirs >= 0.5)
    for who, sensitivity, specificity in zip(votes, staple.GetSensitivity(), staple.GetSpecificity(), strict=True):
        assert found.rates[who]["sensitivity"] == pytest.approx(sensitivity, abs=1e-5)
        assert found.rates[who]["specificity"] == pytest.approx(specificity, abs=1e-5)


@pytest.mark.parametrize("method", ["majority", "union", "intersection"])
def test_a_mask_and_each_readers_rates_against_it(tmp_path: Path, method: str) -> None:
    votes = votes_of(4)
    found = made(drawn(tmp_path, votes), method)
    expected = METHODS[method](list(votes.values()))
    assert np.array_equal(mask(found), expected)
    for who, own in votes.items():
        rates = reader_rates(own, expected)
        assert found.rates[who] == {"sensitivity": rates[0], "specificity": rates[1], "reason": None}


def test_the_soft_mean_is_kept_by_levels(tmp_path: Path) -> None:
    votes = votes_of(3)
    found = made(drawn(tmp_path, votes), "soft_mean")
    assert found.mask is not None
    share = np.zeros(SHAPE)
    for level in found.mask["levels"]:
        share[decode_runs(level["counts"], SHAPE)] = level["share"]
    assert np.array_equal(share, soft_mean(list(votes.values())))


def test_it_is_kept_and_names_what_it_was_made_from(tmp_path: Path) -> None:
    votes = votes_of(3)
    database = drawn(tmp_path, votes)
    first = made(database)
    assert made(database).id == first.id
    assert sorted(first.readers) == sorted(votes) and set(first.inputs.values()) == {1} and len(first.inputs) == 3
    finish(database, 1, "reader1", {"apex": [votes["reader0"]]})
    second = made(database)
    assert second.id != first.id and second.inputs != first.inputs
    finish(database, 1, "reader1", {"apex": []})
    third = made(database)
    assert len(third.inputs) == 2 and third.readers == first.readers
    with database.reading() as session:
        assert session.query(Consensus).count() == 3  # never overwritten


def test_nobody_marked_anything(tmp_path: Path) -> None:
    database = project_of(tmp_path, [film_number(0)], ["anna", "ben"], AREA)
    for who in ("anna", "ben"):
        finish(database, 1, who, {"apex": []})
    for method in ALL_METHODS:
        found = made(database, method)
        assert found.mask is None
        for rates in found.rates.values():
            assert rates["sensitivity"] is None and rates["specificity"] == 1 and rates["reason"]


def test_staple_that_does_not_converge_is_refused() -> None:
    rng = np.random.default_rng(0)
    votes = {who: rng.random(SHAPE) < 0.4 for who in ("anna", "ben", "carl")}
    with pytest.raises(BadInput, match="did not converge"):
        agree(votes, "staple")


def refused(session: Session, image: str, label: str = "apex", method: str = "majority") -> Refusal:
    with pytest.raises(Refusal) as found:
        consensus_of(session, image, label, method)
    return found.value


def test_it_is_locked_while_a_first_reading_is_open_and_repeats_have_no_vote(tmp_path: Path) -> None:
    votes = votes_of(3)
    database = project_of(tmp_path, [film_number(n) for n in range(3)], list(votes), AREA, repeats=0.4)
    for who in ("reader0", "reader1"):
        finish(database, 1, who, {"apex": [votes[who]]})
    with database.reading() as session:
        assert refused(session, image_of(database)).status == 423
    finish(database, 1, "reader2", {"apex": [votes["reader2"]]})
    found = made(database)
    assert len(found.inputs) == 3
    with database.reading() as session:
        again = list(session.get_one(Consensus, found.id).readers)
    assert again == ["reader0", "reader1", "reader2"]


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    database = drawn(tmp_path, votes_of(2))
    with database.reading() as session:
        image = image_of(database)
        assert refused(session, "0" * 32).status == 404
        assert "it has apex" in str(refused(session, image, "cobb"))
        with pytest.raises(BadInput, match="Did you mean 'majority'"):
            consensus_of(session, image, "apex", "majorty")
    alone = drawn(tmp_path / "alone", votes_of(1))
    with alone.reading() as session, pytest.raises(BadInput, match="needs two readers or more"):
        consensus_of(session, image_of(alone), "apex")
