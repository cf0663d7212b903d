"""The summary on evidence from plain tables: which twins and runs are factors, what is left out, and what it says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pytest
import torch
from synthetic_run import synthetic_run
from torch import Tensor
from xai_bench_metrics.variance_components import VarianceComponents, normalized, repeats, twins

from xai_bench.errors import BadInput
from xai_bench.protocols import ClassifierCard, Evidence, SummaryRow
from xai_bench.reporting.summary_tables import summary_tables
from xai_bench.reporting.table import DASH
from xai_bench.variance import Design, variance_parts


@dataclass(frozen=True)
class Plain:
    """Stands for an explainer without chance."""


@dataclass(frozen=True)
class Chancy:
    seed: int = 0


@dataclass(frozen=True)
class Wrapping:
    """Draws at random inside another plugin."""

    inner: Chancy = field(default_factory=Chancy)
    seed: str = "fixed"


SIZE, FILMS = 14, [f"film {n:02d}" for n in range(24)]
Table = dict[str, tuple[int, Tensor]]


def card(replicate: int, seed: int | None = None, fold: int | None = None, name: str = "cnn") -> ClassifierCard:
    seed = replicate if seed is None else seed
    return ClassifierCard(name, replicate, seed, "fine_tuning", fold, "cnn", f"{name}-{replicate}", 0.9)


@dataclass(frozen=True)
class World:
    """maps[weights, label] = {picture: (target, map)}; two films a patient."""

    maps: Mapping[tuple[str, str], Table]
    cards: tuple[ClassifierCard, ...]
    explainers: Mapping[str, object]
    content: Mapping[str, Tensor] | None = None

    def rows(self, **fields: int) -> dict[str, SummaryRow]:
        """The rows of the first explainer and classifier by score."""
        found = VarianceComponents(**fields)(self.evidence())
        return {
            r.score_name: r for r in found if (r.explainer, r.classifier) == (found[0].explainer, found[0].classifier)
        }

    def evidence(self) -> Evidence:
        shown = self.content

        def content(_: str, ids: Sequence[str]) -> Sequence[Tensor]:
            assert shown is not None
            return [shown[i] for i in ids]

        films = pd.DataFrame({"picture": FILMS, "patient": [f"p{n // 2}" for n in range(len(FILMS))]})
        return Evidence(
            rows=pd.DataFrame(), predictions=pd.concat([films, films]), cards=self.cards, explainers=self.explainers,
            maps=lambda weights, label: self.maps[weights, label], samples=lambda _: (),
            content=content if shown is not None else None,
        )  # fmt: skip


def table(maps: np.ndarray, scale: float = 1.0) -> Table:
    return {i: (0, scale * torch.from_numpy(m).float()) for i, m in zip(FILMS, maps, strict=True)}


def world(
    count: int = 3, runs: int = 1, picture: float = 0.5, twin: float = 0.15, both: float = 0.2, noise: float = 0.15,
    seed: int = 0, base: str = "lime",
) -> World:  # fmt: skip
    """Twins' maps with known shares of variance, each table at a scale of its own."""
    rng = np.random.default_rng(seed)
    field = (len(FILMS), SIZE, SIZE)
    shared = 1 + np.sqrt(picture) * rng.normal(size=field)
    labels = [base] + [f"{base}#{n}" for n in range(2, runs + 1)]
    maps = {}
    for t in range(count):
        own = np.sqrt(twin) * rng.normal(size=field[1:]) + np.sqrt(both) * rng.normal(size=field)
        for n, label in enumerate(labels):
            maps[f"cnn-{t}", label] = table(shared + own + np.sqrt(noise) * rng.normal(size=field), 10.0 ** (t - n))
    explainers = {label: Chancy(n) for n, label in enumerate(labels)}
    return World(maps, tuple(card(t) for t in range(count)), explainers)


@pytest.mark.parametrize("count", [3, 5])
def test_known_shares_of_simulated_maps_are_found_within_a_tenth(count: int) -> None:
    truth = {"share_picture": 0.5, "share_twin": 0.15, "share_picture_twin": 0.2, "share_noise": 0.15}
    for seed in range(5):
        found = world(count, 2, seed=seed).rows()
        assert {name: found[name].value for name in truth} == pytest.approx(truth, abs=0.1)
        assert found["icc"].value == pytest.approx(0.5, abs=0.1)
        assert found["icc_consistency"].value == pytest.approx(0.5 / 0.85, abs=0.1)


