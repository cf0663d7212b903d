"""Human ceiling: closed forms of readers' scores, the same references for explainers, refusals, a study end to end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from xai_bench_metrics.distances import Distances
from xai_bench_metrics.human_ceiling import SINGLE, HumanCeiling, ratio
from xai_bench_metrics.iou import IoU
from xai_bench_metrics.iou_tuned import IoUTuned
from xai_bench_metrics.pointing_game import PointingGame
from xai_bench_metrics.relevance_mass import RelevanceMass

from xai_bench.agreement import iou, pointing_ceiling
from xai_bench.classifiers.classifier import Classifier
from xai_bench.consensus import references
from xai_bench.datasets.phantom import Films, Phantom
from xai_bench.errors import Unfit
from xai_bench.inputs import Input, Resize
from xai_bench.phantom.readers import Reader
from xai_bench.progress import Progress
from xai_bench.protocols import Batch, Case, Evidence, Result, SummaryRow
from xai_bench.running.benchmark import evaluate
from xai_bench.running.run import Run
from xai_bench.running.summaries import ByHand, evidence_of
from xai_bench.samples import Fixed, Head, Region, RegionKey, Sample
from xai_bench.spec import build, spec_of
from xai_bench.statistics import bootstrap_mean, interval
from xai_bench.study import Chosen, Given, Study

QUIET = Progress(quiet=True)
EACH = "consensus:majority:without:*"
LOO = "consensus:majority, leave one out"
Masks = Mapping[str, np.ndarray | None]  # reader -> drawing; zeros: marked nothing; None: not read


@dataclass(frozen=True)
class Gray:
    """The picture itself as a map; NaN on one film."""

    broken: str = ""

    def __call__(self, classifier: Classifier, batch: Batch) -> Tensor:
        bad = torch.tensor([i == self.broken for i in batch.ids])
        return torch.where(bad[:, None, None], torch.nan, batch.images.mean(1))


def read_by(films: Fixed, draw: Callable[[np.ndarray, int], Masks]) -> Fixed:
    """The test films with readers, who see the true square and the film's number."""

    def read(sample: Sample) -> Sample:
        (truth,) = [r.mask for r in sample.read_regions().values()]
        assert truth is not None
        found = {RegionKey("square", "derived"): Region("drawn", truth)}
        for reader, mask in draw(truth, int(sample.id[-3:])).items():
            state = "not_read" if mask is None else "drawn" if mask.any() else "marked_nothing"
            found[RegionKey("square", reader)] = Region(state, mask if state == "drawn" else None)
        return replace(sample, read_regions=lambda: found)

    return replace(films, splits={**films.splits, "test": tuple(map(read, films.splits["test"]))})


def three(truth: np.ndarray, number: int) -> Masks:
    """A careful, a shaky and a sloppy reader; the last has not read every fourth film."""
    rng = np.random.default_rng(number)
    shaky = np.roll(truth, rng.integers(-2, 3, 2), (0, 1))
    sloppy = np.roll(truth, rng.integers(-4, 5, 2), (0, 1)) | (rng.random(truth.shape) < 0.02)
    return {"careful": truth, "shaky": shaky, "sloppy": None if number % 4 == 0 else sloppy}


HEADS = (Head("side", ("left", "right")),)
HIT_RATE = (Chosen(PointingGame(tolerance_mm=None), "pointing"),)
METRICS = (*HIT_RATE, Chosen(IoU(), "iou"), Chosen(RelevanceMass(), "mass"))


class Sides(nn.Module):
    """How much brighter the right half is."""

    def forward(self, x: Tensor) -> Tensor:
        more = x[..., 16:].mean((1, 2, 3)) - x[..., :16].mean((1, 2, 3))
        return torch.stack([-more, more], 1)


def film(number: int) -> Sample:
    """Noise and a bright square, the region; two films a patient."""
    rng = np.random.default_rng(number)
    image = (rng.random((32, 32)) * 60).astype(np.uint8)
    mask = np.zeros((32, 32), bool)
    row, column = int(rng.integers(4, 20)), 16 * (number % 2) + int(rng.integers(0, 7))
    mask[row : row + 8, column : column + 8] = True
    image[mask] += 150
    return Sample(
        f"film-{number:03d}", f"patient-{number // 2:03d}", {"side": HEADS[0].classes[number % 2]}, lambda: image,
        f"digest-{number}", lambda: {RegionKey("square", "derived"): Region("drawn", mask)}, (1.0, 1.0),
    )  # fmt: skip


