"""One film, one checkpoint, a few explainers: the quick look."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from xai_bench.classifiers.checkpoint import load_checkpoint
from xai_bench.classifiers.classifier import Classifier
from xai_bench.engine import Engine, Mode, Precision
from xai_bench.errors import BadInput
from xai_bench.images import read_image
from xai_bench.imputers.blur import Blur
from xai_bench.inputs import read_picture, to_batch
from xai_bench.progress import Meter, Progress
from xai_bench.protocols import Batch, Traits
from xai_bench.running.fidelity import best_mode, candidates, grid_probe
from xai_bench.saliency import upsample
from xai_bench.samples import Sample
from xai_bench.spec import build


@dataclass(frozen=True)
class Speed:
    """How the model is run by methods that ask it hundreds of times."""

    precision: Precision | Literal["auto"] = "auto"
    compile: bool = False


def explain_film(
    film: Path,
    checkpoint: Path,
    names: Sequence[str],
    target: str | None,
    out: Path,
    speed: Speed | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Write `out` with the film and each method's map; returns lines with the prediction and each method's seconds.

    With precision `auto` a faster mode than float32 is used where a quick check on this very film allows it; a line
    says what the check found. Raises BadInput for a film or checkpoint that cannot be read, an unknown class, or a
    method that must be fitted.
    """
    from xai_bench.reporting.figures import overlay_figure, png

    if out.suffix.lower() != ".png":
        raise BadInput(f"the picture is written as PNG; name a file ending in .png instead of {str(out)!r}.")
    classifier, _ = load_checkpoint(checkpoint)
    explainers = {name: build("explainer", name) for name in names}
    for name, explainer in explainers.items():
        if hasattr(explainer, "state"):
            raise BadInput(f"explainer {name!r} must be fitted on training films; use it in a study.")
    picture = read_picture(_sample(film), classifier.reader)
    shown = progress or Progress(quiet=True)
    with torch.inference_mode():
        probabilities = classifier.probabilities(classifier(picture.image[None]))[0]
    if not probabilities.isfinite().all():
        raise BadInput("the classifier returns NaN or infinite logits for this film; train it again.")
    classes = [c for head in classifier.heads for c in head.classes]
    if target is not None and target not in classes:
        raise BadInput(f"target {target!r} is not a class of this checkpoint; choose {', '.join(classes)}.")
    index = int(probabilities.argmax()) if target is None else classes.index(target)
    lines = ["prediction: " + ", ".join(f"{c} {p:.3f}" for c, p in zip(classes, probabilities.tolist(), strict=True))]
    maps, notes = {}, {"film": f"explained: {classes[index]}"}
    size, batch = (picture.image.shape[1], picture.image.shape[2]), to_batch([picture], [index])
    classifier.engine = Engine()
    if any(hasattr(e, "evaluations") for e in explainers.values()):
        lines += _set_mode(classifier, batch, speed or Speed())
    for name, explainer in explainers.items():
        start, each = time.monotonic(), int(getattr(explainer, "evaluations", 1))
        with shown.task(name, each) as advance:
            classifier.engine.progress = (meter := Meter(advance, each)).answers
            native = explainer(classifier, batch)
            meter.pictures(1)
        notes[name] = f"{time.monotonic() - start:.1f} s"
        maps[name] = upsample(native, size, Traits.of(explainer).upsampling)[0].cpu().numpy()
        lines.append(f"{name}: {notes[name]}")
    _write(out, png(overlay_figure(picture.image.mean(0).numpy(), maps, notes)))
    return [*lines, f"picture: {out}"]


def _set_mode(classifier: Classifier, batch: Batch, speed: Speed) -> list[str]:
    """Put the mode into the classifier's engine; returns what is to be said of it."""
    engine = classifier.engine or Engine()
    if speed.precision != "auto":
        engine.mode = Mode(speed.precision, speed.compile)
        return [f"numerical mode: {engine.mode}"] if engine.mode != Mode() else []
    modes = candidates(classifier, speed.compile)
    engine.mode, tried = best_mode(classifier, batch, grid_probe(Blur()), modes)
    return [f"numerical mode: {engine.mode}", *(f"  tried {found}" for found in tried)] if modes else []


def _sample(film: Path) -> Sample:
    if not film.is_file():
        raise BadInput(f"film {str(film)!r} does not exist or is no file; name a PNG or JPEG film.")
    try:
        digest = hashlib.sha256(film.read_bytes()).hexdigest()
    except OSError as error:
        raise BadInput(f"film {str(film)!r} cannot be read ({error.strerror}); check who may read it.") from None
    return Sample(digest[:12], "", {}, lambda: read_image(film, name=film.name), digest)


def _write(out: Path, content: bytes) -> None:
    unfinished = out.with_name(f".{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(content)
        unfinished.replace(out)
    except OSError as error:
        raise BadInput(f"picture {str(out)!r} cannot be written ({error.strerror}); name another with --out.") from None
    finally:
        with contextlib.suppress(OSError):  # a folder that cannot be written holds nothing to remove
            unfinished.unlink()
