"""xai_bench: can the heatmaps of a spine classifier be trusted?

The five names that a script needs are here; they are imported when first used, so that `import xai_bench` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xai_bench import _torchvision_ops as _torchvision_ops  # torchvision may not import without it

if TYPE_CHECKING:
    from xai_bench.classifiers.classifier import Classifier
    from xai_bench.inputs import Input, Intensity, Resize
    from xai_bench.running.benchmark import evaluate
    from xai_bench.running.run import Run
    from xai_bench.samples import Head, Sample
    from xai_bench.study import Study

__version__ = "0.1.0"

_WHERE = {
    "evaluate": "running.benchmark", "Classifier": "classifiers.classifier", "Head": "samples", "Input": "inputs",
    "Intensity": "inputs", "Resize": "inputs", "Run": "running.run", "Sample": "samples", "Study": "study",
}  # fmt: skip
__all__ = ["Classifier", "Head", "Input", "Intensity", "Resize", "Run", "Sample", "Study", "evaluate"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'xai_bench' has no attribute {name!r}; it has {', '.join(__all__)}.")
    return getattr(import_module(f"xai_bench.{_WHERE[name]}"), name)
