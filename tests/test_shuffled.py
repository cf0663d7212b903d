"""Another patient's region: who is whose partner, what is scored, what the summary and its table say."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import HEADS, SideModel, small_film
from plain_text import to_text
from torch import Tensor
from xai_bench_metrics.iou import IoU
from xai_bench_metrics.relevance_mass import RelevanceMass
from xai_bench_metrics.shuffled import Shuffled

from xai_bench.backends.jobs import parts_of
from xai_bench.classifiers.classifier import Classifier
from xai_bench.inputs import Input, Picture, Resize
from xai_bench.pictures import Pictures
from xai_bench.progress import Progress
from xai_bench.protocols import Batch, Evidence, Reason, Result, ScoreInfo, SummaryRow
from xai_bench.reporting.shuffled_table import shuffled_tables
from xai_bench.reporting.summary_tables import summary_tables
from xai_bench.reporting.table import MINUS, to_csv
from xai_bench.running.benchmark import bench_of, evaluate, gather
from xai_bench.running.run import Run
from xai_bench.samples import Fixed, Region, RegionKey, Sample
from xai_bench.shuffled import NO_PARTNER, TRIES, dependence, explained, partnered
from xai_bench.statistics import holm, paired_difference
from xai_bench.store.store import Store
from xai_bench.study import Chosen, Given, Study

QUIET = Progress(quiet=True)
KEY = RegionKey("box", "anna")
SHUFFLED = RegionKey("box", "shuffled:anna")


def film(number: int, *, patient: str = "", label: str = "sick", view: str = "AP", state: str = "drawn",
         size: tuple[int, int] = (8, 8)) -> Sample:  # fmt: skip
    """A film whose region is the one pixel that its number names."""
    mask = np.zeros(size, bool)
    mask.flat[number] = True
    region = Region(state, mask if state == "drawn" else None)  # type: ignore[arg-type]  # a RegionState
    return Sample(
        f"film {number}", patient or f"patient {number}", {"finding": label}, lambda: np.zeros(size, np.uint8),
        f"digest {number}", lambda: {KEY: region}, meta={"view": view},
    )  # fmt: skip


def pictures(samples: list[Sample], resize: Resize | None = None) -> Pictures:
    return Pictures({s.id: s for s in samples}, Input(resize or Resize(8, 8)))


def shown(found: Pictures, ids: list[str]) -> list[tuple[str, int | None]]:
    """The state of the partner's region and the film that it came from."""
    regions = [p.regions[KEY] for p in partnered(found, found.readable(ids), [KEY])]
    return [(state, None if mask is None else int(mask.flatten().nonzero()[0])) for state, mask in regions]


def test_a_partner_is_another_patient_with_the_same_labels_in_the_same_view() -> None:
    samples = [film(0, patient="p"), film(1, patient="p"), film(2, label="well"), film(3, view="LAT"), film(4), film(5)]
    found = pictures(samples)
    for i, partners in {0: {4, 5}, 1: {4, 5}, 4: {0, 1, 5}, 5: {0, 1, 4}}.items():
        ((state, partner),) = shown(found, [f"film {i}"])
        assert state == "drawn" and partner in partners
    assert shown(found, ["film 2", "film 3"]) == [("not_read", None)] * 2


def test_films_get_different_partners_which_do_not_depend_on_the_batch_or_on_the_order_of_films() -> None:
    samples = [film(n) for n in range(20)]
    ids = [s.id for s in samples]
    together = shown(pictures(samples), ids)
    assert len({partner for _, partner in together}) > 5
    assert [one for i in ids for one in shown(pictures(samples), [i])] == together
    assert shown(pictures(samples[::-1]), ids[::-1]) == together[::-1]


def test_the_first_drawn_region_in_the_films_own_order_is_taken_and_only_so_many_films_are_read() -> None:
    samples = [film(n) for n in range(30)]
    looked: list[str] = []

    def watched(sample: Sample) -> Sample:
        def read() -> dict[RegionKey, Region]:
            looked.append(sample.id)
            return {KEY: Region("marked_nothing")}

        return replace(sample, read_regions=read)

    bare = pictures([samples[0], *map(watched, samples[1:])])
    assert shown(bare, ["film 0"]) == [("not_read", None)]
    assert len(looked) == TRIES == len(set(looked)) and "film 0" not in looked
    for place, i in enumerate(looked):  # what stood before in the order has no region, what stands there has one
        some = [s if s.id == i or s.id not in looked[: place + 1] else film_without(s) for s in samples]
        assert shown(pictures(some), ["film 0"]) == [("drawn", int(i.split()[1]))]


def film_without(sample: Sample) -> Sample:
    return replace(sample, read_regions=lambda: {KEY: Region("marked_nothing")})