FILMS = Fixed({"train": (), "validation": (), "test": tuple(map(film, range(32, 48)))}, HEADS, {}, ("square",))


def made(folder: Path, draw: Callable[[np.ndarray, int], Masks] = three, **changes: object) -> Run:
    """The films as drawn by readers, with the gray map and the pointing game."""
    classifier = Classifier(Sides(), HEADS, reader=Input(Resize(32, 32))).eval()
    values = {
        "name": "s", "dataset": read_by(FILMS, draw), "classifiers": (Given("given", classifier),),
        "explainers": (Chosen(Gray(), "gray"),), "references": (EACH,), "batch_size": 16, "metrics": HIT_RATE,
        "summaries": (HumanCeiling(),),
    } | changes  # fmt: skip
    return evaluate(Study(**values), store=folder, progress=QUIET)  # type: ignore[arg-type]  # the test chooses


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    """Evaluates in a folder of the test's own."""
    return partial(made, tmp_path)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three readers, three metrics; on film 33 a second explainer's map is broken."""
    explainers = (Chosen(Gray(), "gray"), Chosen(Gray("film-033"), "broken"))
    return made(tmp_path_factory.mktemp("done"), metrics=METRICS, explainers=explainers)


def evidence(run: Run) -> Evidence:
    return evidence_of(run.study, run.models, run.maps, run.rows, run.predictions)


def find(rows: pd.DataFrame, explainer: str, score: str) -> pd.Series:
    (row,) = [r for _, r in rows.iterrows() if (r.explainer, r.score_name) == (explainer, score)]
    return row


def drawings(run: Run) -> dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Film -> each reader's drawing and the reference without that reader, by the slow way."""
    found = {}
    for sample in run.study.dataset.splits["test"]:
        regions = {k.reference: r for k, r in sample.read_regions().items() if k.reference != "derived"}
        masks = {n: r.mask if r.mask is not None else np.zeros((32, 32), bool) for n, r in regions.items()
                 if r.state != "not_read"}  # fmt: skip
        made = references(masks, "majority")
        found[sample.id] = masks, {reader: made[f"consensus:majority:without:{reader}"] for reader in masks}
    return found


def test_it_is_built_by_name_and_from_its_own_spec() -> None:
    assert build("summary", "human_ceiling") == HumanCeiling()
    assert build("summary", spec_of(HumanCeiling("staple"))) == HumanCeiling("staple")


def test_human_and_chance_equal_their_closed_forms_film_by_film(done: Run) -> None:
    """A drawing is a map of ties: hit rate |A and B| / |A|; chance is the reference's share of the film."""
    patients = {s.id: s.patient for s in done.study.dataset.splits["test"]}
    slow: dict[tuple[str, str], dict[str, float]] = {}
    each: dict[str, dict[str, float]] = {}
    for film, (masks, others) in drawings(done).items():
        kept = [r for r in masks if others[r].any()]
        by_reader = {
            "hit_rate": {r: pointing_ceiling(masks[r], others[r]).value for r in kept},
            "iou_otsu": {r: iou(masks[r], others[r]) for r in kept},  # above Otsu's threshold lies the drawing itself
        }
        for score, values in by_reader.items():
            slow.setdefault(("human", score), {})[film] = float(np.mean(list(values.values())))
        for reader, value in by_reader["hit_rate"].items():
            each.setdefault(reader, {})[film] = value
        slow.setdefault(("chance", "hit_rate"), {})[film] = float(np.mean([others[r].mean() for r in kept]))
    slow |= {(f"human: {reader}", "hit_rate"): values for reader, values in each.items()}
    for (who, score), values in slow.items():
        row = find(done.summaries, who, score)
        expected = interval(np.array(list(values.values())), [patients[f] for f in values], score == "hit_rate")
        assert row.value == pytest.approx(np.mean(list(values.values())))
        assert (row.low, row.high) == pytest.approx((expected.low, expected.high))
        assert row.n == len(values)
        assert (row.region, row.reference, row.classifier) == ("square", LOO, "given")


