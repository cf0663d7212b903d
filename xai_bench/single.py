"""One film, one checkpoint, a few explainers: the quick look."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from xai_bench.classifiers.checkpoint import load_checkpoint
from xai_bench.errors import BadInput
from xai_bench.images import read_image
from xai_bench.inputs import read_picture, to_batch
from xai_bench.protocols import Traits
from xai_bench.saliency import upsample
from xai_bench.samples import Sample
from xai_bench.spec import build
from xai_bench.store import writing


def explain_film(film: Path, checkpoint: Path, names: Sequence[str], target: str | None, out: Path) -> list[str]:
    """Write `out` with the film and each method's map; returns lines with the prediction and each method's seconds.

    Raises BadInput for a film or checkpoint that cannot be read, an unknown class, or a method that must be fitted.
    """
    from xai_bench.reporting.figures import overlay_figure, png

    classifier, _ = load_checkpoint(checkpoint)
    explainers = {name: build("explainer", name) for name in names}
    for name, explainer in explainers.items():
        if hasattr(explainer, "state"):
            raise BadInput(f"explainer {name!r} must be fitted on training films; use it in a study.")
    digest = hashlib.sha256(film.read_bytes()).hexdigest() if film.is_file() else ""
    sample = Sample(digest[:12], "", {}, lambda: read_image(film, name=film.name), digest)
    picture = read_picture(sample, classifier.reader)
    with torch.inference_mode():
        probabilities = classifier.probabilities(classifier(picture.image[None]))[0]
    classes = [c for head in classifier.heads for c in head.classes]
    if target is not None and target not in classes:
        raise BadInput(f"target {target!r} is not a class of this checkpoint; choose {', '.join(classes)}.")
    index = int(probabilities.argmax()) if target is None else classes.index(target)
    lines = ["prediction: " + ", ".join(f"{c} {p:.3f}" for c, p in zip(classes, probabilities.tolist(), strict=True))]
    maps, notes = {}, {"film": f"explained: {classes[index]}"}
    size = (picture.image.shape[1], picture.image.shape[2])
    for name, explainer in explainers.items():
        start = time.monotonic()
        native = explainer(classifier, to_batch([picture], [index]))
        notes[name] = f"{time.monotonic() - start:.1f} s"
        maps[name] = upsample(native, size, Traits.of(explainer).upsampling)[0].cpu().numpy()
        lines.append(f"{name}: {notes[name]}")
    with writing(out.parent):
        out.write_bytes(png(overlay_figure(picture.image.mean(0).numpy(), maps, notes)))
    return [*lines, f"picture: {out}"]
