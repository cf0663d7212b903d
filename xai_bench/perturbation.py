"""Coalitions of pixels -> model scores, in device batches (the hot path).

Every perturbation method asks the same thing: the model's score of this picture with these players switched off.
Coalitions stay small (players, not pixels) until a device batch is composed by a gather and a `where`; every model call
has one fixed shape, so that a row's result does not depend on its companions; peak memory is that of one batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol, TypeVar, get_args, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.code_version import code_version
from xai_bench.engine import Engine, Stamp, stamp
from xai_bench.errors import BadInput
from xai_bench.protocols import Batch, Imputer, TrainingData
from xai_bench.spec import digest, spec_of

Score = Literal["probability", "logit"]
Outcome = Literal["probability", "logit", "predicted"]
"""A score, or whether the target is what its head predicts: 1 or 0; NaN for a raw output, which predicts no class."""

P = TypeVar("P")

AT_ONCE = 8
"""Pictures whose backgrounds are made together: blurring takes twenty times their own memory."""

KEPT_CLASSES = 16
"""Of models with more classes only the target's answers are kept."""


@runtime_checkable
class Fill(Protocol):
    """Pictures whose hidden pixels are replaced; `background` is what the imputer made once for each picture."""

    def __call__(
        self,
        images: Float[Tensor, "n c h w"],
        background: Float[Tensor, "n c h w"],
        shown: Bool[Tensor, "n h w"],
        content: Bool[Tensor, "n h w"],
    ) -> Float[Tensor, "n c h w"]: ...


def show_background(
    images: Float[Tensor, "n c h w"],
    background: Float[Tensor, "n c h w"],
    shown: Bool[Tensor, "n h w"],
    content: Bool[Tensor, "n h w"],
) -> Float[Tensor, "n c h w"]:
    """Hidden pixels show the background; one mask for all channels.

    >>> one = torch.ones(1, 1, 1, 2)
    >>> show_background(one, 0 * one, torch.tensor([[[True, False]]]), one[0] > 0).flatten().tolist()
    [1.0, 0.0]
    """
    return torch.where(shown[:, None], images, background)


@dataclass(frozen=True)
class Scene:
    """Pictures about to be perturbed: whose pixel each is (`labels`: a player), and what shows where one is hidden."""

    images: Float[Tensor, "b c h w"]
    background: Float[Tensor, "b c h w"]
    labels: Int[Tensor, "b h w"]
    targets: Int[Tensor, b]
    content: Bool[Tensor, "b h w"]
    fill: Fill = show_background
    imputer: str = ""  # what `fill` is, for the score cache

    @classmethod
    def of(cls, batch: Batch, labels: Int[Tensor, "b h w"], imputer: Imputer) -> Scene:
        """A batch with players and an imputer; the imputer's background is computed here, once a picture.

        Raises BadInput where the labels are not one map a picture, at the picture's size.
        """
        if labels.shape != batch.content.shape:
            raise BadInput(
                f"player labels are {tuple(labels.shape)}; expected {tuple(batch.content.shape)}, a player a pixel."
            )
        fill = getattr(imputer, "fill", None)
        name = digest(spec_of(imputer)) if fill else ""
        where, background = labels.to(batch.images.device), _background(batch, imputer)
        return cls(batch.images, background, where, batch.targets, batch.content, fill or show_background, name)

    def compose(self, owner: Int[Tensor, n], keep: Bool[Tensor, "n players"]) -> Float[Tensor, "n c h w"]:
        """Picture `owner[i]` with only the players of `keep[i]`; on the device of the pictures."""
        first, n = owner[:1], len(owner)
        # All rows are most often of one picture, which is then read once and not copied for each row.
        place = first if bool((owner == first).all()) else owner
        labels, shape = self.labels[place].long(), (n, *self.labels.shape[1:])
        shown = keep.gather(1, labels.flatten(1).expand(n, -1))
        parts = (self.images, self.background, self.content)
        images, background, content = (part[place].expand(n, *part.shape[1:]) for part in parts)
        return self.fill(images, background, shown.view(shape), content)

    @cached_property
    def highest(self) -> int:
        """The last player's number."""
        return int(self.labels.max()) if self.labels.numel() else -1

    @cached_property
    def contexts(self) -> tuple[str, ...]:
        """For each picture a hash of all that its scores depend on, apart from model and coalition."""
        parts = [self.images, self.background, self.labels, self.content, self.targets]
        arrays = [part.detach().cpu().contiguous().numpy() for part in parts]
        heads = f"{self.imputer} {tuple(self.images.shape[1:])}".encode()
        return tuple(
            hashlib.sha256(b"".join([heads, *(a[i].tobytes() for a in arrays)])).hexdigest()[:32]
            for i in range(len(self.targets))
        )

    @cached_property
    def first(self) -> Int[Tensor, b]:
        """For each picture the first one equal to it: a padded batch repeats its last."""
        place = {context: i for i, context in reversed(list(enumerate(self.contexts)))}
        return torch.tensor([place[context] for context in self.contexts])


