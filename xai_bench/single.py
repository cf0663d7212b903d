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


def explain_film(film: Path, checkpoint: Path, names: Sequence[str], target: str | None, out: Path) -> list[str]:
    """Write `out` with the film and each method's map; returns lines with the prediction and each method's seconds."""
    from xai_bench.reporting.figures import save_overlays

    classifier, _ = load_checkpoint(checkpoint)
    explainers = {name: build("explainer", name) for name in names}
    digest = hashlib.sha256(film.read_bytes()).hexdigest() if film.is_file() else ""
    picture = read_picture(Sample("film", "film", {}, lambda: read_image(film), digest), classifier.reader)
    with torch.inference_mode():
        probabilities = classifier.eval().probabilities(classifier(picture.image[None]))[0]
    classes = [c for head in classifier.heads for c in head.classes]
    if target is not None and target not in classes:
        raise BadInput(f"target {target!r} is not a class of this checkpoint; choose {', '.join(classes)}.")
    index = int(probabilities.argmax()) if target is None else classes.index(target)
    lines = ["prediction: " + ", ".join(f"{c} {p:.3f}" for c, p in zip(classes, probabilities.tolist(), strict=True))]
    maps = {}
    for name, explainer in explainers.items():
        start = time.monotonic()
        native = explainer(classifier, to_batch([picture], [index]))
        maps[name] = upsample(native, tuple(picture.image.shape[-2:]), Traits.of(explainer).upsampling)[0].numpy()
        lines.append(f"{name}: evidence for {classes[index]!r}, {time.monotonic() - start:.1f} s")
    save_overlays(picture.image.mean(0).numpy(), maps, out)
    return [*lines, f"picture: {out}"]
