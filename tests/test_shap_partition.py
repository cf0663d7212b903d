"""SHAP Partition on our engine: Owen values by their definition, the package's values on any budget, complete."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from box_cases import bright_box
from hypothesis import given, settings
from hypothesis import strategies as st
from xai_bench_explainers import shap_partition
from xai_bench_explainers._trees import Branch, halving, planted
from xai_bench_explainers.shap_partition import ShapPartition, owen, painted, together

from xai_bench.classifiers.classifier import untouched
from xai_bench.engine import Engine
from xai_bench.errors import BadInput, Unfit
from xai_bench.imputers.box_blur import BoxBlur
from xai_bench.imputers.training_mean import TrainingMean
from xai_bench.imputers.zero import Zero
from xai_bench.pictures import pad
from xai_bench.protocols import Batch, Player, Players
from xai_bench.running.workbench import Counter
from xai_bench.spec import build
from xai_bench.testing import box_classifier, check_explainer, tiny_batch, tiny_classifier, tiny_training

ALL = 10**6


def one_picture(batch, i):
    part = slice(i, i + 1)
    players = batch.players and Players(batch.players.labels[part], batch.players.names[part])
    return Batch(
        batch.images[part], batch.targets[part], batch.ids[part], batch.content[part], players, batch.spacing_mm[part]
    )


def cropped(batch, height, width):
    """The middle of the pictures."""
    top, left = (32 - height) // 2, (48 - width) // 2
    part = ..., slice(top, top + height), slice(left, left + width)
    return dataclasses.replace(batch, images=batch.images[part], content=batch.content[part])


def target_score(classifier, images, target, rows=16):
    """Probabilities in batches of the engine's shape."""
    found = []
    with torch.no_grad(), untouched(classifier):
        for start in range(0, len(images), rows):
            part = images[start : start + rows]
            full = part[torch.arange(rows).clamp(max=len(part) - 1)].clone(memory_format=torch.contiguous_format)
            found.append(classifier.probabilities(classifier(full))[: len(part), target])
    return torch.cat(found).double()


# Games: a value for each coalition of a few players, under a tree of nested pairs.


@st.composite
def trees(draw, low, high):
    """Nested pairs of players 0, 1, ... in this order."""

    def grown(first, last):
        if last - first == 1:
            return first
        middle = draw(st.integers(first + 1, last - 1))
        return grown(first, middle), grown(middle, last)

    return grown(0, draw(st.integers(low, high)))


def branch(nested):
    if isinstance(nested, int):
        return Branch(1, float(nested), nested)
    one, other = map(branch, nested)
    return Branch(one.pixels + other.pixels, one.rows + other.rows, parts=(one, other))


def players_of(nested):
    return [nested] if isinstance(nested, int) else players_of(nested[0]) + players_of(nested[1])


def orders(nested):
    """Every order of the players in which those of one part come one after the other."""
    if isinstance(nested, int):
        return [[nested]]
    both = list(itertools.product(orders(nested[0]), orders(nested[1])))
    return [a + b for a, b in both] + [b + a for a, b in both]


def owen_by_definition(nested, value):
    """The mean over these orders of what a player adds to those before it (Owen 1977)."""
    found = np.zeros(len(players_of(nested)))
    every = orders(nested)
    for order in every:
        for place, player in enumerate(order):
            found[player] += value(frozenset(order[: place + 1])) - value(frozenset(order[:place]))
    return found / len(every)


def game(players, seed):
    """A value of its own for each coalition."""
    rng, values = np.random.default_rng(seed), {}
    return lambda shown: values.setdefault(shown, rng.normal())


def played(nested, value, evaluations, at_once=16):
    """Our Owen values of a game, one pixel a player, and the coalitions asked."""
    tree, asked = planted(branch(nested)), []

    def answer(questions):
        now = [frozenset(p for n in nodes for p in range(tree.start[n], tree.stop[n])) for _, nodes in questions]
        asked.extend(now)
        return [value(shown) for shown in now]

    shares = together({0: owen(tree, evaluations, at_once)}, answer)[0]
    return painted(shares, tree, torch.arange(tree.players)[None])[0].numpy(), asked


