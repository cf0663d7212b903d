"""Films are read once, in any order, within a bound of memory; an unreadable one does not stop the others."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from xai_bench.errors import BadInput
from xai_bench.inputs import Input, Resize
from xai_bench.pictures import Pictures, TrainingFilms, pad, select, unpadded
from xai_bench.protocols import Player, Players
from xai_bench.samples import Fixed, Region, RegionKey, Sample
from xai_bench.testing import tiny_batch, tiny_classifier


def test_films_are_read_once_and_in_the_order_asked_for(side_films: Fixed) -> None:
    count: list[str] = []

    def counted(s: Sample) -> Sample:
        return replace(s, read_image=lambda: (count.append(s.id), s.read_image())[1])

    films = [counted(s) for s in side_films.samples("test")]
    pictures = Pictures({s.id: s for s in films}, Input(Resize(16, 16)))
    ids = [films[3].id, films[0].id, films[3].id]
    assert [p.sample.id for p in pictures.readable(ids, regions=False)] == ids
    pictures.readable(ids, regions=False)
    assert sorted(count) == sorted(set(ids))


def test_memory_is_bounded_and_pictures_stay_the_same(side_films: Fixed) -> None:
    samples = {s.id: s for s in side_films.samples("test")}
    small = Pictures(samples, Input(Resize(32, 32)), keep_bytes=3 * 32 * 32 * 5)
    large = Pictures(samples, Input(Resize(32, 32)))
    for a, b in zip(
        small.readable(list(samples), regions=False), large.readable(list(samples), regions=False), strict=True
    ):
        assert torch.equal(a.image, b.image)
    assert len(small._kept) <= 3 < len(large._kept)


def test_an_unreadable_film_has_its_reason(side_films: Fixed) -> None:
    def broken() -> np.ndarray:
        raise BadInput("picture 'x' is cut off; export it again.")

    first, second, *_ = side_films.samples("test")
    pictures = Pictures({"x": replace(first, id="x", read_image=broken), second.id: second}, Input(Resize(8, 8)))
    assert [p is None for p in pictures.read(["x", second.id], regions=False)] == [True, False]
    with pytest.raises(BadInput, match="cut off; export it again"):
        pictures.readable([second.id, "x"], regions=False)


def test_training_films_come_with_their_regions_by_name(side_films: Fixed) -> None:
    samples = {s.id: s for s in side_films.samples("train")}
    films = TrainingFilms(
        Pictures(samples, Input(Resize(32, 32))), dict.fromkeys(samples, 0), ("square",), batch_size=10
    )
    seen = 0
    for batch, regions in films:
        assert len(batch) <= 10 and list(regions) == ["square"]
        assert regions["square"].sum((1, 2)).tolist() == [64] * len(batch)
        with pytest.raises(KeyError):
            regions["other"]
        seen += len(batch)
    assert seen == 24


@pytest.mark.parametrize(
    ("drawings", "expected"),
    [
        ({"anna": [1, 1, 0], "ben": [1, 0, 0], "carl": [1, 1, 1]}, [1, 1, 0]),
        ({"anna": [1, 1, 0], "ben": [1, 0, 0]}, [1, 0, 0]),  # half of the readers are not a majority
        ({"anna": [0, 0, 1], "anna#2": [1, 1, 1]}, [0, 0, 1]),
        ({"derived": [0, 1, 0], "anna": [1, 1, 1], "ben": [1, 1, 1]}, [0, 1, 0]),
    ],
)
def test_training_regions_are_derived_or_what_most_readers_drew(
    side_films: Fixed, drawings: dict[str, list[int]], expected: list[int]
) -> None:
    film = side_films.samples("train")[0]
    columns = {who: np.repeat(np.array([row], bool), 3, 0).repeat([12, 10, 10], 1) for who, row in drawings.items()}
    regions = {RegionKey("r", who): Region("drawn", np.repeat(m[:1], 32, 0)) for who, m in columns.items()}
    changed = replace(film, read_regions=lambda: regions)
    films = TrainingFilms(Pictures({film.id: changed}, Input(Resize(32, 32))), {film.id: 0}, ("r",))
    (_, found), *_ = films
    assert found["r"][0, 0, [0, 15, 31]].tolist() == list(map(bool, expected))


def test_rows_are_chosen_with_all_that_belongs_to_them() -> None:
    batch = tiny_batch(tiny_classifier())
    players = Players(torch.arange(4)[:, None, None].expand(4, 32, 48), tuple({i: Player(f"L{i}")} for i in range(4)))
    found = select(replace(batch, players=players), torch.tensor([3, 0]))
    assert found.ids == ("picture 3", "picture 0")
    assert torch.equal(found.images, batch.images[[3, 0]])
    assert torch.equal(found.content, batch.content[[3, 0]])
    assert found.targets.tolist() == batch.targets[[3, 0]].tolist()
    assert found.players.labels[:, 0, 0].tolist() == [3, 0]
    assert [dict(n) for n in found.players.names] == [{3: Player("L3")}, {0: Player("L0")}]


def test_only_the_repeated_last_picture_is_padding() -> None:
    batch = tiny_batch(tiny_classifier())
    assert unpadded(batch) == 4
    assert unpadded(pad(batch, 7)) == 4
    assert unpadded(pad(select(batch, torch.tensor([1])), 3)) == 1
    assert unpadded(replace(select(batch, torch.tensor([1, 1])), targets=torch.tensor([0, 1]))) == 2