def test_rows_are_the_decomposition_of_the_normalized_maps() -> None:
    made = world(3, 2)
    values = np.stack(
        [
            [[made.maps[f"cnn-{t}", label][i][1].numpy().ravel() for label in made.explainers] for t in range(3)]
            for i in FILMS
        ]
    ).astype(float)
    values /= np.linalg.norm(values, axis=-1, keepdims=True)
    design = Design(("twin", "repeat"), {"repeat": ("picture",)})
    expected = variance_parts(values, design, [f"p{n // 2}" for n in range(len(FILMS))])
    found = made.rows()
    for part, score in {"picture": "share_picture", "noise": "share_noise", "icc": "icc"}.items():
        row, limits = found[score], expected.intervals[part]
        assert (row.value, row.low, row.high) == pytest.approx(
            (expected.values[part], limits.low, limits.high), abs=1e-5
        )
        assert (row.n, row.exclusions) == (24, {})
    assert "BCa over patients, conditional on 3 twins" in found["icc"].note
    assert (found["icc"].better, found["share_twin"].better) == ("higher", None)


def test_one_run_of_a_random_explainer_does_not_name_its_noise() -> None:
    found = world(3, 1).rows()
    assert set(found) == {"share_picture", "share_twin", "share_picture_twin_and_noise", "icc", "icc_consistency"}
    assert found["share_picture_twin_and_noise"].value == pytest.approx(0.35, abs=0.05)
    assert "its chance is not told apart" in found["icc"].note


def test_an_explainer_without_chance_has_noise_of_exactly_zero() -> None:
    made = world(3, 2, noise=0.0)
    found = replace(made, explainers=dict.fromkeys(made.explainers, Plain())).rows()
    assert (found["share_noise"].value, found["share_noise"].low) == (0.0, None)
    assert found["share_picture_twin"].value == pytest.approx(0.2 / 0.85, abs=0.05)
    assert "not told apart" not in found["icc"].note


def test_runs_are_grouped_by_label_and_equal_runs_count_once() -> None:
    made = world()

    def grouped(**explainers: object) -> list[tuple[str, tuple[str, ...], bool]]:
        named = {name.replace("_", "#"): plugin for name, plugin in explainers.items()}
        return [(r.label, r.runs, r.random) for r in repeats(replace(made, explainers=named).evidence())]

    assert grouped(lime=Chancy(), cam=Plain(), lime_2=Chancy(1), lime_3=Chancy(2)) == [
        ("lime", ("lime", "lime#2", "lime#3"), True), ("cam", ("cam",), False),
    ]  # fmt: skip
    assert grouped(lime=Wrapping(), lime_2=Wrapping()) == [("lime", ("lime",), True)]
    assert grouped(lime=Wrapping(), lime_2=Wrapping(Chancy(1))) == [("lime", ("lime", "lime#2"), True)]
    assert grouped(cam=Plain(), cam_2=Plain()) == [("cam", ("cam",), False)]
    assert grouped(lime_2=Chancy(1)) == [("lime#2", ("lime#2",), True)]


def test_folds_and_seeds_are_told_apart_where_the_design_allows() -> None:
    def found(*pairs: tuple[int | None, int]) -> tuple[Design, tuple[int, ...], list[int], str]:
        group = twins([card(n, seed, fold) for n, (fold, seed) in enumerate(pairs)])
        return group.design, group.sizes, [c.replicate for c in group.cards], group.note

    crossed = found((0, 7), (1, 7), (1, 8), (0, 8))
    assert crossed[:3] == (Design(("fold", "twin")), (2, 2), [0, 3, 1, 2])
    nested = found((0, 1), (0, 2), (1, 3), (1, 4))
    assert nested[:3] == (Design(("fold", "twin"), {"twin": ("fold",)}), (2, 2), [0, 1, 2, 3])
    assert found((0, 0), (1, 1), (2, 2))[:2] == (Design(("twin",)), (3,))
    assert "cannot tell apart" in found((0, 0), (1, 1), (2, 2))[3]
    assert found((0, 0), (0, 1), (1, 0))[:2] == (Design(("twin",)), (3,))  # not balanced
    assert found((None, 0), (None, 1)) == (Design(("twin",)), (2,), [0, 1], "")
    assert found((0, 0), (0, 1))[3] == ""  # one fold only


