"""What the adapters to packages of attribution methods share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.contained import FAILURES, contained, words
from xai_bench.engine import out_of_memory
from xai_bench.errors import Unfit
from xai_bench.seeding import derive


@contextlib.contextmanager
def peer(what: str, classifier: Classifier, seed: int, picture_id: str) -> Iterator[None]:
    """Within the block a package may explain one picture: it finds gradients switched on, no work in place, a seed.

    What it changes is put back. Raises Unfit, with the package's own words, where it fails for another reason than
    memory that ran out.
    """
    with untouched(classifier), _out_of_place(classifier), torch.enable_grad():
        try:
            with contained(derive(seed, picture_id), classifier.device):
                yield
        except FAILURES as error:
            if out_of_memory(error):
                raise
            blame = f"{what} does not work with {classifier.architecture}"
            raise Unfit(f"{blame} ({words(error)}); use another method.") from error


@contextlib.contextmanager
def _out_of_place(classifier: Classifier) -> Iterator[None]:
    """Modules that overwrite their input, which packages' hooks do not survive, do not; the numbers are the same."""
    changed = [m for m in classifier.modules() if getattr(m, "inplace", False) is True]
    for module in changed:
        _set_inplace(module, False)
    try:
        yield
    finally:
        for module in changed:
            _set_inplace(module, True)


def _set_inplace(module: nn.Module, value: bool) -> None:
    module.inplace = value  # type: ignore[assignment]  # nn.Module declares its attributes as tensors and modules