class Masker:
    """What the package needs: a tree as scipy writes one, and a picture of one pixel a player."""

    def __init__(self, nested):
        count, rows = len(players_of(nested)), []

        def add(part):
            if isinstance(part, int):
                return part, 1
            (one, a), (other, b) = add(part[0]), add(part[1])
            rows.append([one, other, 0, a + b])
            return count + len(rows) - 1, a + b

        add(nested)
        self.clustering, self.shape = np.array(rows, float), (1, count)

    def __call__(self, mask, x):
        return (np.where(mask, x, 0)[None],)


def by_the_package(nested, value, evaluations, at_once=16):
    import shap

    def model(rows):
        return np.array([value(frozenset(np.flatnonzero(row).tolist())) for row in rows])

    players = len(players_of(nested))
    explainer = shap.PartitionExplainer(model, Masker(nested))
    return explainer(np.ones((1, players)), max_evals=evaluations, batch_size=at_once, silent=True).values[0]


@given(trees(1, 5), st.integers(0, 999))
@settings(max_examples=40)
def test_opened_to_the_end_they_are_owen_values_by_definition(nested, seed):
    value = game(nested, seed)
    found, _ = played(nested, value, ALL)
    expected = owen_by_definition(nested, value)
    assert np.abs(found - expected).max() < 1e-6 * np.abs(expected).max()


@given(trees(2, 9), st.integers(0, 999), st.integers(2, 40), st.sampled_from([2, 4, 8, 16]))
@settings(max_examples=40)
def test_on_any_budget_they_are_those_of_the_package(nested, seed, half_budget, at_once):
    value = game(nested, seed)
    found, asked = played(nested, value, 2 * half_budget, at_once)
    expected = by_the_package(nested, value, 2 * half_budget, at_once)
    assert np.abs(found - expected).max() < 1e-6 * np.abs(expected).max()
    assert len(asked) == len(set(asked)) <= 2 * half_budget


@given(trees(2, 9), st.integers(0, 999), st.integers(4, 60), st.integers(1, 20), st.sampled_from([2, 8, 16]))
@settings(max_examples=40)
def test_a_larger_budget_asks_the_same_and_more(nested, seed, budget, more, at_once):
    value = game(nested, seed)
    some, few = played(nested, value, budget, at_once)
    _, many = played(nested, value, budget + more, at_once)
    assert len(few) <= budget and set(few) <= set(many)
    players = frozenset(players_of(nested))
    assert some.sum() == pytest.approx(value(players) - value(frozenset()))


# Pictures.


@pytest.mark.parametrize("size", [(7, 9), (16, 16), (1, 5), (12, 3)])
def test_halving_is_the_tree_of_the_package(size):
    from shap.maskers import Image

    masker = Image(0.0, (*size, 1))
    tree, labels = halving(*size)
    count = size[0] * size[1]

    def theirs(node):
        if node < count:
            return [node], {(node,)}
        (a, under_a), (b, under_b) = (theirs(int(n)) for n in masker.clustering[node - count, :2])
        return a + b, under_a | under_b | {tuple(a + b)}

    pixel = labels.flatten().argsort().tolist()
    ours = {tuple(pixel[start:stop]) for start, stop in zip(tree.start, tree.stop, strict=True)}
    assert ours == theirs(2 * count - 2)[1]  # the same groups, and the same half first
    for node, left in enumerate(tree.left):
        assert left < 0 or (tree.start[left], tree.stop[left + 1]) == (tree.start[node], tree.stop[node])
        assert (left < 0) == (tree.stop[node] - tree.start[node] == 1)


@pytest.fixture
def oldest_first(monkeypatch):
    """The package draws between equally urgent nodes; here it takes the older one, as we do."""
    number = itertools.count()
    monkeypatch.setattr(np.random, "randn", lambda: next(number))