@pytest.mark.parametrize("same_seeds", [True, False])
def test_the_share_of_the_fold_is_found(same_seeds: bool) -> None:
    rng = np.random.default_rng(0)
    shared, maps, cards = 1 + np.sqrt(0.4) * rng.normal(size=(len(FILMS), SIZE, SIZE)), {}, []
    for fold in range(4):
        of_fold = np.sqrt(0.3) * rng.normal(size=(SIZE, SIZE))
        for seed in range(3):
            cards.append(card(len(cards), seed if same_seeds else len(cards), fold))
            own = np.sqrt(0.1) * rng.normal(size=(SIZE, SIZE)) + np.sqrt(0.2) * rng.normal(size=shared.shape)
            maps[cards[-1].weights, "cam"] = table(shared + of_fold + own)
    found = World(maps, tuple(cards), {"cam": Plain()}).rows()
    truth = {"share_picture": 0.4, "share_fold": 0.3, "share_twin": 0.1, "share_picture_twin": 0.2, "share_noise": 0}
    assert {name: found[name].value for name in truth} == pytest.approx(truth, abs=0.08)
    assert ("crossed" if same_seeds else "nested") in found["icc"].note


def test_pictures_that_cannot_be_compared_are_counted_by_reason() -> None:
    made = world(3, 2)
    first, second = made.maps["cnn-0", "lime"], made.maps["cnn-2", "lime#2"]
    del second["film 00"]
    first["film 01"] = (1, first["film 01"][1])
    first["film 02"] = (0, torch.full((SIZE, SIZE), float("nan")))
    second["film 02"] = (0, torch.zeros(SIZE, SIZE))
    second["film 03"] = (0, torch.full((SIZE, SIZE), 0.1))
    first["film 04"] = (0, torch.zeros(SIZE, SIZE))
    row = made.rows()["icc"]
    assert row.n == 19
    assert row.exclusions == {"no map of one twin": 1, "predictions differ": 1, "invalid map": 1, "constant map": 2}


def test_without_twins_or_common_films_a_row_says_why() -> None:
    made = world(2)
    alone = replace(made, cards=made.cards[:1]).rows()
    assert list(alone) == ["icc"] and np.isnan(alone["icc"].value)
    assert alone["icc"].note == "no twin: it has one replicate"
    flipped = {i: (1, m) for i, (_, m) in made.maps["cnn-1", "lime"].items()}
    apart = replace(made, maps={**made.maps, ("cnn-1", "lime"): flipped}).rows()["icc"]
    assert (apart.n, apart.exclusions, apart.note) == (0, {"predictions differ": 24}, "fewer than two films that count")
    nothing = replace(made, maps={**made.maps, ("cnn-1", "lime"): {}}).rows()["icc"]
    assert nothing.exclusions == {"no map of one twin": 24}
    same = table(np.random.default_rng(0).normal(size=(1, SIZE, SIZE)).repeat(len(FILMS), 0))
    fixed = replace(made, maps=dict.fromkeys(made.maps, same)).rows()["icc"]
    assert np.isnan(fixed.value) and fixed.note == "all maps are equal"


def test_maps_meet_on_the_coarser_native_grid_of_at_most_56_cells() -> None:
    made = world(2)
    fine = {key: {i: (t, m.repeat_interleave(8, 0).repeat_interleave(8, 1)) for i, (t, m) in own.items()}
            for key, own in made.maps.items()}  # fmt: skip
    mixed = {("cnn-0", "lime"): fine["cnn-0", "lime"], ("cnn-1", "lime"): made.maps["cnn-1", "lime"]}
    plain = made.rows()["share_twin"]
    assert replace(made, maps=mixed).rows()["share_twin"].value == pytest.approx(plain.value, abs=1e-6)
    assert replace(made, maps=fine).rows(grid=14)["share_twin"].value == pytest.approx(plain.value, abs=1e-6)
    assert replace(made, maps=fine).rows()["share_twin"].value == pytest.approx(plain.value, abs=1e-6)  # 112 -> 56