def test_a_better_reader_beats_a_worse_one_and_exclusions_are_counted(done: Run) -> None:
    rows = done.summaries
    for score in ("hit_rate", "iou_matched", "relevance_mass"):
        careful, shaky, sloppy = (find(rows, f"human: {r}", score).value for r in ("careful", "shaky", "sloppy"))
        assert min(careful, shaky) > sloppy
    row = find(rows, "human: sloppy", "hit_rate")
    films = [n for n in range(32, 48) if n % 4]
    assert row.n <= len(films) and row.exclusions.get("region not read", 0) == 4


def test_identical_readers_have_a_ceiling_of_one(run: Callable[..., Run]) -> None:
    rows = run(lambda truth, _: dict.fromkeys(("anna", "ben", "carl"), truth), metrics=METRICS).summaries
    for score in ("hit_rate", "pointing_15px", "iou_matched", "iou_otsu", "iou_max", "relevance_mass"):
        for who in ("human", "human: anna", "human: ben", "human: carl"):
            assert find(rows, who, score).value == pytest.approx(1.0)


def test_explainers_are_scored_against_the_same_references(done: Run) -> None:
    gray = done.rows[(done.rows.explainer == "gray") & (done.rows.status == "ok")]
    for score in ("hit_rate", "iou_matched", "relevance_mass"):
        own = gray[gray.score_name == score]
        films = own.groupby("picture").score.mean()
        row = find(done.summaries, "gray", score)
        assert row.value == pytest.approx(films.mean()) and row.n == len(films)
        h, c = (find(done.summaries, who, score).value for who in ("human", "chance"))
        normalized, decrease = (find(done.summaries, "gray", score + k) for k in
                                ("_ceiling_normalized", "_decrease_percent"))  # fmt: skip
        assert normalized.value == pytest.approx((row.value - c) / (h - c))
        assert decrease.value == pytest.approx(100 * (h - row.value) / h)
        assert normalized.low < normalized.value < normalized.high
        assert decrease.low < decrease.value < decrease.high


def test_a_ratio_to_a_constant_has_the_interval_of_the_mean() -> None:
    top, patients = np.random.default_rng(0).random(30), np.array([f"p{n // 2}" for n in range(30)], object)
    value, limits = ratio(top, np.full(30, 0.5), patients, 3)
    expected = bootstrap_mean(top / 0.5, patients, seed=3)
    assert value == pytest.approx(top.mean() / 0.5)
    assert (limits.low, limits.high) == pytest.approx((expected.low, expected.high))
    assert (limits.n, limits.n_patients) == (30, 15)


def test_a_ratio_of_proportional_films_has_no_spread() -> None:
    bottom, patients = np.arange(1.0, 9), np.array(list("aabbccdd"), object)
    value, limits = ratio(0.3 * bottom, bottom, patients, 0)
    assert value == pytest.approx(0.3) and not limits.known


def test_a_film_without_one_of_the_terms_leaves_all_of_them(done: Run) -> None:
    whole, part = (find(done.summaries, e, "hit_rate") for e in ("gray", "broken"))
    assert whole.n - part.n == 1
    assert part.exclusions["map holds NaN or infinite values"] == len(drawings(done)["film-033"][0])
    without = done.rows[(done.rows.explainer == "gray") & (done.rows.picture != "film-033")]
    for row in HumanCeiling()(replace(evidence(done), rows=without)):
        if row.explainer == "gray":
            twin = find(done.summaries, "broken", row.score_name)
            numbers = [np.nan if x is None else x for x in (row.value, row.low, row.high)]
            assert numbers == pytest.approx(list(twin[["value", "low", "high"]].astype(float)), nan_ok=True)
            assert row.n == twin.n


def test_twins_are_averaged_film_by_film(done: Run) -> None:
    other = done.rows.assign(replicate=1, score=done.rows.score / 2)
    card = replace(evidence(done).cards[0], replicate=1)
    both = replace(evidence(done), rows=pd.concat([done.rows, other]), cards=(*evidence(done).cards, card))
    rows = {(r.explainer, r.score_name): r for r in HumanCeiling()(both)}
    for score in ("hit_rate", "relevance_mass"):
        single = find(done.summaries, "gray", score)
        assert rows["gray", score].value == pytest.approx(0.75 * single.value) and rows["gray", score].n == single.n
        assert rows["human", score].value == pytest.approx(find(done.summaries, "human", score).value)
        assert "2 twins" in rows["gray", score].note


