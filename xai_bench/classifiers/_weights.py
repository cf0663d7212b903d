"""Weights drawn by a seed, and trained weights from a local file; never by running a pickle."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xai_bench.errors import BadInput

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@contextmanager
def drawn_by(seed: int) -> Iterator[None]:
    """Layers made inside get weights by this seed; torch's global randomness is left as it was.

    >>> with drawn_by(1):
    ...     one = torch.rand(1)
    >>> with drawn_by(1):
    ...     bool(one == torch.rand(1))
    True
    """
    with torch.random.fork_rng(devices=[]):  # layers are made on the CPU
        torch.default_generator.manual_seed(seed)
        yield


def read_weights(path: str | Path) -> Mapping[str, Tensor]:
    """A state dict from a .safetensors file or a .pth file of tensors. Raises BadInput for anything else."""
    file = Path(path)
    if not file.is_file():
        raise BadInput(
            f"weights {str(path)!r} are not a file; give 'none', 'default' or the path of a .pth or .safetensors file."
        )
    found = _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise BadInput(f"weights {str(path)!r} do not hold a state dict; save `model.state_dict()`.")
    return found


def _read_torch(file: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of a pickle's protocol before it refuses the pickle
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise BadInput(
            f"weights {str(file)!r} hold pickled Python objects, which can run code, or are damaged; "
            "save only `model.state_dict()`."
        ) from None
    except (RuntimeError, EOFError, OSError) as error:
        raise BadInput(
            f"weights {str(file)!r} cannot be read ({type(error).__name__}); is the file complete?"
        ) from error


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (SafetensorError, OSError) as error:
        raise BadInput(
            f"weights {str(file)!r} are not a readable safetensors file ({error}); is it complete?"
        ) from error
    return tensors


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str, skip: Collection[str] = ()) -> None:
    """Load a state dict, leaving the layers `skip` as they are. Raises BadInput for another model's names or shapes."""

    def kept(names: Collection[str]) -> set[str]:
        return {n for n in names if n.rpartition(".")[0] not in skip}

    own = model.state_dict()
    missing, unexpected = (
        sorted(kept(own.keys()) - kept(weights.keys())),
        sorted(kept(weights.keys()) - kept(own.keys())),
    )
    other = [n for n in sorted(kept(own.keys()) & kept(weights.keys())) if own[n].shape != weights[n].shape]
    if missing or unexpected or other:
        first = [*missing, *unexpected, *other][0]
        raise BadInput(
            f"weights {source!r} are of another architecture than "
            f"{getattr(model, 'architecture', type(model).__name__)}: {len(missing)} tensors missing, "
            f"{len(unexpected)} unexpected, {len(other)} of another shape, such as {first!r}."
        )
    model.load_state_dict({n: weights[n] for n in kept(own.keys())}, strict=False)
