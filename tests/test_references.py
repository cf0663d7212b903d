"""References that a study asks for: patterns, consensus of a film's own readers, one column of leave-one-out scores."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.consensus import METHODS, references
from xai_bench.datasets.image_folder import ImageFolder
from xai_bench.errors import BadInput
from xai_bench.inputs import Input, Resize
from xai_bench.pictures import Pictures
from xai_bench.progress import Progress
from xai_bench.protocols import Batch, Case, Result, ScoreInfo
from xai_bench.references import (
    Consensus,
    check_readers,
    check_regions,
    completed,
    consensus_key,
    is_wanted,
    leave_one_out_together,
    with_consensus,
)
from xai_bench.reporting.estimates import estimates
from xai_bench.running.benchmark import evaluate
from xai_bench.running.workbench import Counter
from xai_bench.samples import Fixed, Region, RegionKey, Sample
from xai_bench.study import Chosen, Given, Study

QUIET = Progress(quiet=True)
MAJORITY, EACH = "consensus:majority", "consensus:majority:without:*"
NOT_READ, NOTHING = Region("not_read"), Region("marked_nothing")


def drawn(*pixels: int) -> Region:
    """A region on a film of one row and six columns."""
    mask = np.zeros((1, 6), bool)
    mask[0, list(pixels)] = True
    return Region("drawn", mask)


def film(readers: Mapping[str, Region], name: str = "R1") -> dict[RegionKey, Region]:
    return {RegionKey(name, reader): region for reader, region in readers.items()}


def pixels(region: Region) -> list[int]:
    assert region.mask is not None
    return np.flatnonzero(region.mask).tolist()


@pytest.mark.parametrize("reference", [MAJORITY, EACH, "consensus:staple", "consensus:union:without:dr: x"])
def test_a_consensus_is_taken_apart_and_put_together(reference: str) -> None:
    consensus = Consensus.of(reference)
    assert consensus is not None and consensus.reference == reference


def test_what_is_no_consensus_is_a_reader() -> None:
    assert Consensus.of("derived") is None and Consensus.of("anna#2") is None


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("consensus:majorty", "'majorty' is not known; use majority, staple.*Did you mean 'majority'"),
        ("consensus:", "'' is not known"),
        ("consensus:majority:with:anna", "'majority:with:anna' is not known"),
        ("consensus:majority:without:", "leaves out nobody; name a reader"),
    ],
)
def test_an_ill_formed_consensus_is_refused_when_the_study_is_made(
    side_films: Fixed, side_classifier: Classifier, reference: str, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        Study("s", side_films, (Given("given", side_classifier),), references=(reference,))


def test_wanted_references() -> None:
    assert is_wanted("anna", ()) and is_wanted("derived", ("derived",)) and not is_wanted("anna", ("derived",))
    assert not is_wanted("anna#2", ("anna",))
    assert is_wanted("consensus:majority:without:anna", (EACH,)) and not is_wanted(MAJORITY, (EACH,))
    assert not is_wanted("consensus:staple:without:anna", (EACH,))
    assert not is_wanted("consensus:majority:without:anna", ("consensus:majority:without:ben",))


states = st.one_of(
    st.sampled_from([NOT_READ, NOTHING]),
    st.sets(st.integers(0, 5), min_size=1).map(lambda s: drawn(*s)),
)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(["anna", "ben", "carl", "dora"]), states), st.sampled_from(sorted(METHODS)))
def test_equals_the_consensus_of_those_who_voted(readers: dict[str, Region], method: str) -> None:
    wanted = (f"consensus:{method}", f"consensus:{method}:without:*", f"consensus:{method}:without:ben")
    found = with_consensus(film(readers), wanted)
    empty = np.zeros((1, 6), bool)
    votes = {r: empty if x.mask is None else x.mask for r, x in readers.items() if x.state != "not_read"}
    expected = references(votes, method) if len(votes) > 1 else {}
    others = {r: m for r, m in votes.items() if r != "ben"}
    if others:  # one other is enough, and nobody need have read whom one leaves out
        expected[wanted[2]] = METHODS[method](list(others.values()))
    made = {key.reference: region for key, region in found.items() if key not in film(readers)}
    assert {r for r, x in made.items() if x.state != "not_read"} == set(expected)
    for reference, mask in expected.items():
        assert made[reference].state == ("drawn" if mask.any() else "marked_nothing")
        assert not mask.any() or np.array_equal(made[reference].mask, mask)


def test_who_has_not_read_has_no_vote_and_who_marked_nothing_has_an_empty_one() -> None:
    readers = {"anna": drawn(0, 1), "ben": drawn(1, 2), "carl": NOTHING, "dora": NOT_READ}
    found = with_consensus(film(readers), (MAJORITY, EACH))
    assert pixels(found[RegionKey("R1", MAJORITY)]) == [1]
    assert pixels(found[RegionKey("R1", f"{MAJORITY}:without:carl")]) == [1]
    assert found[RegionKey("R1", f"{MAJORITY}:without:anna")].state == "marked_nothing"
    assert RegionKey("R1", f"{MAJORITY}:without:dora") not in found


def test_one_voter_makes_no_consensus_two_are_each_other_s_reference() -> None:
    one = with_consensus(film({"anna": drawn(0), "ben": NOT_READ}), (MAJORITY, EACH))
    assert one[RegionKey("R1", MAJORITY)].state == "not_read"
    assert one[RegionKey("R1", f"{MAJORITY}:without:anna")].state == "not_read"
    two = with_consensus(film({"anna": drawn(0, 1), "ben": drawn(1)}), (EACH,))
    assert pixels(two[RegionKey("R1", f"{MAJORITY}:without:anna")]) == [1]
    assert pixels(two[RegionKey("R1", f"{MAJORITY}:without:ben")]) == [0, 1]


def test_truth_and_repeat_reads_have_no_vote_and_regions_do_not_mix() -> None:
    regions = film({"derived": drawn(5), "anna": drawn(0), "anna#2": drawn(3), "ben": drawn(0, 1)})
    regions |= film({"derived": drawn(4)}, "marker") | film({"anna": drawn(2), "ben": drawn(2)}, "R2")
    found = with_consensus(regions, ("derived", MAJORITY, EACH))
    assert pixels(found[RegionKey("R1", MAJORITY)]) == [0] and pixels(found[RegionKey("R2", MAJORITY)]) == [2]
    assert {k.reference for k in found if k.name == "marker"} == {"derived"}
    assert regions.items() <= found.items()
    assert with_consensus(regions, ("derived", "anna")) == regions


def with_readers(sample: Sample) -> Sample:
    """Three readers of the square: too far left, too far right, right; carl reads every second film."""
    (mask,) = [r.mask for r in sample.read_regions().values()]
    carl = NOT_READ if int(sample.id[-1]) % 2 else Region("drawn", mask)
    moved = {"anna": np.roll(mask, -2, 1), "ben": np.roll(mask, 2, 1)}
    regions = {RegionKey("square", "derived"): Region("drawn", mask), RegionKey("square", "carl"): carl}
    regions |= {RegionKey("square", r): Region("drawn", m) for r, m in moved.items()}
    return replace(sample, read_regions=lambda: regions)


@pytest.fixture
def read_films(side_films: Fixed) -> Fixed:
    return replace(
        side_films, splits={**side_films.splits, "test": tuple(map(with_readers, side_films.splits["test"]))}
    )


def test_pictures_make_a_consensus_in_native_pixels_once_a_film(read_films: Fixed) -> None:
    count = []
    sample = read_films.splits["test"][0]
    counted = replace(sample, read_regions=lambda: (count.append(1), sample.read_regions())[1])
    pictures = Pictures({sample.id: counted}, Input(Resize(64, 48)), references=(MAJORITY, EACH))
    for _ in range(2):
        (picture,) = pictures.readable([sample.id])
    native = completed(sample, (MAJORITY,))[RegionKey("square", MAJORITY)].mask
    state, mask = picture.regions[RegionKey("square", MAJORITY)]
    assert state == "drawn" and mask is not None and native is not None
    assert torch.equal(mask, Resize(64, 48).mask(torch.from_numpy(native)))
    assert len(count) == 1


def test_masks_of_several_sizes_are_said_with_their_film() -> None:
    regions = film({"anna": drawn(0), "ben": Region("drawn", np.ones((2, 3), bool))})
    sample = Sample("film-1", "p", {}, lambda: np.zeros((1, 6), np.uint8), "d", lambda: regions)
    pictures = Pictures({"film-1": sample}, Input(Resize(1, 6)), references=(MAJORITY,))
    assert pictures.read(["film-1"], regions=True) == [None]
    assert "picture 'film-1', consensus:majority: the masks have shapes" in pictures.problems["film-1"]


def test_a_reader_whom_no_film_has_is_said_before_anything_is_computed(
    read_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    counter = Counter()
    for reference in ("anne", "consensus:majority:without:anne"):
        study = Study("s", read_films, (Given("given", side_classifier),), references=(reference,), batch_size=8)
        with counter.on(side_classifier), pytest.raises(BadInput, match=r"region by 'anne'; they have.*mean 'anna'"):
            evaluate(study, store=tmp_path, progress=QUIET)
    assert counter.evaluations == 0
    with pytest.raises(BadInput, match="Did you mean 'consensus:majority'"):
        check_readers(("majority",), read_films.splits["test"])
    with pytest.raises(BadInput, match="they have no regions"):
        check_readers(("anna",), ())


def test_a_region_that_no_film_has_is_said_before_anything_is_computed(
    read_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    names = sorted({key.name for sample in read_films.splits["test"] for key in sample.read_regions()})
    study = Study("s", read_films, (Given("given", side_classifier),), regions=(names[0], names[0] + "x"), batch_size=8)
    counter = Counter()
    with counter.on(side_classifier), pytest.raises(BadInput, match=f"{names[0]}x.*they have.*mean '{names[0]}'"):
        evaluate(study, store=tmp_path, progress=QUIET)
    assert counter.evaluations == 0
    check_regions(names, read_films.splits["test"])
    with pytest.raises(BadInput, match="they have no regions"):
        check_regions(["spine"], ())


def test_looking_for_readers_stops_at_the_first_film_that_has_them(read_films: Fixed) -> None:
    count = []

    def unreadable() -> Mapping[RegionKey, Region]:
        raise BadInput("mask is cut off.")

    def counted(s: Sample) -> Sample:
        return replace(s, read_regions=lambda: (count.append(s.id), s.read_regions())[1])

    first, *rest = read_films.splits["test"]
    films = [replace(first, read_regions=unreadable), *map(counted, rest)]
    check_readers((MAJORITY, EACH), films)
    assert not count
    check_readers(("derived", "carl", "consensus:staple:without:ben"), films)
    assert count == [rest[0].id]


@dataclass(frozen=True)
class Gray:
    """The picture itself as a map."""

    def __call__(self, classifier: Classifier, batch: Batch) -> Tensor:
        return batch.images.mean(1)


@dataclass(frozen=True)
class Inside:
    """Mean relevance inside the region, where there is one."""

    needs_region = True
    scores = {"inside": ScoreInfo("higher", headline=True)}  # noqa: RUF012 - a class constant

    def __call__(self, case: Case) -> Result:
        from xai_bench.protocols import Reason

        assert case.region is not None
        value = (case.saliency * case.region).sum((1, 2)) / case.region.sum((1, 2))
        reasons = tuple(None if s == "drawn" else Reason("excluded", s) for s in case.region_state)
        return Result({"inside": value}, reasons)


def test_a_study_scores_against_what_its_references_stand_for(
    read_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    study = Study(
        "s", read_films, (Given("given", side_classifier),), (Chosen(Gray(), "gray"),), (Chosen(Inside(), "inside"),),
        references=("derived", MAJORITY, EACH), batch_size=8,
    )  # fmt: skip
    run = evaluate(study, store=tmp_path, progress=QUIET)
    without = {f"{MAJORITY}:without:{r}" for r in ("anna", "ben", "carl")}
    assert set(run.rows.reference) == {"derived", MAJORITY, *without}
    for sample in read_films.splits["test"]:
        image = sample.read_image() / 255
        regions = completed(sample, study.references)
        own = run.rows[run.rows.picture == sample.id].set_index("reference")
        for reference in own.index:
            region = regions.get(RegionKey("square", reference), NOT_READ)
            row = own.loc[reference]
            assert row.status == ("ok" if region.state == "drawn" else "excluded")
            if region.mask is not None:
                assert row.score == pytest.approx(image[region.mask].mean(), abs=1e-5)
    columns = {e.score.reference: e for e in estimates(run)}
    assert set(columns) == {"derived", MAJORITY, f"{MAJORITY}, leave one out"}
    ok = run.rows[run.rows.reference.isin(without) & (run.rows.status == "ok")]
    expected = ok.groupby("picture").score.mean()
    together = columns[f"{MAJORITY}, leave one out"]
    assert together.films.to_dict() == pytest.approx(expected.to_dict()) and together.left_out == {}
    assert len(ok) == 8 * 3 + 8 * 2


def test_the_way_a_consensus_is_made_is_in_the_key_only_where_there_is_one() -> None:
    assert consensus_key(("derived", "anna")) == {} == consensus_key(())
    assert set(consensus_key(("derived", EACH))) == {"consensus"}


def test_default_references_are_the_data_set_s(side_films: Fixed, side_classifier: Classifier) -> None:
    @dataclass(frozen=True)
    class Read(Fixed):
        references: tuple[str, ...] = (MAJORITY,)

    films = Read(side_films.splits, side_films.heads, side_films.findings, side_films.regions)
    classifiers = (Given("given", side_classifier),)
    assert Study("s", films, classifiers).references == (MAJORITY,)
    assert Study("s", films, classifiers, references=("derived",)).references == ("derived",)
    assert Study("s", side_films, classifiers).references == ()


@pytest.mark.parametrize(("readers", "several"), [(("anna", "ben"), True), (("anna", "anna#2", "derived"), False)])
def test_a_folder_with_masks_of_two_readers_has_default_references(
    tmp_path: Path, readers: tuple[str, ...], several: bool
) -> None:
    for label in ("normal", "scoliosis"):
        for n in range(6):
            path = tmp_path / label / f"{label}{n}.png"
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), np.full((8, 8), n, np.uint8))
    for reader in readers:
        path = tmp_path / "masks" / reader / "R1" / "scoliosis0.png"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), np.full((8, 8), 255, np.uint8))
    assert ImageFolder(str(tmp_path)).references == ((MAJORITY, EACH) if several else ())


def scored(**changes: object) -> dict[str, object]:
    row = {
        "explainer": "lime", "metric": "iou", "score_name": "iou", "region": "R1", "picture": "f1", "target": "x",
        "replicate": 0, "fold": None, "confidence": np.nan, "status": "ok", "reason": "",
    }  # fmt: skip
    return row | changes


def test_leave_one_out_scores_of_a_film_are_one_number() -> None:
    out = {"status": "excluded", "reason": "region not read", "score": np.nan}
    rows = pd.DataFrame([
        scored(reference="derived", score=0.9),
        scored(reference=f"{MAJORITY}:without:anna", **out),
        scored(reference=f"{MAJORITY}:without:ben", score=0.2, reason="constant map"),
        scored(reference=f"{MAJORITY}:without:carl", score=0.6, reason="constant map"),
        scored(reference=f"{MAJORITY}:without:ben", picture="f2", **out),
        scored(reference=f"{MAJORITY}:without:carl", picture="f2", **out),
        scored(reference=f"shuffled:{MAJORITY}:without:ben", score=0.1),
        scored(reference=f"{MAJORITY}:without:ben", replicate=1, score=0.4),
    ])  # fmt: skip
    found = leave_one_out_together(rows)
    names = [f"{MAJORITY}, leave one out"] * 2 + [f"shuffled:{MAJORITY}, leave one out", f"{MAJORITY}, leave one out"]
    assert found.reference.tolist() == ["derived", *names]
    assert found.score.tolist() == pytest.approx([0.9, 0.4, np.nan, 0.1, 0.4], nan_ok=True)
    assert found.status.tolist() == ["ok", "ok", "excluded", "ok", "ok"]
    assert found.reason.tolist() == ["", "constant map", "region not read", "", ""]
    assert found.picture.tolist() == ["f1", "f1", "f2", "f1", "f1"] and found.replicate.tolist() == [0, 0, 0, 0, 1]
    assert list(found.columns) == list(rows.columns)


def test_without_such_rows_nothing_is_changed() -> None:
    rows = pd.DataFrame([scored(reference=r, score=0.5) for r in ("derived", "anna", MAJORITY, "", None)])
    assert leave_one_out_together(rows) is rows


def test_two_readers_of_three_outvote_the_third() -> None:
    """Leaving one out of three leaves two, whose majority is what both marked."""
    readers = {"anna": drawn(0, 1, 2), "ben": drawn(1, 2, 3), "carl": drawn(2, 3, 4)}
    found = with_consensus(film(readers), (EACH,))
    for out in readers:
        first, second = [readers[r].mask for r in readers if r != out]
        assert first is not None and second is not None
        assert np.array_equal(found[RegionKey("R1", f"{MAJORITY}:without:{out}")].mask, first & second)
    assert len(list(combinations(readers, 2))) == len(found) - len(readers)
