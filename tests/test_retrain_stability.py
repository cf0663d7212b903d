from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from torch import Tensor
from twin_cases import Positive, Seeded, Signed, World, Wrapped, by_score, drawn, films, noise, patient, twins
from xai_bench_metrics.retrain_stability import RetrainStability, deterministic, groups, partners

from xai_bench.errors import BadInput
from xai_bench.reporting.summary_tables import summary_tables
from xai_bench.similarity import SCORES
from xai_bench.statistics import bootstrap_mean


def slow_similarity(a: Tensor, b: Tensor, span: float) -> dict[str, float]:
    """Word for word, one pair of maps with distinct values, by scikit-image and SciPy."""
    x, y = (m.double().numpy() / m.abs().max().item() for m in (a, b))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": span}
    k = round(0.1 * x.size)
    top = [set(np.argsort(-m.ravel())[:k].tolist()) for m in (x, y)]
    return {
        "ssim": structural_similarity(x, y, **options),
        "spearman": spearmanr(x.ravel(), y.ravel()).statistic,
        "spearman_absolute": spearmanr(np.abs(x).ravel(), np.abs(y).ravel()).statistic,
        "top_k_iou": len(top[0] & top[1]) / len(top[0] | top[1]),
    }


@pytest.mark.parametrize(("explainer", "span"), [(Signed(), 2.0), (Positive(), 1.0)])
def test_equals_the_definition_on_agreeing_films(explainer: object, span: float) -> None:
    world = twins()
    world.explainer = explainer
    first, second = world.maps[("cnn", 0)], world.maps[("cnn", 1)]
    second["p1a"] = (1 - second["p1a"][0], second["p1a"][1])
    rows = RetrainStability()(world.evidence())
    found = by_score(rows)
    agreeing = [p for p in first if p != "p1a"]
    each = [slow_similarity(first[p][1], second[p][1], span) for p in agreeing]
    for name in SCORES:
        values = np.array([e[name] for e in each])
        row, expected = found[name], bootstrap_mean(values, [patient(p) for p in agreeing])
        assert row.value == pytest.approx(values.mean(), abs=1e-6)
        assert (row.low, row.high) == pytest.approx((expected.low, expected.high), abs=1e-6)
        assert (row.n, row.exclusions, row.better) == (11, {"predictions differ": 1}, "higher")
        assert "conditional" in row.note
        (pair,) = [r for r in rows if r.score_name == f"{name}_pair"]
        assert (pair.value, pair.n, pair.note, pair.low) == (row.value, 11, "0-1", None)
        assert found[f"{name}_passes"].value == np.mean(values > found[f"{name}_null"].high)
    share = found["agreeing_share"]
    assert share.value == pytest.approx(11 / 12)
    assert share.low < share.value < share.high
    assert found["accuracy_gap"].value == pytest.approx(0.02)
    assert found["accuracy_gap"].note.startswith("accuracies 0.900, 0.880")


def test_maps_meet_on_the_coarser_native_grid_of_at_most_56_cells() -> None:
    world = twins(size=112)
    coarse = {p: (t, torch.nn.functional.avg_pool2d(m[None], 8)[0]) for p, (t, m) in world.maps[("cnn", 0)].items()}
    fine = world.maps[("cnn", 0)]
    same = World({("cnn", 0): fine, ("cnn", 1): coarse})
    assert by_score(RetrainStability()(same.evidence()))["spearman"].value == pytest.approx(1)
    bounded = {p: (t, torch.nn.functional.avg_pool2d(m[None], 2)[0]) for p, (t, m) in fine.items()}
    plain, reduced = (World({("cnn", 0): m, ("cnn", 1): world.maps[("cnn", 1)]}) for m in (fine, bounded))
    values = [by_score(RetrainStability()(w.evidence()))["spearman"].value for w in (plain, reduced)]
    assert values[0] == pytest.approx(values[1])