@pytest.mark.usefixtures("oldest_first")
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("evaluations", "height", "width"), [(200, 32, 48), (800, 13, 11)])
def test_equals_the_package_on_pictures(seed, evaluations, height, width):
    from shap import PartitionExplainer
    from shap.maskers import Image

    classifier = tiny_classifier(seed)
    batch = cropped(tiny_batch(classifier, count=3, seed=seed), height, width)
    ours = ShapPartition(evaluations)(classifier, batch)
    for i, (image, target) in enumerate(zip(batch.images, batch.targets, strict=True)):

        def model(pictures, target=target):
            return target_score(classifier, torch.from_numpy(pictures).float().permute(0, 3, 1, 2), target).numpy()

        picture = image.permute(1, 2, 0).double().numpy()
        explainer = PartitionExplainer(model, Image("blur(16,16)", picture.shape))
        found = explainer(picture[None], max_evals=evaluations, batch_size=16, silent=True).values[0, ..., 0]
        assert np.abs(ours[i].numpy() - found).max() < 1e-4 * np.abs(found).max()


@pytest.mark.parametrize("imputer", [BoxBlur(3, 8), Zero()])
@pytest.mark.parametrize("channels", [1, 3])
def test_values_sum_to_the_fall_when_all_is_hidden(imputer, channels):
    """Completeness (efficiency): the sum is f(x) - f(all hidden)."""
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    batch = dataclasses.replace(batch, images=batch.images * torch.linspace(0.5, 1, channels).view(-1, 1, 1))
    found = ShapPartition(60, imputer)(classifier, batch)
    assert found.shape == (4, 32, 48)
    for i, target in enumerate(batch.targets):
        full, none = (target_score(classifier, x[i : i + 1], target) for x in (batch.images, imputer(batch)))
        assert found[i].sum().item() == pytest.approx((full - none).item(), abs=1e-5)


def test_a_map_alone_is_the_same_map_in_company_bit_for_bit():
    classifier = tiny_classifier()
    batch, method = tiny_batch(classifier), ShapPartition(60)
    company = method(classifier, batch)
    for i in range(4):
        assert torch.equal(method(classifier, one_picture(batch, i))[0], company[i])


def test_few_coalitions_at_a_time_change_no_bit(monkeypatch):
    """A coalition of pixels is as large as the picture: of many pictures not all exist at once."""
    classifier = tiny_classifier()
    batch, method, sizes = tiny_batch(classifier), ShapPartition(60), []
    whole = method(classifier, batch)
    monkeypatch.setattr(shap_partition, "CHUNK", 16)
    plain = shap_partition.shown
    monkeypatch.setattr(shap_partition, "shown", lambda asked: sizes.append(len(asked)) or plain(asked))
    assert torch.equal(method(classifier, batch), whole)
    assert max(sizes) == 16


def test_the_pictures_that_fill_a_batch_are_not_explained_again():
    classifier = tiny_classifier()
    batch, method = tiny_batch(classifier, count=2), ShapPartition(64)
    with Counter().on(classifier) as counter:
        plain = method(classifier, batch)
    spent = counter.evaluations
    with Counter().on(classifier) as counter:
        full = method(classifier, pad(batch, 9))
    assert counter.evaluations == spent
    assert torch.equal(full, plain[torch.arange(9).clamp(max=1)])


