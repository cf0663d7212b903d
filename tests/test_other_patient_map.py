"""The map of another patient's film of the same class."""

from dataclasses import dataclass, replace

import pytest
import torch
from xai_bench_explainers.grad_cam import GradCAM
from xai_bench_explainers.other_patient_map import OtherPatientMap

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.protocols import Batch
from xai_bench.seeding import derive
from xai_bench.spec import state_of, with_state
from xai_bench.testing import tiny_batch, tiny_classifier


@dataclass(frozen=True)
class Named:
    """A map that says whose it is and for which class."""

    def __call__(self, classifier: Classifier, batch: Batch) -> torch.Tensor:
        names = [float(name.split()[-1]) for name in batch.ids]
        values = torch.tensor(names) + 1000 * batch.targets
        return values[:, None, None].expand(len(batch), 4, 6).clone()


def films(classifier: Classifier, count: int = 11) -> list[tuple[Batch, dict[str, torch.Tensor]]]:
    """Training films of other ids than those explained, in batches of four."""
    whole = tiny_batch(classifier, count=count, seed=9)
    whole = replace(whole, ids=tuple(f"training {i + 100}" for i in range(count)))
    parts = torch.arange(count).split(4)
    fields = ("images", "targets", "content", "spacing_mm")
    return [
        (replace(whole, **{f: getattr(whole, f)[p] for f in fields}, ids=tuple(whole.ids[i] for i in p.tolist())), {})
        for p in parts
    ]


def test_every_picture_gets_a_kept_map_of_its_class_by_seed_and_id() -> None:
    classifier, batch = tiny_classifier(), tiny_batch(tiny_classifier(), count=6)
    fitted = OtherPatientMap(Named(), films=2, seed=3).fit(classifier, films(classifier))
    assert fitted.state["maps"].shape == (6, 4, 6)
    found = fitted(classifier, batch)[:, 0, 0].tolist()
    for name, target, value in zip(batch.ids, batch.targets.tolist(), found, strict=True):
        mine = [f"training {i + 100}" for i in range(11) if i % 3 == target]
        kept = sorted(mine, key=lambda other: derive(3, other))[:2]  # the first two in a random order
        assert value == 1000 * target + float(kept[derive(3, name) % 2].split()[-1])


def test_with_few_films_all_of_a_class_are_kept_and_a_film_never_gets_its_own_map() -> None:
    classifier = tiny_classifier()
    training = films(classifier)
    fitted = OtherPatientMap(Named()).fit(classifier, training)
    assert fitted.state["targets"].bincount().tolist() == [4, 4, 3]
    for batch, _ in training:
        own = Named()(classifier, batch)
        assert (fitted(classifier, batch) != own).all()


def test_equals_the_explainer_on_that_very_film() -> None:
    classifier, batch = tiny_classifier(), tiny_batch(tiny_classifier())
    training = films(classifier, 3)  # one of each class
    fitted = OtherPatientMap().fit(classifier, training)
    others = GradCAM()(classifier, training[0][0])
    assert torch.allclose(fitted(classifier, batch), others[batch.targets], atol=1e-6)


def test_what_was_learned_goes_through_the_store() -> None:
    classifier, batch = tiny_classifier(), tiny_batch(tiny_classifier())
    fitted = OtherPatientMap().fit(classifier, films(classifier))
    again = with_state(OtherPatientMap(), state_of(fitted))
    assert torch.equal(again(classifier, batch), fitted(classifier, batch))


def test_a_class_without_training_films_gets_nan_and_gray_films_stand_beside_color() -> None:
    classifier, batch = tiny_classifier(), tiny_batch(tiny_classifier())
    (whole, _), *_ = films(classifier, 4)
    some = replace(whole, targets=torch.tensor([0, 0, 1, 1]))
    color = replace(some, images=some.images.expand(-1, 3, -1, -1), ids=("a", "b", "c", "d"))
    fitted = OtherPatientMap().fit(classifier, [(some, {}), (color, {})])
    nan = fitted(classifier, batch).isnan().flatten(1).all(1)
    assert nan.tolist() == [False, False, True, False]


def test_each_way_to_have_no_films_is_one_sentence() -> None:
    classifier = tiny_classifier()
    with pytest.raises(BadInput, match="was not fitted"):
        OtherPatientMap()(classifier, tiny_batch(classifier))
    with pytest.raises(BadInput, match="there are none"):
        OtherPatientMap().fit(classifier, [])
    with pytest.raises(BadInput, match="films is 0"):
        OtherPatientMap(films=0)