def test_padding_does_not_count() -> None:
    made = world(2)
    content = torch.zeros(28, 28, dtype=torch.bool)
    content[:, 8:] = True
    loud = {}
    for n, (key, own) in enumerate(made.maps.items()):
        loud[key] = {
            i: (t, torch.cat([torch.full((SIZE, 4), 1e3 * (n + 1)), m[:, 4:]], 1)) for i, (t, m) in own.items()
        }
    quiet, noisy = (replace(made, maps=m, content=dict.fromkeys(FILMS, content)) for m in (made.maps, loud))
    assert noisy.rows() == quiet.rows()


def test_tiny_and_huge_maps_are_normalized_alike() -> None:
    maps, everywhere = torch.randn(1, 5, 5, generator=torch.Generator().manual_seed(0)), torch.ones(1, 5, 5).bool()
    expected = maps / maps.norm()
    for scale in (1e-30, 1.0, 1e30):
        shown, flat = normalized(maps * scale, everywhere)
        assert torch.allclose(shown, expected, rtol=1e-5)
        assert not flat.item()


def test_classifiers_and_explainers_have_rows_of_their_own() -> None:
    made = world(2)
    other = tuple(card(t, name="vit") for t in range(2))
    maps = {(w.replace("cnn", name), label): own for (w, _), own in made.maps.items()
            for name in ("cnn", "vit") for label in ("lime", "cam")}  # fmt: skip
    both = World(maps, made.cards + other, {"lime": Chancy(), "cam": Plain()})
    found = VarianceComponents()(both.evidence())
    assert list(dict.fromkeys((r.explainer, r.classifier) for r in found)) == [
        ("lime", "cnn"), ("lime", "vit"), ("cam", "cnn"), ("cam", "vit"),
    ]  # fmt: skip
    assert all(r.summary == "variance_components" and r.other_classifier is None for r in found)


def test_an_impossible_grid_is_refused() -> None:
    with pytest.raises(BadInput, match="grid is 1"):
        VarianceComponents(grid=1)


def test_the_table_has_percents_a_joined_share_and_a_block_for_each_classifier_with_twins() -> None:
    made = world(3, 2)
    maps = {**made.maps} | {(c.weights, other): made.maps[c.weights, "lime"] for c in made.cards
                            for other in ("rise", "random_map")}  # fmt: skip
    del maps["cnn-0", "rise"]["film 00"]
    alone = card(0, name="vit")
    maps |= {("vit-0", label): made.maps["cnn-0", "lime"] for label in ("lime", "lime#2", "rise", "random_map")}
    explainers = {**made.explainers, "rise": Chancy(), "random_map": Plain()}
    rows = VarianceComponents()(World(maps, (*made.cards, alone), explainers).evidence())
    run = replace(synthetic_run(patients=4), summaries=pd.DataFrame([vars(r) for r in rows]))
    (shown,) = summary_tables(run)  # type: ignore[arg-type]
    assert [(g.heading, g.chance, len(g.rows)) for g in shown.groups] == [
        ("twins of cnn", False, 2), ("chance (twins of cnn)", True, 1),
    ]  # fmt: skip
    heads = [c.title for c in shown.columns]
    assert heads == ["method", "picture", "twin", "picture \N{MULTIPLICATION SIGN} twin", "explainer's chance", "ICC ↑"]
    lime, rise = shown.groups[0].rows
    by_name = {r.score_name: r for r in rows if (r.explainer, r.classifier) == ("lime", "cnn")}
    row = by_name["share_twin"]
    assert lime[2].text == f"{100 * row.value:.0f} [{100 * row.low:.0f}, {100 * row.high:.0f}]"
    assert (lime[5].numbers["value"], lime[5].numbers["consistency_low"]) == (
        by_name["icc"].value, by_name["icc_consistency"].low,
    )  # fmt: skip
    assert (rise[3].small, rise[4].text) == ("with its chance", DASH)
    assert shown.groups[1].rows[0][4].text == "0"
    notes = " ".join(shown.footnotes)
    assert "1 left out, no map of one twin" in notes and "cnn (rise): BCa over patients" in notes
    assert "no twin: it has one replicate" in notes


def test_there_is_no_table_where_nothing_has_twins() -> None:
    made = world(2)
    rows = VarianceComponents()(replace(made, cards=made.cards[:1]).evidence())
    run = replace(synthetic_run(patients=4), summaries=pd.DataFrame([vars(r) for r in rows]))
    assert summary_tables(run) == []  # type: ignore[arg-type]
