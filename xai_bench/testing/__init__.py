"""Contract suites for plugins: one call checks an explainer, a metric, a dataset or a classifier.

They need no test framework: each raises AssertionError with one sentence that says what is wrong and what to do.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True)
... class Brightness:
...     class_specific = False
...     def __call__(self, classifier, batch):
...         return batch.images.mean(1)
>>> check_explainer(Brightness())
"""

from xai_bench.testing.classifiers import check_classifier
from xai_bench.testing.datasets import check_dataset
from xai_bench.testing.explainers import check_explainer
from xai_bench.testing.fixtures import (
    box_classifier,
    tiny_batch,
    tiny_classifier,
    tiny_regions,
    tiny_training,
    with_tiny_players,
)
from xai_bench.testing.metrics import check_metric

__all__ = [
    "box_classifier",
    "check_classifier",
    "check_dataset",
    "check_explainer",
    "check_metric",
    "tiny_batch",
    "tiny_classifier",
    "tiny_regions",
    "tiny_training",
    "with_tiny_players",
]
