"""Another patient's film: which films are kept, which picture gets which, channels, sizes, errors."""

import pytest
import torch

from xai_bench.errors import BadInput
from xai_bench.imputers.other_patient import OtherPatient
from xai_bench.protocols import Batch


def batch(images, ids=None):
    b, _, h, w = images.shape
    content = torch.ones(b, h, w, dtype=torch.bool)
    ids = ids or tuple(f"film {i}" for i in range(b))
    return Batch(images, torch.zeros(b, dtype=torch.long), ids, content, None, torch.full((b, 2), torch.nan))


def numbered(numbers, channels=1):
    """Films that show their own number."""
    images = torch.tensor(numbers).float()[:, None, None, None].expand(-1, channels, 4, 5).clone()
    return batch(images, tuple(f"training {n}" for n in numbers))


def fit(batches, **fields):
    return OtherPatient(**fields).fit([(b, {}) for b in batches])


def kept(fitted):
    return set(fitted.state["films"][:, 0, 0, 0].int().tolist())


def test_keeps_a_sample_that_depends_on_seed_and_ids_only():
    films = list(range(40))
    whole = fit([numbered(films)], films=7)
    assert whole.state["films"].shape == (7, 1, 4, 5) and len(kept(whole)) == 7
    backwards = [numbered(films[i : i + 3][::-1]) for i in range(0, 40, 3)][::-1]
    assert torch.equal(fit([*backwards, numbered([3, 3, 5])], films=7).state["films"], whole.state["films"])
    assert kept(fit([numbered(films)], films=7, seed=1)) != kept(whole)


def test_every_film_is_kept_equally_often():
    counts = torch.zeros(20)
    training = numbered(list(range(20)))
    for seed in range(400):
        counts[list(kept(fit([training], films=5, seed=seed)))] += 1
    assert counts.min() > 60 and counts.max() < 145  # 100 on average, with a standard deviation of 9


def test_does_not_hold_on_to_the_batches():
    training = numbered(list(range(30)))
    fitted = fit([training], films=2)
    assert fitted.state["films"].untyped_storage().nbytes() == 2 * 4 * 5 * 4
    before = fitted.state["films"].clone()
    training.images.zero_()
    assert torch.equal(fitted.state["films"], before)


def test_a_picture_gets_the_same_whole_film_beside_any_companions():
    fitted = fit([numbered(list(range(1, 9)))], films=4)
    images = torch.zeros(40, 1, 4, 5)
    ids = tuple(f"test {i}" for i in range(40))
    shown = fitted(batch(images, ids))
    assert set(shown[:, 0, 0, 0].int().tolist()) == kept(fitted)  # every one of them is used
    assert (shown == shown[:, :, :1, :1]).all()
    assert torch.equal(fitted(batch(images[:1], ids[7:8]))[0], shown[7])
    seeds = [fit([numbered(list(range(1, 9)))], films=8, seed=s)(batch(images, ids)) for s in (0, 1)]
    assert not torch.equal(*seeds)


def test_fewer_training_films_than_asked_for_are_all_kept():
    assert kept(fit([numbered([1, 2]), numbered([3])])) == {1, 2, 3}


@pytest.mark.parametrize("channels", [(1, 3), (3, 1), (1, 1), (3, 3)])
def test_gray_and_color_films_serve_both(channels):
    parts = [batch(torch.rand(2, c, 8, 6), (f"{i} a", f"{i} b")) for i, c in enumerate(channels)]
    fitted = fit(parts)
    films = torch.cat([p.images.expand(-1, 3, -1, -1) for p in parts])
    for shown in fitted(batch(torch.rand(5, 3, 8, 6))):
        assert (films == shown).flatten(1).all(1).any()
    gray = fitted(batch(torch.rand(5, 1, 8, 6)))
    assert gray.shape == (5, 1, 8, 6)
    for shown in gray:
        assert (films.mean(1, keepdim=True) - shown).abs().flatten(1).amax(1).min() < 1e-6


def test_errors_name_the_remedy():
    with pytest.raises(BadInput, match="was not fitted"):
        OtherPatient()(batch(torch.rand(1, 1, 4, 4)))
    with pytest.raises(BadInput, match="needs training films"):
        OtherPatient().fit([])
    with pytest.raises(BadInput, match="expected 1 or more"):
        OtherPatient(films=0)
    with pytest.raises(BadInput, match=r"fitted on \(4, 5\), the pictures are \(8, 5\)"):
        fit([numbered([1])])(batch(torch.rand(1, 1, 8, 5)))
