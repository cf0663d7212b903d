"""Trained classifiers on disk: safetensors for the weights, a JSON card for all else."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xai_bench.classifiers._weights import load_weights, read_weights
from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.inputs import Input
from xai_bench.samples import Head
from xai_bench.spec import build, make, spec_of

CARD = "card.json"
VERSION = 1
_PICKLED = (".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".bin")


def save_checkpoint(classifier: Classifier, folder: Path, card: Mapping[str, Any]) -> None:
    """Write `card.json` and the weights into a folder; a reader finds the old checkpoint or the new one, no mixture.

    `card` must name the `architecture` (its spec); it should hold `training`, `seed`, `data` (a hash of the training
    data) and `accuracy`. Heads, reader and the weights' hash are added. Raises BadInput where the folder cannot be
    written.
    """
    if not isinstance(card.get("architecture"), Mapping):
        raise BadInput(
            "a checkpoint's card needs `architecture`, a registered classifier's spec: `spec_of(architecture)`."
        )
    from safetensors.torch import save

    weights = classifier.weights_hash()
    file = f"weights-{weights}.safetensors"
    own = {
        "version": VERSION,
        "weights": weights,
        "file": file,
        "reader": spec_of(classifier.reader),
        "heads": [spec_of(h) for h in classifier.heads],
    }
    text = json.dumps({**card, **own}, indent=2, sort_keys=True) + "\n"
    tensors = {name: t.detach().cpu().contiguous() for name, t in classifier.state_dict().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / file, save(tensors))
        _replace(folder / CARD, text.encode())  # from here on the new weights are the ones that the card names
        for old in folder.glob("weights-*.safetensors"):
            if old.name != file:
                old.unlink()
    except OSError as error:
        raise BadInput(
            f"checkpoint folder {str(folder)!r} cannot be written ({error.strerror}); choose another or free space."
        ) from error


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(folder: Path | str) -> tuple[Classifier, dict[str, Any]]:
    """The classifier in eval mode, and its card.

    Raises BadInput for a pickle, a missing card, damaged weights and those of another architecture.
    """
    folder = Path(folder)
    card = _read_card(folder)
    architecture = build("classifier", card["architecture"], where=f"checkpoint {str(folder)!r}")
    heads = tuple(make(Head, h["fields"], where="a head of the checkpoint") for h in card["heads"])
    reader = make(Input, card["reader"]["fields"], where="the checkpoint's reader")
    classifier: Classifier = bare(architecture).build(heads, reader, seed=0)
    load_weights(classifier, read_weights(folder / card["file"]), str(folder))
    if classifier.weights_hash() != card["weights"]:
        raise BadInput(
            f"checkpoint {str(folder)!r} is damaged or was edited: its weights do not have the hash {card['weights']} "
            "of its card; save it again."
        )
    return classifier.eval(), card


def bare(architecture: Any) -> Any:
    """The architecture without trained weights, where it knows how (a method `bare`); else itself."""
    return architecture.bare() if hasattr(architecture, "bare") else architecture


def _read_card(folder: Path) -> dict[str, Any]:
    if folder.suffix in _PICKLED:
        raise BadInput(
            f"checkpoint {str(folder)!r} is a pickle, which can run code when it is read; save it with save_checkpoint."
        )
    path = folder / CARD
    if not path.is_file():
        raise BadInput(f"checkpoint {str(folder)!r} has no {CARD}; name a folder that save_checkpoint wrote.")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        missing = [k for k in ("architecture", "heads", "reader", "weights", "file") if k not in card]
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"the card of checkpoint {str(folder)!r} is not readable JSON ({error}).") from error
    if missing or not isinstance(card, dict):
        raise BadInput(
            f"the card of checkpoint {str(folder)!r} lacks {', '.join(missing) or 'its fields'}; "
            "save it again with save_checkpoint."
        )
    specs = [card["reader"], *(card["heads"] if isinstance(card["heads"], list) else [None])]
    if not isinstance(card["architecture"], dict) or not all(isinstance(s, dict) and "fields" in s for s in specs):
        raise BadInput(
            f"the card of checkpoint {str(folder)!r} does not describe architecture, reader and heads as "
            "save_checkpoint does; save it again."
        )
    name = str(card["file"])
    if not name.endswith(".safetensors") or Path(name).name != name:
        raise BadInput(
            f"checkpoint {str(folder)!r} names the weights {name!r}; only a .safetensors file in the same folder is "
            "read, never a pickle."
        )
    if not (folder / name).is_file():
        raise BadInput(f"checkpoint {str(folder)!r} lacks its weights {name!r}; copy the whole folder.")
    return card