def evaluate(
    classifier: Classifier,
    scene: Scene,
    owner: Int[Tensor, n],
    keep: Bool[Tensor, "n players"],
    score: Outcome = "probability",
) -> Float[Tensor, n]:
    """The target's score of picture `owner[i]` with the players `keep[i]` shown and all others hidden.

    Equal questions are asked once, what the score cache knows not at all, the rest in batches of one fixed shape mixed
    over pictures and coalitions (the last padded). `owner` and `keep` are on the CPU, the scores where the pictures
    are. Raises BadInput where a coalition has fewer players than the labels.
    """
    return evaluate_scores(classifier, scene, owner, keep, (score,))[0]


def evaluate_scores(
    classifier: Classifier,
    scene: Scene,
    owner: Int[Tensor, n],
    keep: Bool[Tensor, "n players"],
    scores: Sequence[Outcome],
) -> Float[Tensor, "scores n"]:
    """Several scores from the same answers of the model."""
    engine = classifier.engine or Engine()
    if len(owner) != len(keep):
        raise BadInput(f"{len(owner)} owners for {len(keep)} coalitions; give each coalition its picture.")
    if scene.highest >= keep.shape[1]:
        raise BadInput(f"coalitions have {keep.shape[1]} players, the labels go up to {scene.highest}.")
    for score in scores:
        if score not in (known := get_args(Outcome)):
            raise BadInput(f"score is {score!r}; expected {' or '.join(known)}.")
    engine.asked += len(owner)
    with untouched(classifier):
        device, owner = scene.images.device, scene.first[owner]
        rows, inverse = _distinct(owner, keep)
        # Mostly all questions differ; coalitions of many players are too large to be copied for nothing.
        asked = (owner, keep) if len(rows) == len(keep) else (owner[rows], keep[rows])
        answers = _answers(classifier, engine, scene, *asked)
        targets = scene.targets[owner.to(device)]
        return torch.stack([_score(classifier, answers[inverse.to(device)], targets, score) for score in scores])


def evaluate_all(
    classifier: Classifier, scene: Scene, keep: Bool[Tensor, "b m players"], score: Outcome = "probability"
) -> Float[Tensor, "b m"]:
    """The same for m coalitions of each picture."""
    b, m = keep.shape[:2]
    found = evaluate(classifier, scene, torch.arange(b).repeat_interleave(m), keep.flatten(0, 1), score)
    return found.view(b, m)


def with_fitted_imputer(plugin: P, training: TrainingData) -> P:
    """The plugin with its `imputer` fitted on training films, where that learns from them: what its `fit` returns."""
    imputer = plugin.imputer  # type: ignore[attr-defined]  # every method that hides has one
    learn = getattr(imputer, "fit", None)
    return replace(plugin, imputer=learn(training)) if learn else plugin  # type: ignore[type-var]  # a dataclass


def grid(height: int, width: int, cells: int) -> Int[Tensor, "h w"]:
    """The cell of each pixel of a `cells` x `cells` grid, numbered row by row; pixel centers decide.

    >>> grid(2, 4, 2).tolist()
    [[0, 0, 1, 1], [2, 2, 3, 3]]
    """
    row, column = (((torch.arange(n) + 0.5) * cells / n).long() for n in (height, width))
    return row[:, None] * cells + column[None]


