"""Vertebrae and discs as players: drawn from corners, resized with the film, given to whoever asks for them."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from xai_bench_explainers.kernel_shap import KernelShap
from xai_bench_explainers.lime import Lime
from xai_bench_explainers.occlusion_players import OcclusionPlayers
from xai_bench_explainers.rise import RisePlayers
from xai_bench_explainers.shap_partition import ShapPartition
from xai_bench_metrics.level import Level
from xai_bench_metrics.pointing_game import PointingGame

from xai_bench.anatomy import NO_PLAYERS, T1_TO_L5, anatomy_of, needs_players, players_key, without_players
from xai_bench.classifiers.classifier import Classifier
from xai_bench.datasets.phantom import Films, Phantom
from xai_bench.errors import BadInput
from xai_bench.geometry import chain_mask
from xai_bench.imputers.zero import Zero
from xai_bench.inputs import Input, Resize, read_picture, to_batch
from xai_bench.protocols import Reason, Result
from xai_bench.running.benchmark import evaluate
from xai_bench.samples import Fixed, Sample
from xai_bench.study import Given, Study

SMALL = Phantom(height=96, width=76, films=Films(2, 1, 4))
ANATOMICAL = (
    ShapPartition(60, hierarchy="anatomy"),
    KernelShap(60, segmentation="anatomy"),
    Lime(60, segmentation="anatomy"),
    RisePlayers(60, segmentation="anatomy"),
    OcclusionPlayers("anatomy"),
)


def column(seed: int, count: int = 5, height: int = 40, width: int = 30) -> np.ndarray:
    """Corners of vertebrae that lean and nearly touch, some of them over one another."""
    rng = np.random.default_rng(seed)
    y = np.linspace(6, height - 6, count) + rng.uniform(-2, 2, count)
    center = np.stack([width / 2 + rng.uniform(-5, 5, count), y], 1)
    tilt, half, tall = rng.uniform(-0.5, 0.5, count), rng.uniform(3, 7, count), rng.uniform(1, 4, count)
    along = half[:, None] * np.stack([np.cos(tilt), np.sin(tilt)], 1)
    down = tall[:, None] * np.stack([-np.sin(tilt), np.cos(tilt)], 1)
    return np.stack([center - along - down, center + along - down, center - along + down, center + along + down], 1)


def inside(point: tuple[float, float], corners: np.ndarray) -> bool:
    """Word for word: on one side of all four edges of a convex quadrilateral, given in order around it."""
    turns = [
        (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])
        for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)
    ]
    return min(turns) > 0 or max(turns) < 0


@settings(max_examples=8)
@given(st.integers(0, 10_000))
def test_every_pixel_belongs_to_the_body_that_holds_its_center_else_to_the_disc(seed: int) -> None:
    corners = column(seed)
    labels = anatomy_of(corners, ["T11", "T12", "L1", "L2", "L3"], (40, 30)).labels
    pair = {n: chain_mask(corners[n - 1 : n + 1], labels.shape) for n in range(1, 5)}
    assert labels.dtype == np.int16
    for row, line in enumerate(labels):
        for x, label in enumerate(line):
            point = (x + 0.5, row + 0.5)
            bodies = [n for n, quad in enumerate(corners) if inside(point, quad[[0, 1, 3, 2]])]
            if bodies:
                assert label == 2 * bodies[-1] + 1
            elif label:
                assert label % 2 == 0
                assert pair[label // 2][row, x]
    assert np.array_equal(labels > 0, chain_mask(corners, labels.shape))


def test_names_levels_and_parents() -> None:
    found = anatomy_of(column(0), ["T11", "T12", "L1", "L2", "S1"], (40, 30)).players
    leaves = [found[n] for n in range(1, 10)]
    assert [p.name for p in leaves] == ["T11", "T11-T12", "T12", "T12-L1", "L1", "L1-L2", "L2", "L2-S1", "S1"]
    assert [p.level for p in leaves] == ["T11", "T11", "T12", "T12", "L1", "L1", "L2", "L2", "S1"]
    parents = [found[p.parent] for p in leaves]
    assert [p.name for p in parents] == ["thoracic spine"] * 4 + ["lumbar spine"] * 4 + ["sacral spine"]
    assert {found[p.parent].name for p in parents} == {"spine"}
    assert [p.level for n, p in found.items() if n > 9] == [None] * 4
    assert [p.parent for p in found.values() if p.name == "spine"] == [None]
    assert list(found) == sorted(found)


@pytest.mark.parametrize("levels", [["T1", "X2"], ["T1", "L"], ["T1", ""], ["T1"], ["T1", "1"]])
def test_levels_that_are_none_are_refused(levels: list[str]) -> None:
    with pytest.raises(BadInput, match=r"expected C, T, L or S and a number|give each vertebra its name"):
        anatomy_of(column(0, 2), levels, (40, 30))


@pytest.mark.parametrize("mode", ["stretch", "letterbox"])
def test_players_go_through_the_films_transform(mode: str) -> None:
    sample = SMALL.samples("test")[1]
    native, reader = sample.read_players(), Input(Resize(64, 64, mode))
    picture = read_picture(sample, reader, players=True)
    labels, names = picture.players
    assert names == native.players and not picture.unmarked
    for label in np.unique(native.labels):
        expected = reader.resize.mask(torch.from_numpy(native.labels == label))
        assert torch.equal((labels == label) & picture.content, expected)
    assert not labels[~picture.content].any()
    assert read_picture(sample, reader).players is None


def unmarked(sample: Sample) -> Sample:
    return replace(sample, read_players=lambda: None)


def test_films_with_and_without_marks_share_a_batch() -> None:
    first, second = SMALL.samples("test")[:2]
    reader = Input(Resize(48, 38))
    pictures = [read_picture(s, reader, players=True) for s in (first, unmarked(second))]
    batch = to_batch(pictures, [0, 0])
    assert [p.unmarked for p in pictures] == [False, True]
    assert batch.players.labels.dtype == torch.long
    assert batch.players.labels[0].any() and not batch.players.labels[1].any()
    assert batch.players.names[1] == {}
    assert to_batch([pictures[0], read_picture(second, reader)], [0, 0]).players is None


def test_players_of_another_size_are_refused() -> None:
    first, *_ = SMALL.samples("test")
    wrong = replace(first, read_players=lambda: anatomy_of(column(0), T1_TO_L5[:5], (40, 30)))
    with pytest.raises(BadInput, match=r"'phantom-.*' are \(40, 30\) pixels, the picture \(96, 76\)"):
        read_picture(wrong, Input(), players=True)


@dataclass(frozen=True)
class Wrapped:
    inner: object
    times: int = 2


@dataclass(frozen=True)
class Asking:
    needs_players: ClassVar[bool] = True


def test_who_asks_for_players() -> None:
    assert all(map(needs_players, (*ANATOMICAL, Level(), Asking(), Wrapped(Asking()), Wrapped(Wrapped(ANATOMICAL[0])))))
    assert not any(map(needs_players, (Lime(), ShapPartition(), PointingGame(), Wrapped(Lime()), Wrapped, print)))
    assert players_key(Lime()) == {} != players_key(Level()) == players_key(Wrapped(Asking()))


def test_the_reason_of_unmarked_films_says_so() -> None:
    bad, other = Reason("invalid", "map holds NaN"), Reason("note", "constant map")
    scores = {name: torch.tensor([torch.nan, 1.0, 1.0]) for name in "ab"}
    result = Result(scores, (bad, other, None), own_reasons={"b": (bad, None, None)})
    found = without_players(result, [True, False])
    assert found.reasons == (NO_PLAYERS, other, None) and found.own_reasons["b"] == (NO_PLAYERS, None, None)
    assert without_players(result, [False, False]) is result


@pytest.mark.parametrize("method", ANATOMICAL, ids=lambda m: m.xai_bench_name)
def test_on_a_phantom_a_whole_vertebra_has_one_value(method) -> None:
    pictures = [read_picture(s, Input(Resize(96, 76)), players=True) for s in SMALL.samples("test")[:2]]
    batch = to_batch(pictures, [1, 1])
    maps = method(classifier_of(Upper()), batch)
    for values, labels, names in zip(maps, batch.players.labels, batch.players.names, strict=True):
        each = [values[labels == label].unique() for label in range(34)]
        assert [len(e) for e in each] == [1] * 34, "17 vertebrae, 16 discs, and what is outside"
        assert len(torch.cat(each[1:]).unique()) > 5, "and not all the same"
        assert {names[label].level for label in range(1, 34)} == set(T1_TO_L5)


class Upper(torch.nn.Module):
    """Looks at the brightness of each row, the upper ones more."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = 20 * (x.mean((1, 3)) * torch.linspace(1, 0, x.shape[2])).mean(1)
        return torch.stack([-z, z], 1)


