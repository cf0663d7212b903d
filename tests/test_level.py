"""Which level holds the peak: a plain twin, ties, chance, the nearest of several references, and what is missing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import make_case
from xai_bench_metrics._contract import BAD_MAP, CONSTANT, NO_PIXEL
from xai_bench_metrics.level import ABOVE, BELOW, NO_LEVEL, PEAK_OUTSIDE, Level, numbered

from xai_bench.anatomy import NO_PLAYERS
from xai_bench.datasets.phantom import Films, Phantom
from xai_bench.inputs import Input, Resize, read_picture, to_batch, to_region
from xai_bench.protocols import Case, Player, Players
from xai_bench.samples import RegionKey

SHARES = (*ABOVE, "level_hit", *BELOW)
SPINE = {
    1: Player("T12", "T12", 7),
    2: Player("T12-L1", "T12", 7),
    3: Player("L1", "L1", 8),
    4: Player("L1-L2", "L1", 8),
    5: Player("L2", "L2", 8),
    6: Player("L2-L3", "L2", 8),
    7: Player("thoracic spine", None, 9),
    8: Player("lumbar spine", None, 9),
    9: Player("spine"),
    10: Player("L3", "L3", 8),
    11: Player("L4", "L4", 8),
    12: Player("L5", "L5", 8),
}


def level_case(saliency, region, labels, content=None, names=SPINE) -> Case:
    """Maps, regions and player labels (b, h, w); all films have the same players."""
    case = make_case(*(torch.as_tensor(np.asarray(t)) for t in (saliency, region)), content)
    players = Players(torch.as_tensor(np.asarray(labels)).long(), (names,) * len(case.batch))
    return replace(case, batch=replace(case.batch, players=players))


def slow_scores(saliency, region, labels, content, names) -> dict[str, float]:
    """Word for word, pixel by pixel."""
    order = list(dict.fromkeys(names[n].level for n in sorted(names) if names[n].level))
    where = [p for p in np.ndindex(saliency.shape) if content[p]]
    known = {n: order.index(p.level) for n, p in names.items() if p.level}
    level = {p: known.get(labels[p]) for p in where}
    whole = {n: [p for p in where if level[p] == n] for n in range(len(order))}
    inside = {n: sum(bool(region[p]) for p in whole[n]) for n in whole}
    reference = [n for n in whole if inside[n] and inside[n] >= len(whole[n]) / 2]
    reference = reference or [n for n in whole if inside[n] and inside[n] == max(inside.values())]
    best = max(max(saliency[p], 0) for p in where)
    peaks = [p for p in where if max(saliency[p], 0) == best]
    found = dict.fromkeys((*SHARES, "outside_spine"), 0.0)
    errors = []
    for p in peaks:
        if level[p] is None:
            found["outside_spine"] += 1 / len(peaks)
        elif reference:
            away = min(abs(level[p] - r) for r in reference)
            nearest = [r for r in reference if abs(level[p] - r) == away]
            errors.append(away)
            for r in nearest:
                names_of_side = BELOW if level[p] > r else ABOVE
                name = "level_hit" if away == 0 else names_of_side[min(away, 3) - 1]
                found[name] += 1 / len(peaks) / len(nearest)
    if not reference:
        found |= dict.fromkeys((*SHARES, "level_wrong", "level_error"), float("nan"))
    else:
        found["level_wrong"] = sum(found[n] for n in (*ABOVE, *BELOW))
        found["level_error"] = sum(errors) / len(errors) if errors else float("nan")
    return found


@settings(max_examples=40)
@given(st.integers(0, 10_000))
def test_equals_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    h, w = rng.integers(4, 10, 2)
    saliency = rng.integers(-2, 3 + rng.integers(0, 30), (3, h, w)).astype(np.float32)
    labels = rng.choice([0, *SPINE, 40], (3, h, w), p=[0.3, *[0.66 / 12] * 12, 0.04])
    region, content = rng.random((3, h, w)) < rng.choice([0.1, 0.5]), rng.random((3, h, w)) < 0.8
    region[:, h // 2, w // 2] = content[:, h // 2, w // 2] = True
    result = Level()(level_case(saliency, region, labels, torch.from_numpy(content)))
    for n in range(3):
        expected = slow_scores(saliency[n], region[n], labels[n], content[n], SPINE)
        for name, value in result.scores.items():
            assert value[n].item() == pytest.approx(expected[name], nan_ok=True), name
            assert (result.reason(name, n) is not None and result.reason(name, n).state != "note") == value[n].isnan()


def rows_of(*labels: int, width: int = 4) -> np.ndarray:
    """One film whose rows are these players."""
    return np.repeat(np.array(labels)[None, :, None], width, 2)


def peaks_at(rows: list[int], labels: np.ndarray, share: int = 1) -> torch.Tensor:
    saliency = torch.zeros(labels.shape)
    saliency[0, rows, :share] = 1
    return saliency


LABELS = rows_of(0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 0)
LEVELS = ["T12", "T12", "L1", "L1", "L2", "L2", "L3", "L4", "L5"]  # of rows 1 to 9


def region_of(*levels: str) -> torch.Tensor:
    region = torch.zeros(LABELS.shape, dtype=torch.bool)
    region[0, [1 + n for n, level in enumerate(LEVELS) if level in levels]] = True
    return region


@pytest.mark.parametrize(
    ("row", "reference", "column"),
    [
        (1, ["T12"], "level_hit"),
        (4, ["L1"], "level_hit"),  # the disc below the vertebra
        (4, ["L2"], "one_above"),
        (5, ["L1"], "one_below"),
        (1, ["L2"], "two_above"),
        (1, ["L4"], "three_or_more_above"),
        (1, ["L5"], "three_or_more_above"),
        (9, ["T12"], "three_or_more_below"),
        (8, ["L2", "T12"], "two_below"),  # the nearest of several
        (0, ["L2"], "outside_spine"),
        (10, ["L2"], "outside_spine"),
    ],
)
def test_a_peak_is_so_many_levels_away(row: int, reference: list[str], column: str) -> None:
    scores = Level()(level_case(peaks_at([row], LABELS), region_of(*reference), LABELS)).scores
    assert {n: scores[n].item() for n in (*SHARES, "outside_spine")} == {
        n: float(n == column) for n in (*SHARES, "outside_spine")
    }
    assert scores["level_wrong"].item() == float(column in ABOVE + BELOW)


def test_the_error_counts_levels_without_a_bound() -> None:
    result = Level()(level_case(peaks_at([9], LABELS), region_of("T12"), LABELS))
    assert result.scores["level_error"].item() == 5
    gone = Level()(level_case(peaks_at([0], LABELS), region_of("T12"), LABELS))
    assert gone.reason("level_error", 0) == PEAK_OUTSIDE and gone.reason("level_hit", 0) is None


def test_a_level_halfway_between_two_references_is_half_above_and_half_below() -> None:
    scores = Level()(level_case(peaks_at([4], LABELS), region_of("T12", "L2"), LABELS)).scores
    assert (scores["one_above"].item(), scores["one_below"].item(), scores["level_wrong"].item()) == (0.5, 0.5, 1)


def test_tied_maxima_count_by_their_share() -> None:
    saliency = peaks_at([0, 1, 3, 5, 9], LABELS)  # outside, T12, L1, L2, L5
    scores = Level()(level_case(saliency, region_of("L1"), LABELS)).scores
    assert [scores[n].item() for n in ("outside_spine", "one_above", "level_hit", "one_below")] == [0.2] * 4
    assert scores["three_or_more_below"].item() == 0.2
    assert scores["level_error"].item() == pytest.approx((1 + 0 + 1 + 4) / 4), "of the peaks that are in the spine"


def test_a_reference_level_lies_for_half_in_the_region_or_is_the_one_with_the_most_of_it() -> None:
    region = region_of("L1")
    region[0, 1, :] = region[0, 9, :2] = True  # the body of T12, half of its level, and half of L5
    hits = [Level()(level_case(peaks_at([r], LABELS), region, LABELS)).scores["level_hit"].item() for r in range(11)]
    assert hits == [0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 0]
    small = torch.zeros_like(region)
    small[0, 5, :3] = small[0, 9, 0] = True  # less than half of L2 and of L5
    hits = [Level()(level_case(peaks_at([r], LABELS), small, LABELS)).scores["level_hit"].item() for r in range(11)]
    assert hits == [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0]


def test_a_constant_map_scores_its_chance_and_is_marked() -> None:
    content = torch.ones(LABELS.shape, dtype=torch.bool)
    content[:, 10] = False
    for level in (3.0, 0.0, -1.0):
        result = Level()(level_case(torch.full(LABELS.shape, level), region_of("L2"), LABELS, content))
        assert result.reasons == (CONSTANT,)
        found = {name: round(value.item() * 10) for name, value in result.scores.items() if name != "level_error"}
        assert found == {
            "level_hit": 2, "level_wrong": 7, "outside_spine": 1,
            "one_above": 2, "two_above": 2, "three_or_more_above": 0,
            "one_below": 1, "two_below": 1, "three_or_more_below": 1,
        }  # fmt: skip


def test_a_random_map_is_at_chance_and_the_region_itself_hits() -> None:
    films, generator = 3000, torch.Generator().manual_seed(0)
    labels, region = (np.repeat(t, films, 0) for t in (LABELS, region_of("L1", "L4").numpy()))
    random = torch.rand(labels.shape, generator=generator)
    found = Level()(level_case(random, region, labels)).scores
    chance = Level()(level_case(torch.zeros(LABELS.shape), region_of("L1", "L4"), LABELS)).scores
    for name, values in found.items():
        error = values[~values.isnan()].std() / films**0.5
        assert abs(values.nanmean() - chance[name]) <= 3.5 * error, name
    oracle = Level()(level_case(region.astype(np.float32), region, labels)).scores
    assert oracle["level_hit"].eq(1).all() and oracle["level_error"].eq(0).all() and oracle["outside_spine"].eq(0).all()


def test_shares_of_the_peak_add_up_to_one() -> None:
    saliency = torch.randint(0, 3, (20, 11, 4), generator=torch.Generator().manual_seed(1)).float()
    labels, region = (np.repeat(t, 20, 0) for t in (LABELS, region_of("L1", "L2").numpy()))
    scores = Level()(level_case(saliency, region, labels)).scores
    assert torch.allclose(sum(scores[n] for n in (*SHARES, "outside_spine")), torch.ones(20).double())
    parts = ("level_hit", "level_wrong", "outside_spine")
    assert torch.allclose(sum(scores[n] for n in parts), torch.ones(20).double())


def test_what_is_missing_has_its_reason() -> None:
    labels, region = np.repeat(LABELS, 5, 0), np.repeat(region_of("L2").numpy(), 5, 0)
    saliency = torch.rand(5, 11, 4, generator=torch.Generator().manual_seed(2))
    saliency[0, 0, 0] = float("nan")
    region[1] = False
    region[2] = False
    region[2, 0] = True  # where no vertebra is
    case = level_case(saliency, region, labels)
    names = (*case.batch.players.names[:3], {}, SPINE)
    case = replace(case, batch=replace(case.batch, players=Players(case.batch.players.labels, names)))
    result = Level()(case)
    reasons = {name: [result.reason(name, n) for n in range(5)] for name in result.scores}
    assert reasons["level_hit"] == [BAD_MAP, NO_PIXEL, NO_LEVEL, NO_PLAYERS, None]
    assert reasons["outside_spine"] == [BAD_MAP, NO_PIXEL, None, NO_PLAYERS, None]
    assert reasons["level_error"][:4] == [BAD_MAP, NO_PIXEL, NO_LEVEL, NO_PLAYERS]
    alone = Level()(make_case(saliency, torch.from_numpy(region)))
    assert alone.reasons[3:] == (NO_PLAYERS,) * 2


def test_a_films_players_change_no_other_films_scores() -> None:
    """A companion with more levels only makes the table longer."""
    few = {n: SPINE[n] for n in (1, 2, 3)}
    labels = rows_of(0, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0)
    region = torch.zeros(LABELS.shape, dtype=torch.bool)
    region[0, 3] = True
    alone = Level()(level_case(peaks_at([1], labels), region, labels, names=few)).scores
    case = level_case(
        torch.cat([peaks_at([1], labels), peaks_at([9], LABELS)]),
        torch.cat([region, region_of("L1")]),
        np.concatenate([labels, LABELS]),
    )
    players = Players(case.batch.players.labels, (few, SPINE))
    together = Level()(replace(case, batch=replace(case.batch, players=players))).scores
    assert {n: v[0].item() for n, v in together.items()} == {n: v[0].item() for n, v in alone.items()}


def test_levels_are_numbered_by_their_players_labels_whatever_their_order() -> None:
    turned = dict(reversed(SPINE.items()))
    assert numbered(turned) == numbered(SPINE) == {1: 1, 2: 1, 3: 2, 4: 2, 5: 3, 6: 3, 10: 4, 11: 5, 12: 6}


@pytest.mark.parametrize(("view", "name"), [("ap", "scoliosis.R1"), ("lateral", "spondylolisthesis.R2")])
def test_on_phantoms_the_finding_is_a_hit_and_the_films_corner_is_not(view: str, name: str) -> None:
    data = Phantom(view=view, films=Films(0, 0, 12))
    pictures = [read_picture(s, Input(Resize(224, 176)), players=True) for s in data.samples("test")]
    pictures = [p for p in pictures if p.sample.labels["diagnosis"] != "normal"]
    batch = to_batch(pictures, [1] * len(pictures))
    region, state = to_region(pictures, RegionKey(name, "derived"))
    centers = torch.zeros(region.shape)
    for n, mask in enumerate(region & (batch.players.labels > 0)):
        rows, columns = mask.nonzero().unbind(1)
        middle = len(rows) // 2
        centers[n, rows[middle], columns[middle]] = 1
    found = Level()(Case(None, batch, None, centers, region, state)).scores
    assert found["level_hit"].eq(1).all()
    corner = torch.zeros(region.shape)
    corner[:, 0, 0] = 1
    assert Level()(Case(None, batch, None, corner, region, state)).scores["outside_spine"].eq(1).all()
