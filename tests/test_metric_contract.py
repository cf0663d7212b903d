"""What all metrics share. The registry-wide contract test is xai_bench.testing's; here is how it comes about."""

import pytest
import torch
from xai_bench_metrics._contract import (
    BAD_MAP,
    BAD_SCORE,
    CONSTANT,
    FOLLOWED,
    MARKED_NOTHING,
    NO_PIXEL,
    NOT_READ,
    as_mask,
    check,
    conclude,
)

from xai_bench.errors import BadInput
from xai_bench.protocols import Batch, Case, Reason


def make_case(
    saliency: torch.Tensor, region: torch.Tensor | None, state: tuple[str, ...] | None = None, **batch: object
) -> Case:
    """A case without a model: gray pictures, all content, no spacing."""
    b, h, w = saliency.shape
    given = {"content": torch.ones(b, h, w, dtype=torch.bool), "spacing_mm": torch.full((b, 2), float("nan"))} | batch
    pictures = Batch(
        torch.zeros(b, 1, h, w), torch.zeros(b, dtype=torch.long), tuple(map(str, range(b))), players=None, **given
    )
    return Case(None, pictures, None, saliency, region, state or ("drawn",) * b)


MAPS = torch.rand(5, 4, 4, generator=torch.Generator().manual_seed(0))
REGION = torch.zeros(5, 4, 4, dtype=torch.bool)
REGION[:, 1:3, 1:3] = True


def test_each_picture_gets_its_own_reason_and_missing_scores_become_nan() -> None:
    maps, region = MAPS.clone(), REGION.clone()
    maps[2, 0, 0] = float("nan")
    maps[3] = -1
    region[4] = False
    found = check(make_case(maps, region, ("not_read", "marked_nothing", "drawn", "drawn", "drawn")), "positive")
    result = conclude(found, {"score": torch.ones(5)})
    assert result.reasons == (NOT_READ, MARKED_NOTHING, BAD_MAP, CONSTANT, NO_PIXEL)
    assert result.scores["score"].isnan().tolist() == [True, True, True, False, True]


def test_what_is_not_content_is_neither_map_nor_region() -> None:
    content = torch.ones(5, 4, 4, dtype=torch.bool)
    content[:, :, :2] = False
    found = check(make_case(MAPS, REGION, content=content), "signed")
    assert not found.saliency[:, :, :2].any()
    assert found.region.sum((1, 2)).tolist() == [2] * 5


def test_polarity_is_the_part_of_the_map_that_counts() -> None:
    maps = MAPS - 0.5
    case = make_case(maps, REGION)
    found = {polarity: check(case, polarity).saliency for polarity in ("positive", "absolute", "signed")}
    assert torch.equal(found["positive"], maps.clamp(min=0))
    assert torch.equal(found["absolute"], maps.abs())
    assert torch.equal(found["signed"], maps)


def test_scores_have_reasons_of_their_own_only_where_they_differ() -> None:
    found = check(make_case(MAPS, REGION, ("not_read", "drawn", "drawn", "drawn", "drawn")), "positive")
    gone = torch.tensor([False, True, False, False, False])
    own = {"mm": ((gone, Reason("excluded", "no spacing")),)}
    assert conclude(found, {"px": torch.ones(5)}).own_reasons == {}
    assert set(conclude(found, {"px": torch.ones(5), "mm": torch.ones(5)}, own).own_reasons) == {"px", "mm"}
    assert conclude(found, {"px": torch.ones(5), "mm": torch.ones(5)}).own_reasons == {}


def test_polarity_decides_what_is_constant() -> None:
    case = make_case(-MAPS - 1, REGION)
    assert check(case, "positive").constant.all()
    assert not check(case, "signed").constant.any()


def test_a_score_of_its_own_reason_leaves_the_others_alone() -> None:
    found = check(make_case(MAPS, REGION), "positive")
    reason = Reason("excluded", "no spacing")
    gone = torch.tensor([True, False, False, False, False])
    result = conclude(found, {"px": torch.ones(5), "mm": torch.ones(5)}, {"mm": ((gone, reason),)})
    assert result.reason("mm", 0) == reason
    assert result.reason("px", 0) is None
    assert result.reasons[0] == Reason("note", "no spacing")
    assert result.reasons[1:] == (None,) * 4
    assert result.scores["px"].isfinite().all()
    assert result.scores["mm"].isnan().tolist() == gone.tolist()


def test_a_score_is_never_a_bare_nan() -> None:
    result = conclude(check(make_case(MAPS, REGION), "positive"), {"score": torch.tensor([1, 2, 3, 4, float("inf")])})
    assert result.reasons == (None,) * 4 + (BAD_SCORE,)
    assert result.scores["score"][4].isnan()


def test_curves_of_missing_pictures_are_missing() -> None:
    maps = MAPS.clone()
    maps[0, 0, 0] = float("inf")
    found = check(make_case(maps, REGION), "positive")
    result = conclude(found, {"score": torch.ones(5)}, curves={"curve": torch.ones(5, 3)}, x=torch.arange(3.0))
    assert result.curves["curve"].isnan().any(1).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32, torch.int64, torch.bool])
def test_regions_come_in_any_number_type_and_channel_layout(kind: torch.dtype) -> None:
    values = REGION.to(kind) * (1 if kind is torch.bool else 255)
    for layout in (values, values[:, None], values[..., None], values[:, None].expand(-1, 3, -1, -1)):
        assert torch.equal(as_mask(layout), REGION)


def test_a_region_of_another_size_follows_the_picture_with_a_note() -> None:
    large = REGION.repeat_interleave(2, 1).repeat_interleave(2, 2)
    found = check(make_case(MAPS, large), "positive")
    assert torch.equal(found.region, REGION)
    assert conclude(found, {"score": torch.ones(5)}).reasons == (FOLLOWED,) * 5


def test_a_picture_of_one_column_is_a_picture() -> None:
    found = check(make_case(MAPS[:, :, :1], REGION[:, :, 1:2]), "positive")
    assert torch.equal(found.region, REGION[:, :, 1:2])
    assert conclude(found, {"score": torch.ones(5)}).reasons == (None,) * 5


def test_a_missing_region_and_a_map_of_another_size_are_refused() -> None:
    with pytest.raises(BadInput, match="needs a region"):
        check(make_case(MAPS, None), "positive")
    case = make_case(MAPS, REGION)
    with pytest.raises(BadInput, match="upsample the maps"):
        check(Case(None, case.batch, None, MAPS[:, :2], REGION, case.region_state), "positive")
    with pytest.raises(BadInput, match="regions have shape"):
        as_mask(torch.ones(4, 4))
