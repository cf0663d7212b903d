"""Spatial gates: where a CNN with spatial attention modules lets its features pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.errors import Unfit
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer

_GATES = (torch.sigmoid, Tensor.sigmoid, Tensor.sigmoid_, F.hardsigmoid)


@explainer("spatial_gates", cite="Woo et al. 2018 (CBAM); Hu et al. 2018 (gather-excite)")
@dataclass(frozen=True)
class SpatialGates:
    """Mean of the gates (0 closed, 1 open) that the last attention modules put on the places of their feature map.

    A gate is a sigmoid of one value a place, as in CBAM (timm's `cbam` and `lcbam` or anybody's own), or the mean over
    channels of gather-excite's. The mean is over the modules of the last gate's grid: in a residual network each gate
    scales what its own block adds, and the last grid is the one that the decision is made from. It does not depend on
    the target. Raises Unfit where no gate is over places (squeeze-excitation weighs channels).
    """

    family: ClassVar[str] = "attention"
    signed: ClassVar[bool] = False
    class_specific: ClassVar[bool] = False
    works_with: ClassVar[str] = "CNNs with spatial gates (CBAM, gather-excite)"

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        gates = read_gates(classifier, batch)
        if not gates:
            raise Unfit(
                f"{classifier.architecture} has no gates over places (squeeze-excitation weighs channels); "
                "use a CNN with CBAM or gather-excite modules."
            )
        return torch.stack([gate for gate in gates if gate.shape == gates[-1].shape]).mean(0)


def read_gates(classifier: Classifier, batch: Batch) -> list[Tensor]:
    """Every gate over places, (b, rows, columns), first block first; the classifier is left as it was."""
    recorder = _Gates(len(batch))
    excite: list[Any] = [m for m in classifier.model.modules() if type(m).__name__ == "GatherExcite"]
    with untouched(classifier), torch.no_grad():
        handles = [m.gate.register_forward_hook(lambda _m, _args, gate: recorder.keep(gate)) for m in excite]
        try:
            with recorder:
                classifier(batch.images)
        finally:
            for handle in handles:
                handle.remove()
    return recorder.gates


class _Gates(TorchFunctionMode):
    """While entered, keeps the gates that torch computes in this thread; see `classifiers/_recorder.py`."""

    def __init__(self, pictures: int) -> None:
        super().__init__()
        self.pictures = pictures
        self.gates: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], _types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _GATES and result.ndim == 4 and result.shape[1] == 1:
            self.keep(result)
        return result

    def keep(self, gate: Tensor) -> None:
        if len(gate) == self.pictures and min(gate.shape[2:]) > 1:
            self.gates.append(gate.detach().mean(1))