def test_a_reader_who_marked_nothing_has_no_map_and_an_empty_reference_no_score(run: Callable[..., Run]) -> None:
    def draw(truth: np.ndarray, number: int) -> Masks:
        nothing = np.zeros_like(truth)
        if number == 32:
            return {"anna": truth, "ben": truth, "carl": nothing}  # only carl's reference has a pixel: of two, both
        return {"anna": truth, "ben": truth, "carl": truth}

    rows = run(draw).summaries
    assert find(rows, "human: carl", "hit_rate").exclusions == {"the reader marked nothing": 1}
    assert find(rows, "human: anna", "hit_rate").exclusions == {"region marked nothing": 1}
    human = find(rows, "human", "hit_rate")
    assert human.n == 15 and human.exclusions == {"the reader marked nothing": 1, "region marked nothing": 2}


def test_a_single_reader_has_no_ceiling(run: Callable[..., Run]) -> None:
    rows = run(lambda truth, _: {"anna": truth, "ben": None}).summaries
    for who, score in (("human", "hit_rate"), ("gray", "hit_rate_ceiling_normalized")):
        row = find(rows, who, score)
        assert row.value != row.value and row.n == 0 and row.note == SINGLE


def test_without_leave_one_out_references_it_says_what_is_missing(run: Callable[..., Run]) -> None:
    (row,) = run(references=("derived",)).summaries.to_dict("records")
    assert row["explainer"] == "human" and row["n"] == 0
    assert row["note"] == f"{SINGLE}; or the study's references lack '{EACH}'"


def test_readers_at_chance_are_no_scale(run: Callable[..., Run]) -> None:
    def guess(truth: np.ndarray, number: int) -> Masks:
        found = np.random.default_rng(number).random((3, *truth.shape)) < 0.6
        return dict(zip(("anna", "ben", "carl"), found, strict=True))

    row = find(run(guess).summaries, "gray", "hit_rate_ceiling_normalized")
    assert row.value != row.value and row.note == "the interval of ceiling - chance holds 0" and row.n == 16


def test_where_constant_maps_have_no_score_there_is_no_chance(done: Run) -> None:
    rows = done.summaries
    own = rows[rows.score_name.str.startswith("iou_otsu_nonempty")]
    assert "chance" not in set(own.explainer)
    assert "no chance value: empty prediction" in find(rows, "human", "iou_otsu_nonempty").note
    refused = find(rows, "gray", "iou_otsu_nonempty_ceiling_normalized")
    assert refused.value != refused.value and refused.note == "no chance value: empty prediction"
    h, s = (find(rows, who, "iou_otsu_nonempty").value for who in ("human", "gray"))
    assert find(rows, "gray", "iou_otsu_nonempty_decrease_percent").value == pytest.approx(100 * (h - s) / h)


def test_where_lower_is_better_worse_is_still_positive(run: Callable[..., Run]) -> None:
    rows = run(metrics=(Chosen(Distances(), "distances"),)).summaries
    score = next(s for s in rows.score_name if s.startswith("centroid") and s.endswith("px"))
    h, s = (find(rows, who, score).value for who in ("human", "gray"))
    decrease = find(rows, "gray", f"{score}_decrease_percent")
    assert 0 < h < s and decrease.value == pytest.approx(100 * (s - h) / h) and decrease.better == "lower"


@dataclass(frozen=True)
class Needy(PointingGame):
    """Works on no classifier."""

    def __call__(self, case: Case) -> Result:
        if not isinstance(case.explainer, Gray):
            raise Unfit("it needs an explainer")
        return super().__call__(case)


def test_a_metric_that_does_not_fit_readers_is_left_out_with_its_reason(run: Callable[..., Run]) -> None:
    rows = run(metrics=(Chosen(Needy(), "needy"),)).summaries
    for who, score in (("human", "hit_rate"), ("gray", "hit_rate"), ("gray", "hit_rate_decrease_percent")):
        row = find(rows, who, score)
        assert row.n == 0 and row.note == "no film that counts: it needs an explainer"


def test_a_tuned_threshold_is_no_matter_for_a_drawing(run: Callable[..., Run]) -> None:
    one = replace(FILMS, splits={**FILMS.splits, "validation": tuple(map(film, range(8)))})
    metrics = (Chosen(IoU(), "iou"), Chosen(IoUTuned(), "tuned"))
    rows = run(dataset=read_by(one, three), metrics=metrics, references=("derived", EACH)).summaries
    for who in ("human", "human: shaky", "chance"):
        assert find(rows, who, "iou_tuned").value == pytest.approx(find(rows, who, "iou_otsu").value)


