from dataclasses import replace

import pytest
import torch
from robustness_cases import Brightness, Slope, Watched, case_of, trained
from scipy.ndimage import affine_transform
from scipy.stats import spearmanr
from torch import Tensor, nn
from xai_bench_explainers.center_gaussian import CenterGaussian
from xai_bench_explainers.random_map import RandomMap
from xai_bench_metrics._explained_again import FLAT, NEW_BAD
from xai_bench_metrics.equivariance import (
    CHANGED,
    OUT_OF_SIGHT,
    Equivariance,
    flipped,
    moved,
    predicted,
    rotated,
    shifted,
)

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.protocols import Batch, Player, Players
from xai_bench.samples import Head
from xai_bench.testing import tiny_batch, tiny_classifier
from xai_bench.testing.watch import left_alone

MOVES = ("flip", "shift", "rotation")


class Sum(nn.Module):
    """Knows no place: the picture's brightness, so that only what leaves the frame changes it."""

    def forward(self, x: Tensor) -> Tensor:
        z = 100 + x.mean((1, 2, 3))
        return torch.stack([-z, z], 1)


def nowhere() -> Classifier:
    return Classifier(Sum(), [Head("finding", ("no", "yes"))]).eval()


def planes(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("degrees", [5.0, -30.0, 45.0])
@pytest.mark.parametrize(("mode", "order"), [("bilinear", 1), ("nearest", 0)])
def test_rotation_equals_scipy_s_inside_the_frame(degrees: float, mode: str, order: int) -> None:
    picture = planes(1, 1, 20, 33)
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    cos, sin = angle.cos().item(), angle.sin().item()
    turn = torch.tensor([[cos, sin], [-sin, cos]], dtype=torch.float64).numpy()  # (row, column), rows point down
    center = torch.tensor([9.5, 16.0], dtype=torch.float64).numpy()
    expected = affine_transform(picture[0, 0].double().numpy(), turn, center - turn @ center, order=order, cval=-1)
    found = rotated(picture, mode, degrees=degrees)[0, 0]
    inside = rotated(torch.ones_like(picture), "bilinear", degrees=degrees)[0, 0] > 0.999
    assert inside.float().mean() > 0.3
    assert found[inside].numpy() == pytest.approx(expected[inside.numpy()], abs=1e-5)


def test_a_positive_rotation_is_counterclockwise() -> None:
    picture = torch.zeros(1, 1, 21, 21)
    picture[0, 0, 10, 18] = 1  # right of the center
    up = rotated(picture, "nearest", degrees=90.0)[0, 0].nonzero().tolist()
    assert up == [[2, 10]]


@pytest.mark.parametrize("fields", [{}, {"flip": "vertical", "shift": 40.0, "rotation": -12.0, "share": 0.3}])
def test_a_map_that_is_the_picture_moves_with_it(fields: dict[str, object]) -> None:
    classifier = nowhere()
    batch = replace(tiny_batch(tiny_classifier()), targets=torch.ones(4, dtype=torch.long))
    result = Equivariance(**fields)(case_of(classifier, batch, Brightness()))
    assert result.reasons == (None,) * 4
    for name in ("flip", "shift"):
        assert result.scores[f"equivariance_{name}"].tolist() == pytest.approx([1] * 4)
        assert result.scores[f"equivariance_{name}_iou"].tolist() == pytest.approx([1] * 4)
    assert (result.scores["equivariance_rotation"] > 0.9999).all()
    assert (result.scores["equivariance_rotation_iou"] > 0.99).all()


def test_a_map_that_stays_where_it_is_does_not_move() -> None:
    batch = replace(tiny_batch(tiny_classifier(), 3), targets=torch.ones(3, dtype=torch.long))
    noise = Equivariance()(case_of(nowhere(), batch, RandomMap()))
    for name in MOVES:
        assert noise.scores[f"equivariance_{name}"][:2].abs().max() < 0.15
        assert noise.scores[f"equivariance_{name}_iou"][:2].max() < 0.2
    middle = Equivariance(shift=60.0)(case_of(nowhere(), batch, CenterGaussian()))
    assert middle.scores["equivariance_flip"][:2].tolist() == pytest.approx([1] * 2, abs=1e-3)
    assert middle.scores["equivariance_shift"][:2].max() < 0.9


def test_equals_the_definition() -> None:
    """The map of the moved picture against the moved map, word for word, in the moved content."""
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)  # the last is letterboxed
    result = Equivariance(shift=14.0)(case_of(classifier, batch, Slope()))
    own = Slope()(classifier, batch)
    moves = {
        "flip": lambda m: torch.flip(m, [-1]),
        "shift": lambda m: torch.roll(m, (2, 3), (-2, -1)),  # 14 px at 224 on 32 x 48
    }
    for name, move in moves.items():
        content = move(batch.content)
        if name == "shift":
            content[:, :2], content[:, :, :3] = False, False
        images = move(batch.images).masked_fill(~content[:, None], 0)
        new = Slope()(classifier, replace(batch, images=images, content=content))
        with torch.no_grad():
            said = [classifier(i).argmax(1) for i in (batch.images, images)]
        for n in range(4):
            value = result.scores[f"equivariance_{name}"][n].item()
            if said[0][n] != said[1][n]:
                assert result.reason(f"equivariance_{name}", n) == CHANGED
                continue
            a, b = move(own)[n][content[n]], new[n][content[n]]
            assert value == pytest.approx(spearmanr(a, b).statistic, abs=1e-5)
            k = round(0.1 * len(a))
            top = [set(v.topk(k).indices.tolist()) for v in (a, b)]
            iou = len(top[0] & top[1]) / len(top[0] | top[1])
            assert result.scores[f"equivariance_{name}_iou"][n].item() == pytest.approx(iou)