def test_a_film_without_a_region_of_its_own_keeps_its_state_and_reads_nobody_else() -> None:
    def read() -> dict[RegionKey, Region]:
        raise AssertionError("nobody asked for this film")

    found = pictures([film(0, state="marked_nothing"), film(1, state="not_read"), replace(film(2), read_regions=read)])
    assert shown(found, ["film 0", "film 1"]) == [("marked_nothing", None), ("not_read", None)]


def test_an_unreadable_partner_is_passed_over() -> None:
    broken = replace(film(1), read_image=lambda: np.full((8, 8), np.nan))
    assert shown(pictures([film(0), broken, film(2)]), ["film 0"]) == [("drawn", 2)]


def test_the_region_is_cut_to_the_films_own_content() -> None:
    wide, tall = film(0, size=(4, 8)), film(1, size=(8, 4))  # letterboxed: rows 2 to 5, and columns 2 to 5
    full = Region("drawn", np.ones((8, 4), bool))
    tall = replace(tall, read_regions=lambda: {KEY: full})
    found = pictures([wide, tall], Resize(8, 8, "letterbox"))
    (own,) = partnered(found, found.readable(["film 0"]), [KEY])
    mask = own.regions[KEY][1]
    assert mask is not None and mask.nonzero().tolist() == [[r, c] for r in range(2, 6) for c in range(2, 6)]


def test_a_film_without_a_partner_says_so_and_others_keep_their_reasons() -> None:
    found = pictures([film(0, view="LAT"), film(1), film(2, state="not_read"), film(3)])
    own = found.readable(["film 0", "film 1", "film 2"])
    others: list[Picture] = partnered(found, own, [KEY])
    unread, note = Reason("excluded", "region not read"), Reason("note", "constant map")
    told = (unread, note, unread, None)
    result = Result({"a": torch.zeros(4)}, (unread, None, unread, note), own_reasons={"a": told})
    said = explained(result, own, others, KEY)
    assert said.reasons == (NO_PARTNER, None, unread, note)
    assert said.own_reasons == {"a": (NO_PARTNER, note, unread, None)}


def test_the_key_holds_all_that_partners_depend_on() -> None:
    samples = {s.id: s for s in (film(0), film(1))}
    key = dependence(samples)
    assert dependence(dict(reversed(samples.items()))) == key
    changed = [{"digest": "other"}, {"patient": "other"}, {"meta": {"view": "LAT"}}, {"labels": {"finding": "well"}}]
    assert all(dependence(samples | {"film 1": replace(film(1), **change)}) != key for change in changed)
    assert dependence(samples | {"film 2": film(2)}) != key


@dataclass(frozen=True)
class Gray:
    """The picture itself as a map."""

    family = "other"

    def __call__(self, classifier: Classifier, batch: Batch) -> Tensor:
        return batch.images.mean(1)


@dataclass(frozen=True)
class Flat(Gray):
    """One map for all films."""

    family = "control"

    def __call__(self, classifier: Classifier, batch: Batch) -> Tensor:
        return torch.linspace(0, 1, batch.images.shape[-1]).expand(batch.images[:, 0].shape).clone()