@pytest.mark.parametrize("evaluations", [4, 10, 12, 41, 100])
def test_spends_its_budget_on_each_picture_and_no_more(evaluations):
    classifier = tiny_classifier()
    classifier.engine = Engine(batch_size=1)
    with Counter().on(classifier) as counter:
        ShapPartition(evaluations)(classifier, tiny_batch(classifier, count=3))
    assert counter.evaluations == 3 * (evaluations // 2 * 2)


def test_one_picture_wastes_no_model_calls_on_small_rounds():
    classifier = tiny_classifier()
    with Counter().on(classifier) as counter:
        ShapPartition(500)(classifier, tiny_batch(classifier, count=1))
    assert counter.evaluations <= 512


@pytest.mark.parametrize("imputer", [BoxBlur(32, 32), Zero()])
def test_points_at_the_box_that_the_model_looks_at(imputer):
    classifier, batch, inside = bright_box()
    found = ShapPartition(300, imputer)(classifier, batch)[0]
    assert inside.flatten()[found.argmax()]
    assert found[inside].sum() > 0.95 * found.abs().sum()


def test_explains_the_target_only_and_in_the_units_of_the_score():
    """The opposite class of a two-class softmax gets the opposite values; of a linear model every pixel is worth its
    weight times its brightness, when all is opened."""
    classifier = box_classifier(slice(0, 8), slice(0, 48))
    batch = tiny_batch(classifier, count=2)
    one, other = (
        ShapPartition(40)(classifier, dataclasses.replace(batch, targets=torch.tensor([t, t]))) for t in (0, 1)
    )
    assert torch.allclose(one, -other, atol=1e-6) and one.abs().max() > 0
    small = dataclasses.replace(
        batch, images=batch.images[:, :, :8, :8], content=batch.content[:, :8, :8], targets=torch.tensor([1, 1])
    )
    found = ShapPartition(ALL, Zero(), score="logit")(classifier, small)
    assert torch.allclose(found, 4 * small.images[:, 0] / 64, atol=1e-6)


def test_a_dark_picture_is_not_cut_to_whole_numbers():
    """The package's image masker, given pictures in [0, 1], makes them black."""
    classifier = box_classifier(slice(4, 20), slice(4, 20))
    batch = tiny_batch(classifier, count=1)
    dark = dataclasses.replace(batch, images=batch.images / 100)
    method = ShapPartition(40, Zero(), score="logit")
    assert torch.allclose(method(classifier, dark), method(classifier, batch) / 100, rtol=1e-3, atol=1e-8)


def test_a_picture_whose_scores_are_not_finite_gets_nan_and_the_others_their_maps():
    classifier = tiny_classifier()
    batch, method = tiny_batch(classifier), ShapPartition(40)
    good = method(classifier, batch)
    batch.images[1] = torch.nan
    found = method(classifier, batch)
    assert found[1].isnan().all()
    assert torch.equal(found[[0, 2, 3]], good[[0, 2, 3]])


def test_fits_its_imputer():
    classifier = tiny_classifier()
    fitted = ShapPartition(imputer=TrainingMean()).fit(classifier, tiny_training(classifier))
    assert fitted.imputer.state["mean"].shape == (1, 32, 48)
    plain = ShapPartition()
    assert plain.fit(classifier, tiny_training(classifier)) is plain


# Anatomy.

SPINE = {
    90: Player("spine"),
    70: Player("L3", "L3", 90),
    71: Player("L4", "L4", 90),
    3: Player("L3 body", "L3", 70),
    9: Player("L3 arch", "L3", 70),
    4: Player("L4 body", "L4", 71),
    5: Player("L5", "L5", 90),
    6: Player("sacrum", None, 90),
    8: Player("out of the picture", None, 90),
}
# Below the spine, by height: L3 and L4 against L5 and the sacrum.
NESTED = (((3, 9), 4), (5, 6))


def spine_batch(classifier, count=2):
    batch = tiny_batch(classifier, count)
    labels = torch.zeros(count, 32, 48, dtype=torch.long)
    for row, label in enumerate([3, 4, 5, 6]):
        labels[:, 2 + 7 * row : 7 + 7 * row, 10 + row : 30] = label
    labels[:, 4:8, 31:40] = 9
    return dataclasses.replace(batch, players=Players(labels, (SPINE,) * count))


def test_anatomy_gives_the_owen_values_of_the_vertebrae_shared_among_their_pixels():
    classifier = tiny_classifier()
    batch = spine_batch(classifier)
    maps = ShapPartition(ALL, Zero(), "anatomy")(classifier, batch)
    ids = players_of(NESTED)
    for i, labels in enumerate(batch.players.labels):

        def value(shown, i=i, labels=labels):
            hidden = torch.isin(labels, torch.tensor([n for k, n in enumerate(ids) if k not in shown]))
            return target_score(classifier, (batch.images[i] * ~hidden)[None], batch.targets[i]).item()

        expected = owen_by_definition((((0, 1), 2), (3, 4)), value)
        assert (maps[i][labels == 0] == 0).all()
        for label, worth in zip(ids, expected, strict=True):
            pixels = maps[i][labels == label]
            assert (pixels == pixels[0]).all()
            assert abs(pixels.double().sum() - worth) < 1e-5 * np.abs(expected).max()


def test_what_is_left_on_a_group_is_shared_among_its_pixels():
    classifier = tiny_classifier()
    batch = spine_batch(classifier, count=1)
    found, labels = ShapPartition(4, Zero(), "anatomy")(classifier, batch)[0], batch.players.labels[0]
    for group in ([3, 9, 4], [5, 6]):
        values = found[torch.isin(labels, torch.tensor(group))]
        assert (values == values[0]).all() and values[0] != 0


def test_anatomy_does_not_depend_on_company_or_on_the_order_of_the_names():
    classifier = tiny_classifier()
    batch = spine_batch(classifier, count=4)
    fewer = {k: player for k, player in SPINE.items() if k not in (4, 71)}
    turned = dict(reversed(SPINE.items()))
    flat = {k: Player(p.name, p.level) for k, p in SPINE.items()}
    batch = dataclasses.replace(batch, players=Players(batch.players.labels, (fewer, SPINE, turned, flat)))
    method = ShapPartition(40, hierarchy="anatomy")
    together_ = method(classifier, batch)
    for i in range(4):
        assert torch.equal(method(classifier, one_picture(batch, i))[0], together_[i])
    assert torch.equal(
        together_[2], method(classifier, dataclasses.replace(batch, players=spine_batch(classifier, 4).players))[2]
    )


def test_equal_pictures_under_unequal_trees_are_both_explained():
    classifier = tiny_classifier()
    batch = pad(tiny_batch(classifier, count=1), 2)
    labels = torch.arange(4).repeat_interleave(8)[None, :, None].expand(2, 32, 48)  # four bands
    by = [
        {**{k: Player(str(k), None, 10 + parent) for k, parent in enumerate(parents)}, 10: Player("a"), 11: Player("b")}
        for parents in ((0, 0, 0, 1), (0, 1, 1, 1))
    ]
    found = ShapPartition(ALL, Zero(), "anatomy")(
        classifier, dataclasses.replace(batch, players=Players(labels, tuple(by)))
    )
    assert not torch.allclose(found[0], found[1], rtol=1e-3)


def test_a_parents_own_pixels_are_a_player_beside_its_children():
    classifier = tiny_classifier()
    batch = spine_batch(classifier)
    labels = batch.players.labels.clone()
    labels[:, :, 44:] = 90
    method = ShapPartition(ALL, Zero(), "anatomy")
    found = method(classifier, dataclasses.replace(batch, players=Players(labels, (SPINE,) * 2)))[0]
    assert (found[:, 44:] == found[0, 44]).all() and found[0, 44] != 0


def test_a_film_that_shows_no_player_gets_nan():
    classifier = tiny_classifier()
    batch = spine_batch(classifier)
    batch.players.labels[1] = 0
    found = ShapPartition(40, hierarchy="anatomy")(classifier, batch)
    assert found[0].isfinite().all() and found[1].isnan().all()


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (None, "carry no anatomical players"),
        ({3: Player("L3", None, 7)}, "'L3' is part of 7, which is no player"),
        ({3: Player("L3", None, 4), 4: Player("L4", None, 3)}, "'L3' is part of itself"),
    ],
)
def test_films_without_a_tree_of_players_are_unfit(names, why):
    classifier = tiny_classifier()
    batch = spine_batch(classifier, count=1)
    players = names and Players(batch.players.labels, (names,))
    with pytest.raises(Unfit, match=why):
        ShapPartition(hierarchy="anatomy")(classifier, dataclasses.replace(batch, players=players))


@pytest.mark.parametrize("fields", [{"evaluations": 3}, {"at_once": 0}, {"at_once": 5}])
def test_bad_fields(fields):
    with pytest.raises(BadInput, match=r"expected"):
        ShapPartition(**fields)
    with pytest.raises(BadInput, match=r"hierarchy.*'quarters'"):
        build("explainer", {"name": "shap_partition", "hierarchy": "quarters"})


@pytest.mark.parametrize("method", [ShapPartition(40), ShapPartition(41, TrainingMean(), at_once=4, score="logit")])
def test_contract(method):
    check_explainer(method)