def classifier_of(model: torch.nn.Module) -> Classifier:
    return Classifier(model, SMALL.heads, reader=Input(Resize(96, 76))).eval()


def run(films, tmp_path, batch_size: int = 2):
    splits = {"train": tuple(SMALL.samples("train")), "validation": (), "test": tuple(films)}
    data = Fixed(splits, SMALL.heads, SMALL.findings, SMALL.regions)
    methods = [KernelShap(40, segmentation="anatomy"), OcclusionPlayers("grid(4)")]
    study = Study(
        "anatomy", data, [Given("rows", classifier_of(Upper()))], methods, [PointingGame(), Level()],
        ["level_confusion"], regions=("column",), batch_size=batch_size,
    )  # fmt: skip
    return evaluate(study, store=tmp_path)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_study_explains_marked_films_and_says_why_the_others_have_no_score(tmp_path, batch_size: int) -> None:
    """Whatever the batch size, which would else decide which films are alone."""
    first, second, third, _ = (replace(s, labels={"diagnosis": "scoliosis"}) for s in SMALL.samples("test"))
    found = run([first, unmarked(second), third], tmp_path, batch_size)
    rows = found.rows
    film = rows.picture == second.id
    anatomical, level = rows.explainer == "kernel_shap", rows.metric == "level"
    gone = rows[film & (anatomical | level)]
    assert len(gone) and set(gone.status) == {"excluded"} and set(gone.reason) == {NO_PLAYERS.text}
    assert set(rows[film & ~anatomical & ~level & (rows.score_name != "pointing_10mm")].status) == {"ok"}
    hits = rows[~film & rows.score_name.isin(["hit_rate", "level_hit"])]
    assert len(hits) == 2 * 2 * 2 and set(hits.status) == {"ok"}
    shares = found.summaries[found.summaries.explainer == "kernel_shap"]
    assert shares.value.sum() == pytest.approx(1) and set(shares.n) == {2}
    assert shares.exclusions.iloc[0] == {NO_PLAYERS.text: 1}