def _background(batch: Batch, imputer: Imputer) -> Float[Tensor, "b c h w"]:
    """What the imputer puts behind each picture, made for a few at a time."""
    made = []
    for start in range(0, len(batch), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        players = batch.players
        if players is not None:
            players = replace(players, labels=players.labels[part], names=players.names[part])
        made.append(
            imputer(
                Batch(
                    batch.images[part],
                    batch.targets[part],
                    batch.ids[part],
                    batch.content[part],
                    players,
                    batch.spacing_mm[part],
                )
            )
        )
    return torch.cat(made)


def _distinct(owner: Int[Tensor, n], keep: Bool[Tensor, "n players"]) -> tuple[Int[Tensor, k], Int[Tensor, n]]:
    """The first of all equal questions in their order, and for each question its place among them."""
    if not len(owner):
        return owner, owner
    bits = np.packbits(keep.numpy(), axis=1)
    rows = np.ascontiguousarray(np.concatenate([owner.numpy().astype("<i4")[:, None].view(np.uint8), bits], axis=1))
    _, first, inverse = np.unique(rows.view(np.dtype((np.void, rows.shape[1])))[:, 0], True, True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return torch.from_numpy(first[order]), torch.from_numpy(place[inverse])


def _answers(
    classifier: Classifier, engine: Engine, scene: Scene, owner: Int[Tensor, n], keep: Bool[Tensor, "n players"]
) -> Float[Tensor, "n k"]:
    """Logits of all classes, or, where there are many, the target's logit, probability and whether it is predicted."""
    now = stamp(classifier)
    context = _context(classifier, engine, scene, now) if engine.cache is not None else None
    # Without a context this model's rows depend on their companions: what is kept would not be what is computed.
    if engine.cache is None or context is None:
        return _compute(classifier, engine, scene, (owner, keep), now)
    code = code_version(Scene)
    names = [f"{context} {code} {scene.contexts[i]}" for i in owner.tolist()]
    bits = np.packbits(keep.numpy(), axis=1)
    known, values = engine.cache.get(names, bits)
    missing = np.flatnonzero(~known)
    size = engine.batch_size
    if len(missing):
        pick = torch.from_numpy(missing)
        fresh = _compute(classifier, engine, scene, (owner[pick], keep[pick]), now)
        host = fresh.cpu().numpy()
        if engine.batch_size == size:  # after halving the context is another
            engine.cache.put([names[i] for i in missing], bits[missing], host)
        if len(missing) == len(names):
            return fresh
        values = np.zeros((len(names), host.shape[1]), np.float32) if values is None else values
        values[missing] = host
    return torch.from_numpy(values).to(scene.images.device)


def _context(classifier: Classifier, engine: Engine, scene: Scene, now: Stamp) -> str | None:
    while True:
        try:
            return engine.context(classifier, scene.images.shape[1:], now)
        except (RuntimeError, MemoryError) as error:
            engine.make_room(error)


def _compute(
    classifier: Classifier,
    engine: Engine,
    scene: Scene,
    asked: tuple[Int[Tensor, n], Bool[Tensor, "n players"]],
    now: Stamp,
) -> Float[Tensor, "n k"]:
    owner, keep = asked
    device, count, start = scene.images.device, len(owner), 0
    width = classifier.n_logits if classifier.n_logits <= KEPT_CLASSES else 3
    answers = torch.empty(count, width, device=device)
    with torch.inference_mode(), engine.running(classifier, scene.images.shape[1:], now):
        while start < count:
            size = engine.batch_size
            stop = min(start + size, count)
            try:
                whose = _moved(owner[start:stop], device)
                # No name for the pictures: they would live on while the next ones are composed.
                logits = classifier(_padded(scene.compose(whose, _moved(keep[start:stop], device)), size))
                logits = logits[: stop - start]
                answers[start:stop] = _kept(classifier, logits, scene.targets[whose])
            except (RuntimeError, MemoryError) as error:
                engine.make_room(error)
                continue
            engine.advance(stop - start)
            start = stop
    return answers


def _padded(pictures: Float[Tensor, "n c h w"], size: int) -> Float[Tensor, "size c h w"]:
    """The last picture repeated, after it was composed: an imputer may take longer than the model."""
    extra = size - len(pictures)
    return torch.cat([pictures, pictures[-1:].expand(extra, -1, -1, -1)]) if extra else pictures


def _kept(classifier: Classifier, logits: Float[Tensor, "n classes"], targets: Int[Tensor, n]) -> Float[Tensor, "n k"]:
    if logits.shape[1] <= KEPT_CLASSES:
        return logits
    every = torch.stack([logits, classifier.probabilities(logits), _predicted(classifier, logits)], 2)
    return every[torch.arange(len(logits), device=logits.device), targets]


def _score(
    classifier: Classifier, answers: Float[Tensor, "n k"], targets: Int[Tensor, n], score: Outcome
) -> Float[Tensor, n]:
    if classifier.n_logits > KEPT_CLASSES:
        return answers[:, ("logit", "probability", "predicted").index(score)]
    if score == "predicted":
        answers = _predicted(classifier, answers)
    values = classifier.probabilities(answers) if score == "probability" else answers
    return values.gather(1, targets[:, None])[:, 0]


def _predicted(classifier: Classifier, logits: Float[Tensor, "n classes"]) -> Float[Tensor, "n classes"]:
    """1 where its head predicts the class (softmax: the largest logit; sigmoid: positive ones), NaN for raw outputs."""
    found = torch.full_like(logits, torch.nan)
    for head in classifier.heads:
        start = classifier.offset(head.name)
        part = logits[:, start : start + len(head.classes)]
        if head.link == "softmax":
            found[:, start : start + len(head.classes)] = F.one_hot(part.argmax(1), len(head.classes)).to(part)
        elif head.link == "sigmoid":
            found[:, start : start + len(head.classes)] = (part > 0).to(part)
    return found


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """On the device, without waiting for it where that is possible."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
