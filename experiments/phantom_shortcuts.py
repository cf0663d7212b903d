"""Is the phantom its own shortcut? What a classifier and a simple probe know without the spine.

    python experiments/phantom_shortcuts.py [--store runs/demo]

1. The demo's honest twins on test films in which one fixed box, the same for all films, that covers the column, the
   ribs and all that moves with the spine at any angle is replaced by the training mean: accuracy should fall to chance.
2. A probe (logistic regression and a random forest, cross-validated by patient) on size, border, exposure, mean and
   histogram of films: accuracy should be chance.

Last output (two cores, demo budget):

    fixed box: rows 0-128, columns 10-90, 80% of the film
    honest, seed 0, whole film: accuracy 0.975 [0.922, 0.992]; majority 0.53, 120 films
    honest, seed 0, box = training mean: accuracy 0.533 [0.408, 0.667]; majority 0.53, 120 films
    honest, seed 1, whole film: accuracy 0.983 [0.941, 0.995]; majority 0.53, 120 films
    honest, seed 1, box = training mean: accuracy 0.467 [0.364, 0.579]; majority 0.53, 120 films
    probe, draw 0, logistic regression: accuracy 0.518 [0.480, 0.557]; chance 0.50, 600 films
    probe, draw 0, random forest: accuracy 0.513 [0.475, 0.555]; chance 0.50, 600 films
    probe, draw 1, logistic regression: accuracy 0.503 [0.462, 0.543]; chance 0.50, 600 films
    probe, draw 1, random forest: accuracy 0.490 [0.450, 0.532]; chance 0.50, 600 films
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from xai_bench.cli.demo import HONEST, Demo
from xai_bench.inputs import to_batch
from xai_bench.phantom import fixed_box
from xai_bench.progress import Progress
from xai_bench.running.models import models
from xai_bench.running.workbench import Workbench
from xai_bench.spec import build
from xai_bench.statistics import interval
from xai_bench.store.store import Store


def without_spine(store: str) -> None:
    """Print the honest twins' accuracy with and without the box."""
    demo = Demo()
    study = demo.study("random")
    bench = Workbench(Store.at(store), Progress(quiet=True))
    top, bottom, left, right = fixed_box("ap", (demo.height, demo.width))
    share = (bottom - top) * (right - left) / (demo.height * demo.width)
    print(f"fixed box: rows {top}-{bottom}, columns {left}-{right}, {share:.0%} of the film")
    for model in models(study, bench):
        if model.name != HONEST or model.training is None:
            continue
        samples = list(model.pictures.samples.values())
        pictures = model.pictures.readable([s.id for s in samples], regions=False)
        images = to_batch(pictures, [0] * len(pictures)).images
        mean = torch.cat([batch.images for batch, _ in model.training]).mean(0)
        hidden = images.clone()
        hidden[:, :, top:bottom, left:right] = mean[:, top:bottom, left:right]
        truth = np.array([str(s.labels["diagnosis"]) for s in samples])
        commonest = max((truth == c).mean() for c in set(truth))
        for name, shown in (("whole film", images), ("box = training mean", hidden)):
            with torch.inference_mode():
                said = np.array(model.classifier.heads[0].classes)[model.classifier(shown).argmax(1).numpy()]
            line = f"accuracy {_rate(said == truth, [s.patient for s in samples])}; majority {commonest:.2f}"
            print(f"honest, seed {model.train_seed}, {name}: {line}, {len(samples)} films")


def probe(films: int, draws: int = 2) -> None:
    """Print the cross-validated accuracy of simple features."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    for seed in range(draws):
        fields = {"height": 96, "width": 76, "films_per_patient": [1, 1], "seed": seed, "films": {"test": films}}
        samples = build("dataset", {"name": "phantom", **fields}).samples("test")
        table = np.stack([_features(s.read_image()) for s in samples])
        truth, patients = [s.labels["diagnosis"] for s in samples], [s.patient for s in samples]
        for name, model in {
            "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
            "random forest": RandomForestClassifier(300, min_samples_leaf=5, random_state=0),
        }.items():
            said = cross_val_predict(model, table, truth, groups=patients, cv=GroupKFold(5))
            line = f"accuracy {_rate(said == np.array(truth), patients)}; chance 0.50"
            print(f"probe, draw {seed}, {name}: {line}, {films} films")


def _features(image: np.ndarray) -> np.ndarray:
    flat = image.astype(float) / 255
    border = np.concatenate([flat[0], flat[-1], flat[:, 0], flat[:, -1]])
    exposure = [flat.mean(), flat.std(), np.median(flat), (flat > 0.95).mean(), (flat < 0.05).mean()]
    histogram = np.histogram(flat, 16, (0, 1))[0] / flat.size
    return np.array([*image.shape, border.mean(), border.std(), *exposure, *histogram])


def _rate(right: np.ndarray, patients: list[str]) -> str:
    found = interval(right.astype(float), patients, binary=True)
    return f"{right.mean():.3f} [{found.low:.3f}, {found.high:.3f}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="runs/demo", help="a finished demo run; its classifiers are used")
    parser.add_argument("--films", type=int, default=600, help="films of the probe")
    chosen = parser.parse_args()
    without_spine(chosen.store)
    probe(chosen.films)
