from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from torch import Tensor
from xai_bench_metrics.retrain_stability import RetrainStability, groups, partners

from xai_bench.errors import BadInput
from xai_bench.protocols import ClassifierCard, Evidence, SummaryRow
from xai_bench.statistics import bootstrap_mean


@dataclass(frozen=True)
class Signed:
    """Stands for an explainer; only its traits are looked at."""

    signed: ClassVar[bool] = True


@dataclass(frozen=True)
class Positive:
    signed: ClassVar[bool] = False


@dataclass
class World:
    """Evidence from plain tables: maps[(classifier, replicate)] = {picture: (target, map)}."""

    maps: dict[tuple[str, int], dict[str, tuple[int, Tensor]]]
    view: dict[str, str] = field(default_factory=dict)
    explainer: object = Signed()
    content: Mapping[str, Tensor] | None = None

    def evidence(self, seed: int = 0) -> Evidence:
        cards = tuple(
            ClassifierCard(name, n, n, "fine_tuning", None, "cnn", f"{name}-{n}", 0.9) for name, n in self.maps
        )
        pictures = sorted({p for maps in self.maps.values() for p in maps})
        rows = [
            {"weights": c.weights, "picture": p, "patient": patient(p), "view": self.view.get(p, "AP")}
            for c in cards
            for p in pictures
        ]
        by_weights = {f"{name}-{n}": maps for (name, n), maps in self.maps.items()}
        shown = self.content

        def content(_: str, ids: Sequence[str]) -> Sequence[Tensor]:
            assert shown is not None
            return [shown[i] for i in ids]

        return Evidence(
            rows=pd.DataFrame(), predictions=pd.DataFrame(rows), cards=cards, explainers={"map": self.explainer},
            maps=lambda weights, _: by_weights[weights], samples=lambda _: (), seed=seed,
            content=content if shown is not None else None,
        )  # fmt: skip


def patient(picture: str) -> str:
    """Two films each: `p3b` belongs to `p3`."""
    return picture[:-1]


def films(count: int) -> list[str]:
    return [f"p{n // 2}{'ab'[n % 2]}" for n in range(count)]


def noise(seed: int, count: int, size: int) -> Tensor:
    return torch.randn(count, size, size, generator=torch.Generator().manual_seed(seed))


