"""Films at one classifier's size: read once, kept in memory up to a bound, handed out in batches of one fixed shape."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.inputs import Input, Picture, read_picture, to_batch
from xai_bench.protocols import Batch
from xai_bench.references import completed, is_reader
from xai_bench.samples import Sample


@dataclass
class Pictures:
    """Samples by id, read at one size. `problems` holds the films that could not be read: id -> reason.

    `references`: which consensus of the readers is made and kept with a film's regions, see `xai_bench.references`.
    """

    samples: Mapping[str, Sample]
    reader: Input
    keep_bytes: int = 2_000_000_000
    problems: dict[str, str] = field(default_factory=dict)
    references: tuple[str, ...] = ()
    _kept: OrderedDict[tuple[str, bool, bool], Picture] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def read(self, ids: Sequence[str], *, regions: bool, players: bool = False) -> list[Picture | None]:
        """Pictures in the order asked for; None for one that cannot be read (see `problems`)."""
        found = {i: self._kept[i, regions, players] for i in ids if (i, regions, players) in self._kept}
        missing = [i for i in dict.fromkeys(ids) if i not in found and i not in self.problems]
        for i in missing:
            picture = self._one(i, regions, players)
            if isinstance(picture, str):
                self.problems[i] = picture
            else:
                found[i] = picture
                self._keep((i, regions, players), picture)
        return [found.get(i) for i in ids]

    def readable(self, ids: Sequence[str], *, regions: bool = True, players: bool = False) -> list[Picture]:
        """The same, where every film must be readable. Raises BadInput with the first film's reason."""
        found = self.read(ids, regions=regions, players=players)
        for i, picture in zip(ids, found, strict=True):
            if picture is None:
                raise BadInput(self.problems[i])
        return [p for p in found if p is not None]

    def _one(self, i: str, regions: bool, players: bool) -> Picture | str:
        sample = self.samples[i]
        sample = replace(sample, read_regions=partial(completed, sample, self.references))
        try:
            return read_picture(sample, self.reader, regions=regions, players=players)
        except BadInput as error:
            return str(error)

    def _keep(self, key: tuple[str, bool, bool], picture: Picture) -> None:
        self._kept[key] = picture
        self._bytes += _size(picture)
        while self._bytes > self.keep_bytes and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._bytes -= _size(old)


def _size(picture: Picture) -> int:
    masks = sum(m.numel() for _, m in picture.regions.values() if m is not None)
    labels = 0 if picture.players is None else picture.players[0].nbytes
    return picture.image.numel() * 4 + picture.content.numel() + masks + labels


def pad(batch: Batch, size: int) -> Batch:
    """The batch with its last picture repeated up to `size`, so that every model call has one shape."""
    extra = size - len(batch)
    if extra <= 0:
        return batch
    return select(batch, torch.arange(size).clamp(max=len(batch) - 1))


def select(batch: Batch, index: Int[Tensor, "n"]) -> Batch:
    """These pictures of a batch, in this order; one may come several times, always under its own id."""
    players, rows = batch.players, index.tolist()
    if players is not None:
        players = replace(players, labels=players.labels[index], names=tuple(players.names[i] for i in rows))
    ids = tuple(batch.ids[i] for i in rows)
    return Batch(batch.images[index], batch.targets[index], ids, batch.content[index], players, batch.spacing_mm[index])


def unpadded(batch: Batch) -> int:
    """How many pictures a batch has before its last one is repeated to fill it."""
    count = len(batch)
    while count > 1 and repeats(batch, count - 1):
        count -= 1
    return count


def repeats(batch: Batch, i: int) -> bool:
    """Whether picture i (at least 1) is the one before it once more, with the same target."""
    same = batch.ids[i] == batch.ids[i - 1] and bool(batch.targets[i] == batch.targets[i - 1])
    return same and torch.equal(batch.images[i], batch.images[i - 1])


@dataclass(frozen=True)
class TrainingFilms:
    """The training patients' films in batches, with their main regions by name (read only when looked at)."""

    pictures: Pictures
    labels: Mapping[str, int]  # picture id -> target
    regions: tuple[str, ...]
    batch_size: int = 64

    def __iter__(self) -> Iterator[tuple[Batch, Mapping[str, Bool[Tensor, "b h w"]]]]:
        ids = list(self.labels)
        for start in range(0, len(ids), self.batch_size):
            part = ids[start : start + self.batch_size]
            batch = to_batch(self.pictures.readable(part, regions=False), [self.labels[i] for i in part])
            yield batch, _Regions(self.pictures, part, self.regions)


@dataclass(frozen=True)
class _Regions(Mapping[str, Tensor]):
    pictures: Pictures
    ids: Sequence[str]
    names: tuple[str, ...]

    def __getitem__(self, name: str) -> Bool[Tensor, "b h w"]:
        if name not in self.names:
            raise KeyError(name)
        read = self.pictures.readable(self.ids, regions=True)
        return torch.stack([_drawn(p, name) for p in read])

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def _drawn(picture: Picture, name: str) -> Bool[Tensor, "h w"]:
    """The derived region, or what more than half of the readers who drew it drew; empty without any."""
    masks = {k.reference: m for k, (_, m) in picture.regions.items() if k.name == name and m is not None}
    chosen = [masks["derived"]] if "derived" in masks else [m for who, m in masks.items() if is_reader(who)]
    if not chosen:
        return torch.zeros_like(picture.content)
    return 2 * torch.stack(chosen).sum(0) > len(chosen)