def test_identical_twins_score_one_and_independent_maps_score_their_null() -> None:
    same = by_score(RetrainStability()(twins(noisy=0).evidence()))
    for name in SCORES[1:]:
        assert same[name].value == 1
    assert same["ssim"].value == pytest.approx(1, abs=1e-12)
    assert same["agreeing_share"].value == 1
    assert same["agreeing_share"].low < 1  # never an interval of zero width for a rate
    assert all(same[f"{name}_passes"].value == 1 for name in SCORES)
    world = twins(count=40)
    for r in (0, 1):
        world.maps[("cnn", r)] = drawn(noise(50 + r, 40, 14), [n // 2 % 2 for n in range(40)])
    free = by_score(RetrainStability()(world.evidence()))
    for name in SCORES:
        null = free[f"{name}_null"]
        assert null.low < free[name].value < null.high
        assert free[name].low < null.value < free[name].high
        assert free[f"{name}_passes"].value < 0.15  # 0.025 in the long run


def test_the_null_band_compares_other_patients_of_the_same_kind() -> None:
    ids, kinds = films(40), np.array([n % 3 + 10 * (n % 5 == 0) for n in range(40)])
    people = np.array(list(map(patient, ids)))
    usable = np.array([n for n in range(40) if n != 7])
    i, j = partners(usable, kinds, people, ids, (4, 0))
    assert (people[i] != people[j]).all()
    assert (kinds[i] == kinds[j]).all()
    assert 7 not in i.tolist() + j.tolist()
    assert max(np.bincount(i)) == 4
    assert len(set(zip(i.tolist(), j.tolist(), strict=True))) == len(i)
    assert not np.array_equal(partners(usable, kinds, people, ids, (4, 1))[1], j)


def test_the_null_keeps_class_and_view() -> None:
    """Maps that are alike within class and view, and unlike across: the null says so."""
    base = {kind: noise(n, 1, 14)[0] for n, kind in enumerate([(0, "AP"), (0, "LAT"), (1, "AP"), (1, "LAT")])}
    ids = films(24)
    view = {p: "AP" if n // 2 % 2 else "LAT" for n, p in enumerate(ids)}
    maps = {p: (n // 4 % 2, base[n // 4 % 2, view[p]] + 0.01 * noise(n + 9, 1, 14)[0]) for n, p in enumerate(ids)}
    found = by_score(RetrainStability()(World({("cnn", 0): maps, ("cnn", 1): maps}, view).evidence()))
    assert found["spearman_null"].low > 0.95


def test_a_partner_depends_on_the_film_and_not_on_the_order_of_the_maps() -> None:
    world = twins()
    turned = World({who: dict(reversed(maps.items())) for who, maps in world.maps.items()})
    assert RetrainStability()(world.evidence()) == RetrainStability()(turned.evidence())


def test_the_order_of_the_twins_changes_nothing() -> None:
    world = twins(replicates=4)
    turned = World(dict(reversed(world.maps.items())))
    assert RetrainStability()(world.evidence()) == RetrainStability()(turned.evidence())


def test_other_names_of_the_twins_rename_the_pairs_and_leave_the_means() -> None:
    world = twins(replicates=3)
    names = {0: 2, 1: 0, 2: 1}
    renamed = World({("cnn", names[r]): maps for (_, r), maps in world.maps.items()})
    plain, other = (RetrainStability()(w.evidence()) for w in (world, renamed))
    for score in (*SCORES, "agreeing_share"):
        assert by_score(plain)[score].value == pytest.approx(by_score(other)[score].value, abs=1e-12)
    pairs, moved = ({r.note: r.value for r in rows if r.score_name == "ssim_pair"} for rows in (plain, other))
    for a, b in combinations(range(3), 2):
        low, high = sorted((names[a], names[b]))
        assert pairs[f"{a}-{b}"] == pytest.approx(moved[f"{low}-{high}"], abs=1e-12)


def test_maps_that_cannot_be_compared_are_counted_by_reason() -> None:
    world = twins()
    first, second = world.maps[("cnn", 0)], world.maps[("cnn", 1)]
    del second["p0a"]
    first["p0b"] = (first["p0b"][0], torch.full((14, 14), float("nan")))
    second["p1a"] = (second["p1a"][0], torch.full((14, 14), 0.1))
    found = by_score(RetrainStability()(world.evidence()))
    assert found["ssim"].exclusions == {"no map of one classifier": 1, "invalid map": 1, "constant map": 1}
    assert found["ssim"].n == 9
    assert found["agreeing_share"].exclusions == {"no map of one classifier": 1}
    assert found["agreeing_share"].n == 11


def test_a_map_of_two_opposite_values_has_no_absolute_rank_correlation_only() -> None:
    world = twins()
    target, values = world.maps[("cnn", 0)]["p0a"]
    world.maps[("cnn", 0)]["p0a"] = (target, values.sign())
    found = by_score(RetrainStability()(world.evidence()))
    assert (found["spearman_absolute"].n, found["spearman"].n) == (11, 12)
    assert found["spearman_absolute"].exclusions == {"score undefined": 1}


def test_without_another_patient_there_is_no_null_and_the_row_says_so() -> None:
    found = by_score(RetrainStability()(twins(count=2).evidence()))
    null = found["ssim_null"]
    assert np.isnan(null.value)
    assert (null.low, null.n, null.exclusions) == (None, 0, {"no other patient of the class and view": 2})
    assert found["ssim"].low is None  # one patient has no interval
    assert found["ssim_passes"].note == "no null band"


def test_films_that_never_agree_and_a_single_replicate_leave_rows_that_say_why() -> None:
    world = twins()
    flipped = {p: (1 - t, m) for p, (t, m) in world.maps[("cnn", 1)].items()}
    found = by_score(RetrainStability()(World({("cnn", 0): world.maps[("cnn", 0)], ("cnn", 1): flipped}).evidence()))
    assert found["agreeing_share"].value == 0
    assert np.isnan(found["spearman"].value)
    assert found["spearman"].exclusions == {"predictions differ": 12}
    alone = by_score(RetrainStability()(World({("cnn", 0): flipped}).evidence()))
    assert [name for name in alone if not name.endswith("_floor")] == ["agreeing_share"]
    assert np.isnan(alone["agreeing_share"].value)
    assert alone["agreeing_share"].note == "no twin: it has one replicate"


def test_a_study_without_any_map_says_so() -> None:
    found = by_score(RetrainStability()(World({("cnn", 0): {}, ("cnn", 1): {}}).evidence()))
    assert {row.note for row in found.values() if row.n == 0} >= {"no film that counts", "no null band"}


def test_the_floor_compares_repeat_runs_of_the_same_classifier() -> None:
    world = twins()
    world.explainer = Seeded()
    world.repeats = {
        who: {p: (t, m + 0.2 * noise(90 + n, 1, 14)[0]) for n, (p, (t, m)) in enumerate(maps.items())}
        for who, maps in world.maps.items()
    }
    rows = RetrainStability()(world.evidence())
    assert {row.explainer for row in rows} == {"map"}  # a repeat is no explainer of its own
    found = by_score(rows)
    for name in SCORES:
        each = [
            slow_similarity(maps[p][1], world.repeats[who][p][1], 2.0)[name]
            for who, maps in world.maps.items()
            for p in maps
        ]
        floor = found[f"{name}_floor"]
        assert floor.value == pytest.approx(np.mean(each), abs=1e-6)
        assert floor.n == 12
        assert floor.low < floor.value < floor.high
        assert floor.value > found[name].value


def test_without_repeats_the_floor_is_one_where_no_seed_can_change_a_map_and_missing_elsewhere() -> None:
    found = by_score(RetrainStability()(twins().evidence()))
    assert [(found[f"{s}_floor"].value, found[f"{s}_floor"].note) for s in SCORES] == [(1.0, "deterministic")] * 4
    assert found["ssim_floor"].n == 12
    random = twins()
    random.explainer = Seeded()
    assert not any(name.endswith("_floor") for name in by_score(RetrainStability()(random.evidence())))
    assert [deterministic(e) for e in (Signed(), Seeded(), Wrapped())] == [True, False, False]


def test_rows_of_twins_and_of_two_classifiers_are_apart() -> None:
    honest, cheating = twins(), twins()
    other = drawn(noise(77, 12, 14), [t for t, _ in cheating.maps[("cnn", 0)].values()])
    world = World(
        {("honest", 0): honest.maps[("cnn", 0)], ("honest", 1): honest.maps[("cnn", 1)], ("cheating", 0): other}
    )
    rows = RetrainStability()(world.evidence())
    assert [(g.classifier, g.other, len(g.pairs)) for g in groups(world.evidence())] == [
        ("honest", None, 1), ("cheating", None, 0), ("honest", "cheating", 2),
    ]  # fmt: skip
    inside, between = by_score(rows, classifier="honest")["ssim"], by_score(rows, "cheating")["ssim"]
    assert inside.value > between.value + 0.2
    assert (between.classifier, between.better) == ("honest", None)
    pairs = [r for r in rows if r.score_name == "ssim_pair" and r.other_classifier]
    assert [r.note for r in pairs] == ["0-0", "1-0"]
    assert between.value == pytest.approx(np.mean([r.value for r in pairs]))


def test_from_five_twins_on_the_interval_is_over_twins_too_but_never_over_folds() -> None:
    world = twins(replicates=5)
    row = by_score(RetrainStability()(world.evidence()))["spearman"]
    assert "sample of twins" in row.note
    world.fold = {n: n for n in range(5)}
    folds = by_score(RetrainStability()(world.evidence()))["spearman"]
    assert "conditional" in folds.note
    assert "folds" in folds.note
    assert row.value == folds.value
    assert row.high - row.low > folds.high - folds.low


def test_padding_does_not_count() -> None:
    world = twins(size=16)
    content = torch.zeros(32, 32, dtype=torch.bool)
    content[:, 8:] = True
    world.content = dict.fromkeys(films(12), content)
    loud = twins(size=16)
    for r in (0, 1):
        for p, (t, m) in loud.maps[("cnn", r)].items():
            changed = m.clone()
            changed[:, :4] = 1000 * (r + 1)
            loud.maps[("cnn", r)][p] = (t, changed)
    loud.content = world.content
    assert RetrainStability()(world.evidence()) == RetrainStability()(loud.evidence())


def test_films_of_different_content_are_compared_where_both_have_some() -> None:
    """The padding of some films changes no row, whatever it holds."""
    worlds = [twins(size=20), twins(size=20)]
    for loud, world in enumerate(worlds):
        content = {p: torch.ones(40, 40, dtype=torch.bool) for p in films(12)}
        for n, p in enumerate(films(12)):
            content[p][: 4 * (n % 3)] = False
            for r in (0, 1):
                t, m = world.maps["cnn", r][p]
                changed = m.clone()
                changed[: 2 * (n % 3)] = 100.0 * loud
                world.maps["cnn", r][p] = (t, changed)
        world.content = content
    assert RetrainStability()(worlds[0].evidence()) == RetrainStability()(worlds[1].evidence())


def test_a_table_shows_null_floor_and_share_beside_each_score_and_the_accuracy_gap_above() -> None:
    world = twins(replicates=5)
    rows = RetrainStability()(world.evidence())
    run = SimpleNamespace(
        summaries=pd.DataFrame([vars(row) for row in rows]), rows=pd.DataFrame({"family": [], "explainer": []}), key="k"
    )
    (table,) = summary_tables(run)  # type: ignore[arg-type]  # what the table reads of a run
    assert [c.title for c in table.columns[1:]] == [
        "agreeing share", "SSIM ↑", "spearman ↑", "spearman absolute ↑", "top k IoU ↑",
    ]  # fmt: skip
    (block,) = table.groups
    assert block.heading == "twins of cnn, accuracies 0.04 apart"
    numbers, found = block.rows[0][2].numbers, by_score(rows)
    assert numbers["null_high"] == found["ssim_null"].high
    assert (numbers["floor"], numbers["above_null"]) == (1.0, found["ssim_passes"].value)
    assert "over patients and twins from 5 twins on" in table.caption


@pytest.mark.parametrize("fields", [{"grid": 1}, {"share": 0.0}, {"null_draws": 0}])
def test_impossible_numbers_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="RetrainStability"):
        RetrainStability(**fields)