def test_metrics_that_look_at_vertebrae_see_them(tmp_path: Path) -> None:
    perfect = tuple(Reader(name, 1.0, 1.0, 0.0) for name in ("anna", "ben"))
    phantom = Phantom(height=96, width=76, films=Films(4, 4, 4), readers=perfect)
    classifier = Classifier(Sides(), phantom.heads, reader=Input(Resize(96, 76))).eval()
    study = Study(
        "s", phantom, (Given("given", classifier),), (Chosen(Gray(), "gray"),), ("level",), (HumanCeiling(),),
        regions=("scoliosis.R1",), batch_size=4,
    )  # fmt: skip
    rows = evaluate(study, store=tmp_path, progress=QUIET).summaries
    assert find(rows, "human", "level_hit").value > 0.6 > find(rows, "chance", "level_hit").value


@pytest.mark.parametrize("method", ["staple", "union"])
def test_the_method_is_that_of_the_references(run: Callable[..., Run], method: str) -> None:
    done = run(references=(EACH, f"consensus:{method}:without:*"), summaries=(HumanCeiling(method), HumanCeiling()))
    own = done.summaries[done.summaries.reference == f"consensus:{method}, leave one out"]
    found = []
    for masks, _ in drawings(done).values():
        made = references(masks, method)
        each = [pointing_ceiling(masks[r], made[f"consensus:{method}:without:{r}"]).value for r in masks]
        found.append(np.nanmean(each))
    assert find(own, "human", "hit_rate").value == pytest.approx(np.mean(found))
    assert set(done.summaries.reference) == {LOO, f"consensus:{method}, leave one out"}


def test_a_second_run_finds_the_summary_and_other_metrics_make_another(run: Callable[..., Run]) -> None:
    first = run().summaries
    pd.testing.assert_frame_equal(first, run().summaries)
    other = run(metrics=(Chosen(PointingGame(tolerance_px=3.0), "pointing"),)).summaries
    assert {s for s in other.score_name if s.startswith("pointing")} & {"pointing_3px"}


def test_maps_made_by_hand_cannot_be_made_again(done: Run) -> None:
    found = evidence(done)
    assert found.cases is not None
    case = found.cases(found.cards[0].weights, ["film-034", "film-033"], RegionKey("square", "careful"), None)
    assert case.batch.ids == ("film-034", "film-033") and case.region_state == ("drawn", "drawn")
    assert not case.saliency.any() and case.region is not None and case.region.sum((1, 2)).tolist() == [64, 64]
    assert case.batch.targets.tolist() == [0, 0]
    with pytest.raises(Unfit, match="made by hand"):
        ByHand()(case.classifier, case.batch)


def test_a_phantom_with_three_readers_end_to_end(tmp_path: Path) -> None:
    readers = (Reader("good", 0.97, 0.999, 0.5), Reader("fine", 0.97, 0.999, 0.5), Reader("poor", 0.6, 0.95, 6.0, 0.7))
    phantom = Phantom(height=64, width=48, films=Films(4, 4, 12), readers=readers)
    classifier = Classifier(Sides(), phantom.heads, reader=Input(Resize(64, 40, "letterbox"))).eval()
    study = Study(
        "s", phantom, (Given("given", classifier),), (Chosen(Gray(), "gray"), "center_gaussian"),
        ("pointing_game", "iou"), (HumanCeiling(),), batch_size=16,
    )  # fmt: skip
    rows = evaluate(study, store=tmp_path, progress=QUIET).summaries
    assert set(rows.region) == set(phantom.regions)
    for region in phantom.regions:
        own = rows[rows.region == region]
        good, fine, poor = (find(own, f"human: {r}", "hit_rate").value for r in ("good", "fine", "poor"))
        assert min(good, fine) > poor > find(own, "chance", "hit_rate").value
        assert find(own, "human: poor", "hit_rate").n < find(own, "human: good", "hit_rate").n
        h, s = (find(own, who, "iou_matched").value for who in ("human", "center_gaussian"))
        assert find(own, "center_gaussian", "iou_matched_decrease_percent").value == pytest.approx(100 * (h - s) / h)


def test_summary_rows_are_plain() -> None:
    row = SummaryRow("human_ceiling", "", "human", "given", None, np.nan, None, None, 0)
    assert (row.metric, row.region, row.reference) == ("", "", "")