def test_the_moved_batch_is_a_batch_as_a_letterboxed_one() -> None:
    classifier, seen = nowhere(), []
    batch = tiny_batch(tiny_classifier())
    batch = replace(batch, targets=torch.ones(4, dtype=torch.long))
    Equivariance(shift=14.0)(case_of(classifier, batch, Watched(Brightness(), seen)))
    assert len(seen) == 2 + 3 == 1 + Equivariance.evaluations  # the case's own map, the metric's, one for each move
    for one in seen[2:]:
        assert one.ids == batch.ids
        assert torch.equal(one.targets, batch.targets)
        assert not one.images.masked_select(~one.content[:, None].expand_as(one.images)).any()
        assert 0 <= one.images.min() < one.images.max() <= 1
    flip, shift, rotation = (one.content.sum((1, 2)) for one in seen[2:])
    whole = batch.content.sum((1, 2))
    assert torch.equal(flip, whole)
    assert shift.tolist() == [30 * 45] * 3 + [30 * 32]
    assert (rotation < whole).all()
    assert (rotation > 0.7 * whole).all()


def test_players_move_with_the_picture() -> None:
    batch = tiny_batch(tiny_classifier(), 1)
    labels = (torch.arange(48) // 12).expand(1, 32, 48).contiguous()
    players = Players(labels, ({i: Player(f"L{i}") for i in range(4)},))
    found = moved(replace(batch, players=players), lambda p, mode: flipped(p, mode, axis=3))
    assert found.players.labels.dtype == labels.dtype
    assert torch.equal(found.players.labels, labels.flip(2))
    assert found.players.names == players.names


def test_pictures_whose_prediction_changes_are_excluded_for_that_move() -> None:
    classifier, batch = trained()  # tells left from right: the flip changes its mind
    result = Equivariance()(case_of(classifier, batch, Slope()))
    for score in ("equivariance_flip", "equivariance_flip_iou"):
        assert [result.reason(score, n) for n in range(6)] == [CHANGED] * 6
        assert result.scores[score].isnan().all()
    vertical = Equivariance("vertical")(case_of(classifier, batch, Slope()))
    kept = vertical.scores["equivariance_flip"].isfinite()
    assert kept.sum() >= 4
    assert [vertical.reason("equivariance_flip", n) == CHANGED for n in range(6)] == (~kept).tolist()


def test_the_prediction_is_that_of_the_target_s_head() -> None:
    heads = [Head("two", ("a", "b")), Head("many", ("x", "y"), "sigmoid"), Head("raw", ("mm",), "identity")]
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0, 5.0])

    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return logits.expand(len(x), 5)

    batch = replace(tiny_batch(tiny_classifier(), 5), targets=torch.arange(5))
    assert predicted(Classifier(Fixed(), heads), batch).tolist() == [1, 1, 1, 0, 0]


def test_unusable_and_constant_maps_and_pictures_that_leave_the_frame_are_excluded() -> None:
    batch = replace(tiny_batch(tiny_classifier()), targets=torch.ones(4, dtype=torch.long))
    content = batch.content.clone()
    content[2] = False
    content[2, 30:, 46:] = True
    batch = replace(batch, content=content)

    def explain(_: Classifier, shown: Batch) -> Tensor:
        maps = shown.images.mean(1).clone()
        if not torch.equal(shown.content, batch.content):
            maps[0, 5, 5], maps[1] = torch.nan, 3.0
        return maps

    result = Equivariance(shift=28.0)(case_of(nowhere(), batch, explain))
    for name in ("equivariance_shift", "equivariance_shift_iou"):
        assert [result.reason(name, n) for n in range(4)] == [NEW_BAD, FLAT, OUT_OF_SIGHT, None]
        assert result.scores[name].isnan().tolist() == [True, True, True, False]


def test_the_user_s_model_is_left_alone() -> None:
    classifier, batch = trained()
    classifier.train()
    with left_alone("equivariance", classifier, batch):
        Equivariance()(case_of(classifier, batch, Slope()))


def test_whole_pixels_move_bit_by_bit() -> None:
    picture = planes(2, 3, 5, 7)
    assert torch.equal(flipped(flipped(picture, "bilinear", axis=2), "bilinear", axis=2), picture)
    found = shifted(picture, "bilinear", rows=2, columns=3)
    assert torch.equal(found[:, :, 2:, 3:], picture[:, :, :3, :4])
    assert not found[:, :, :2].any()
    assert not found[:, :, :, :3].any()


@pytest.mark.parametrize(
    ("name", "value"), [("shift", 0.0), ("shift", 112.0), ("rotation", 0.0), ("rotation", 60.0), ("share", 1.0)]
)
def test_impossible_fields_are_refused(name: str, value: float) -> None:
    with pytest.raises(BadInput, match=name):
        Equivariance(**{name: value})