def twins(count: int = 12, size: int = 14, noisy: float = 0.5, classes: int = 2) -> World:
    """Two twins that share what belongs to the film, and differ by noise."""
    shared = noise(0, count, size)
    targets = [n // 2 % classes for n in range(count)]
    maps = {
        ("cnn", r): {
            p: (t, m) for p, t, m in zip(films(count), targets, shared + noisy * noise(r + 1, count, size), strict=True)
        }
        for r in (0, 1)
    }
    return World(maps)


def by_score(rows: Sequence[SummaryRow], other: str | None = None) -> dict[str, SummaryRow]:
    return {row.score_name: row for row in rows if row.other_classifier == other}


def slow_similarity(a: Tensor, b: Tensor, span: float) -> dict[str, float]:
    """Word for word, one pair of maps with distinct values, by scikit-image and SciPy."""
    x, y = (m.double().numpy() / m.abs().max().item() for m in (a, b))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": span}
    k = round(0.1 * x.size)
    top = [set(np.argsort(-m.ravel())[:k].tolist()) for m in (x, y)]
    return {
        "ssim": structural_similarity(x, y, **options),
        "spearman": spearmanr(x.ravel(), y.ravel()).statistic,
        "top_k_iou": len(top[0] & top[1]) / len(top[0] | top[1]),
    }


@pytest.mark.parametrize(("explainer", "span"), [(Signed(), 2.0), (Positive(), 1.0)])
def test_equals_the_definition_on_agreeing_films(explainer: object, span: float) -> None:
    world = twins()
    world.explainer = explainer
    first, second = world.maps[("cnn", 0)], world.maps[("cnn", 1)]
    second["p1a"] = (1 - second["p1a"][0], second["p1a"][1])
    found = by_score(RetrainStability()(world.evidence()))
    agreeing = [p for p in first if p != "p1a"]
    each = [slow_similarity(first[p][1], second[p][1], span) for p in agreeing]
    for name in ("ssim", "spearman", "top_k_iou"):
        values = np.array([e[name] for e in each])
        row, expected = found[name], bootstrap_mean(values, [patient(p) for p in agreeing])
        assert row.value == pytest.approx(values.mean(), abs=1e-6)
        assert (row.low, row.high) == pytest.approx((expected.low, expected.high), abs=1e-6)
        assert (row.n, row.exclusions, row.better) == (11, {"predictions differ": 1}, "higher")
        assert "conditional" in row.note
    share = found["agreeing_share"]
    assert share.value == pytest.approx(11 / 12)
    assert share.low < share.value < share.high


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
    assert [same[name].value for name in ("ssim", "spearman", "top_k_iou", "agreeing_share")] == pytest.approx([1] * 4)
    assert same["agreeing_share"].low < 1  # never an interval of zero width for a rate
    world = twins(count=40)
    for r in (0, 1):
        maps = world.maps[("cnn", r)]
        world.maps[("cnn", r)] = {p: (t, m) for (p, (t, _)), m in zip(maps.items(), noise(50 + r, 40, 14), strict=True)}
    free = by_score(RetrainStability()(world.evidence()))
    for name in ("ssim", "spearman", "top_k_iou"):
        null = free[f"{name}_null"]
        assert null.low < free[name].value < null.high
        assert free[name].low < null.value < free[name].high


def test_the_null_band_compares_other_patients_of_the_same_class_and_view() -> None:
    table = pd.DataFrame({"picture": films(40), "patient": list(map(patient, films(40)))})
    table["target"] = [n % 3 for n in range(40)]
    table["view"] = ["AP" if n % 5 else "lateral" for n in range(40)]
    usable = np.array([n for n in range(40) if n != 7])
    i, j = partners(table, usable, 4, 0)
    one, other = table.iloc[i.tolist()].reset_index(), table.iloc[j.tolist()].reset_index()
    assert (one.patient != other.patient).all()
    assert (one.target == other.target).all()
    assert (one["view"] == other["view"]).all()
    assert 7 not in i.tolist() + j.tolist()
    assert max(np.bincount(i)) == 4
    assert len(set(zip(i.tolist(), j.tolist(), strict=True))) == len(i)
    assert not torch.equal(partners(table, usable, 4, 1)[1], j)


def test_a_partner_depends_on_the_film_and_not_on_the_order_of_the_maps() -> None:
    world = twins()
    turned = World({who: dict(reversed(maps.items())) for who, maps in world.maps.items()})
    assert RetrainStability()(world.evidence()) == RetrainStability()(turned.evidence())


def test_maps_that_cannot_be_compared_are_counted_by_reason() -> None:
    world = twins()
    first, second = world.maps[("cnn", 0)], world.maps[("cnn", 1)]
    del second["p0a"]
    first["p0b"] = (first["p0b"][0], torch.full((14, 14), float("nan")))
    second["p1a"] = (second["p1a"][0], torch.full((14, 14), 0.1))
    found = by_score(RetrainStability()(world.evidence()))
    reasons = {"no map of one classifier": 1, "invalid map": 1, "constant map": 1}
    assert found["ssim"].exclusions == reasons
    assert found["ssim"].n == 9
    assert found["agreeing_share"].exclusions == {"no map of one classifier": 1}
    assert found["agreeing_share"].n == 11


def test_without_another_patient_there_is_no_null_and_the_row_says_so() -> None:
    found = by_score(RetrainStability()(twins(count=2).evidence()))
    null = found["ssim_null"]
    assert np.isnan(null.value)
    assert (null.low, null.n, null.exclusions) == (None, 0, {"no other patient of the class and view": 2})
    assert found["ssim"].low is None  # one patient has no interval


def test_films_that_never_agree_and_a_single_replicate_leave_rows_that_say_why() -> None:
    world = twins()
    flipped = {p: (1 - t, m) for p, (t, m) in world.maps[("cnn", 1)].items()}
    found = by_score(RetrainStability()(World({("cnn", 0): world.maps[("cnn", 0)], ("cnn", 1): flipped}).evidence()))
    assert found["agreeing_share"].value == 0
    assert np.isnan(found["spearman"].value)
    assert found["spearman"].exclusions == {"predictions differ": 12}
    alone = by_score(RetrainStability()(World({("cnn", 0): flipped}).evidence()))
    assert list(alone) == ["agreeing_share"]
    assert np.isnan(alone["agreeing_share"].value)
    assert alone["agreeing_share"].note == "no twin: it has one replicate"


def test_rows_of_twins_and_of_two_classifiers_are_apart() -> None:
    honest, cheating = twins(), twins()
    other = {p: (t, m) for (p, (t, _)), m in zip(cheating.maps[("cnn", 0)].items(), noise(77, 12, 14), strict=True)}
    world = World(
        {("honest", 0): honest.maps[("cnn", 0)], ("honest", 1): honest.maps[("cnn", 1)], ("cheating", 0): other}
    )
    rows = RetrainStability()(world.evidence())
    assert [(g.classifier, g.other, len(g.pairs)) for g in groups(world.evidence().cards)] == [
        ("honest", None, 1), ("cheating", None, 0), ("honest", "cheating", 2),
    ]  # fmt: skip
    inside = next(r for r in rows if r.score_name == "ssim" and r.classifier == "honest" and r.other_classifier is None)
    between = by_score(rows, "cheating")["ssim"]
    assert inside.value > between.value + 0.2
    assert (between.classifier, between.better) == ("honest", None)
    assert between.note.count("/") == 2  # both pairs' own values


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


@pytest.mark.parametrize("fields", [{"grid": 1}, {"share": 0.0}, {"null_draws": 0}])
def test_impossible_numbers_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="RetrainStability"):
        RetrainStability(**fields)