def study(films: Fixed, classifier: Classifier, **changes: object) -> Study:
    values = {
        "name": "small", "dataset": films, "classifiers": (Given("given", classifier),), "batch_size": 8,
        "explainers": (Chosen(Gray(), "gray"), Chosen(Flat(), "flat")),
        "metrics": (Chosen(RelevanceMass(), "mass"), Chosen(IoU(), "iou")), "summaries": (Shuffled(),),
    } | changes  # fmt: skip
    return Study(**values)  # type: ignore[arg-type]  # the test chooses


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two metrics on two explainers of 16 films, with shuffled scores."""
    films = Fixed(
        {"train": (), "validation": (), "test": tuple(map(small_film, range(32, 48)))}, HEADS, {}, ("square",)
    )
    classifier = Classifier(SideModel(), HEADS, reader=Input(Resize(32, 32))).eval()
    return evaluate(study(films, classifier), store=tmp_path_factory.mktemp("whole"), progress=QUIET)


def test_every_score_against_a_region_is_also_taken_against_the_partners(whole: Run) -> None:
    rows = whole.rows
    shuffled = rows.reference == "shuffled:derived"
    assert shuffled.sum() == (rows.reference == "derived").sum() == len(rows) / 2
    assert (rows.status == "ok").all()
    found = whole.models[0].pictures
    key = RegionKey("square", "derived")
    own = found.readable(list(found.samples))
    mass = rows[shuffled & (rows.metric == "mass") & (rows.explainer == "gray")].set_index("picture").score
    for picture, other in zip(own, partnered(found, own, [key]), strict=True):
        region, (_, mask) = picture.regions[key][1], other.regions[key]
        assert mask is not None and region is not None and not torch.equal(mask, region)
        image = picture.image[0].double()
        assert mass[picture.sample.id] == pytest.approx(float(image[mask].sum() / image.sum()), abs=1e-6)


def test_the_summary_costs_no_stored_score_and_batches_change_nothing(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    mass = (Chosen(RelevanceMass(), "mass"),)
    plain = evaluate(study(side_films, side_classifier, metrics=mass, summaries=()), store=tmp_path, progress=QUIET)
    store = Store.at(tmp_path)
    before = set(store.cells("scores"))
    both = evaluate(study(side_films, side_classifier, metrics=mass), store=tmp_path, progress=QUIET)
    assert len(set(store.cells("scores")) - before) == len(before) == 2
    own = both.rows[both.rows.reference == "derived"].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, plain.rows)
    cut = study(side_films, side_classifier, metrics=mass, batch_size=3, limit=7)
    few = evaluate(cut, store=tmp_path, progress=QUIET).rows
    keys = ["explainer", "metric", "score_name", "reference", "picture"]
    joined = few.merge(both.rows, on=keys, suffixes=("", "_all"))
    assert len(joined) == len(few) == 7 * 2 * 2
    np.testing.assert_allclose(joined.score, joined.score_all, atol=1e-6)


def test_shuffled_scores_have_a_table_of_their_own_and_are_in_no_other(whole: Run) -> None:
    run = whole
    ordinary = [t for t in run.tables(full=True) if t.name.startswith(("scores", "against", "between"))]
    assert ordinary and not any("another patient" in to_text(t) for t in ordinary)
    (table,) = shuffled_tables(run)
    assert [t.name for t in run.tables() if t.name.startswith("shuffled")] == [table.name] == ["shuffled_1"]
    assert [c.title for c in table.columns] == ["method", "relevance mass ↑", "IoU matched ↑"]
    assert table.title == "Beyond the usual place · region square, derived"
    gray, flat = table.groups
    assert (gray.chance, flat.chance) == (False, True) and flat.heading == "chance (given)"
    assert gray.rows[0][1].mark == "good" and flat.rows[0][1].mark == ""


def test_a_worker_knows_that_more_scores_are_asked_for_and_leaves_the_summary_to_the_run(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    table = {"name": "s", "dataset": "phantom", "classifiers": [{"name": "net", "architecture": "small_cnn"}]}
    store = Store.at(tmp_path)
    (part,) = parts_of(Study.of(table | {"summaries": ["retrain_stability", "shuffled"]}), store)
    assert Study.of(part.first.study).summaries == (Shuffled(),)
    asked = study(side_films, side_classifier, metrics=(Chosen(RelevanceMass(), "mass"),), limit=2)
    gather(asked, bench_of(asked, store, QUIET))  # what a worker does
    before = store.cells("scores")
    assert len(before) == 2 * 2 and not store.cells("summaries")
    assert evaluate(asked, store=store, progress=QUIET).rows.reference.nunique() == 2
    assert store.cells("scores") == before and len(store.cells("summaries")) == 1


def made_up(values: dict[str, list[float | str]], *, twins: int = 1, region: str = "box", reference: str = "anna",
            **changes: object) -> pd.DataFrame:  # fmt: skip
    """Rows of one score: film -> its score and its shuffled score by twin; a word is the reason of a missing one."""
    lines = []
    for picture, scores in values.items():
        for n, score in enumerate(scores):
            missing = isinstance(score, str)
            lines.append({
                "classifier": "net", "replicate": n // 2, "explainer": "map", "metric": "overlap", "head": "finding",
                "target": "sick", "target_rule": "label", "score_name": "iou", "region": region, "picture": picture,
                "reference": f"shuffled:{reference}" if n % 2 else reference, "patient": picture[0],
                "status": "excluded" if missing else "ok", "reason": score if missing else "",
                "score": np.nan if missing else score,
            } | changes)  # fmt: skip
    return pd.DataFrame(lines)


def summarized(rows: pd.DataFrame) -> dict[str, SummaryRow]:
    evidence = Evidence(rows, pd.DataFrame(), (), {}, lambda *_: {}, lambda ids: [])
    return {row.score_name: row for row in Shuffled()(evidence)}


FILMS: dict[str, list[float | str]] = {
    "a1": [0.9, 0.2], "a2": [0.7, 0.3], "b1": [0.6, 0.5], "c1": [0.8, 0.1], "d1": [0.4, 0.5], "e1": [0.9, 0.4],
}  # fmt: skip


def test_the_difference_is_paired_by_film_and_tested_by_patient() -> None:
    found = summarized(made_up(FILMS))
    own, other = (np.array([v[n] for v in FILMS.values()], float) for n in (0, 1))
    expected = paired_difference(own, other, [i[0] for i in FILMS])
    assert list(found) == ["iou", "iou_shuffled", "iou_difference", "iou_p"]
    assert [r.value for r in found.values()] == pytest.approx([own.mean(), other.mean(), expected.mean, expected.p])
    difference = found["iou_difference"]
    assert (difference.low, difference.high) == (expected.low, expected.high)
    assert {(r.n, r.metric, r.region, r.reference) for r in found.values()} == {(6, "overlap", "box", "anna")}
    assert difference.note == "BCa over 5 patients" and difference.exclusions == {}


def test_a_film_counts_with_its_mean_over_twins() -> None:
    twins = {i: [*v, v[0] + 0.1, v[1] - 0.3] for i, v in FILMS.items()}  # type: ignore[operator]  # numbers
    found, one = summarized(made_up(twins)), summarized(made_up(FILMS))
    assert found["iou"].n == 6
    assert found["iou"].value == pytest.approx(one["iou"].value + 0.05)
    assert found["iou_difference"].value == pytest.approx(one["iou_difference"].value + 0.2)
    assert found["iou_difference"].note == "BCa over 5 patients, conditional on these 2 twins"


def test_what_is_missing_on_either_side_is_left_out_and_counted() -> None:
    gaps = {"x1": ["region not read", "region not read"], "y1": [0.9, NO_PARTNER.text], "z1": ["constant", 0.2]}
    found = summarized(made_up(FILMS | gaps))  # type: ignore[operator]  # the same kind
    assert found["iou"] == replace(summarized(made_up(FILMS))["iou"], exclusions=found["iou"].exclusions)
    assert found["iou"].exclusions == {"region not read": 1, NO_PARTNER.text: 1, "constant": 1}


def test_nothing_to_pair_is_said() -> None:
    found = summarized(made_up({"y1": [0.9, NO_PARTNER.text]}))
    assert all(np.isnan(r.value) and r.n == 0 and r.note == "no film that counts" for r in found.values())
    assert summarized(made_up(FILMS)[lambda rows: rows.reference == "anna"]) == {}
    alone = summarized(made_up({"a1": [0.5, 0.25]}))
    assert (alone["iou_difference"].value, alone["iou_difference"].low, alone["iou_p"].value) == (0.25, None, 1.0)


def test_the_references_without_each_reader_are_one() -> None:
    parts = [made_up(FILMS, reference=f"consensus:majority:without:{reader}") for reader in ("anna", "ben")]
    parts[1]["score"] += 0.1 * ~parts[1].reference.str.startswith("shuffled")
    found = summarized(pd.concat(parts))
    assert found["iou_difference"].reference == "consensus:majority, leave one out"
    assert found["iou_difference"].value == pytest.approx(summarized(made_up(FILMS))["iou_difference"].value + 0.05)
    assert found["iou"].n == 6


def test_the_table_prints_both_means_and_corrects_over_all_it_prints() -> None:
    far = {f"{n}1": [0.5 + 0.01 * n, 0.3] for n in range(9)}  # p = 2 / 2**9, three times
    rows = pd.concat([
        made_up(far), made_up(far, explainer="random", region="other"),
        made_up({i: v[::-1] for i, v in far.items()}, metric="way"),
    ])  # fmt: skip
    evidence = Evidence(rows, pd.DataFrame(), (), {}, lambda *_: {}, lambda ids: [])
    summaries = pd.DataFrame([vars(row) for row in Shuffled()(evidence)])
    info = ScoreInfo("higher", headline=True)
    run = SimpleNamespace(
        summaries=summaries, rows=rows.assign(family=np.where(rows.explainer == "random", "control", "cam")), key="key",
        score_info={("overlap", "iou"): info, ("way", "iou"): info, ("way", "none"): info},
    )  # fmt: skip
    first, second = summary_tables(run)
    assert [c.title for c in first.columns] == ["method", "overlap: IoU ↑", "way: IoU ↑"]
    _, better, worse = first.groups[0].rows[0]
    assert (
        better.text.startswith("+0.24 [") and better.small == f"0.54 {MINUS} 0.30, p 0.012*" and better.mark == "good"
    )
    assert worse.text.startswith(f"{MINUS}0.24 [") and worse.mark == "bad"
    assert better.numbers["p_holm"] == pytest.approx(holm(np.full(3, 2 / 2**9))[0])
    assert second.groups[0].chance and second.title.endswith("region other, read by anna")
    assert "0.54,0.3,0.24" in to_csv(first)