def test_a_study_without_any_marked_film_skips_the_method_with_the_reason(tmp_path) -> None:
    films = [unmarked(replace(s, labels={"diagnosis": "scoliosis"})) for s in SMALL.samples("test")[:2]]
    rows = run(films, tmp_path).rows
    skipped = rows[rows.explainer == "kernel_shap"]
    assert set(skipped.status) == {"skipped"} and set(skipped.reason) == {NO_PLAYERS.text}
    assert set(rows[(rows.explainer == "occlusion_players") & (rows.score_name == "hit_rate")].status) == {"ok"}


def test_a_vertebra_that_the_model_alone_looks_at_gets_all() -> None:
    sample = SMALL.samples("test")[0]
    batch = to_batch([read_picture(sample, Input(Resize(96, 76)), players=True)], [1])
    vertebra = batch.players.labels[0] == 15  # T8

    class One(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z = x[:, 0, vertebra].mean(1)
            return torch.stack([-z, z], 1)

    classifier = classifier_of(One())
    methods = [
        OcclusionPlayers("anatomy", Zero(), "logit"),
        KernelShap(500, segmentation="anatomy", imputer=Zero(), score="logit"),
        ShapPartition(5000, Zero(), "anatomy", score="logit"),
    ]
    worth = batch.images[0, 0, vertebra].mean()
    for method in methods:
        found = method(classifier, batch)[0]
        share = vertebra.sum() if isinstance(method, ShapPartition) else 1
        assert torch.allclose(found[vertebra] * share, worth, atol=1e-4), method
        assert found[~vertebra].abs().max() < 1e-4
