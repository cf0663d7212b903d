"""Copies of a classifier whose weights are drawn again, module by module; the classifier itself is never touched."""

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.engine import Engine, Mode
from xai_bench.errors import Unfit
from xai_bench.seeding import derive


def separate_copy(classifier: Classifier) -> Classifier:
    """A copy that shares no weight, no prepared forward pass and no score cache.

    It is never compiled: that takes longer than a few explanations. Raises Unfit where the model cannot be copied.
    """
    try:
        twin = copy.deepcopy(classifier)
    except (RuntimeError, TypeError) as error:  # a weight that is computed from others, a module that holds a file
        reason = str(error).strip().split("\n")[0]
        raise Unfit(f"{classifier.architecture} cannot be copied ({reason})") from error
    engine = classifier.engine
    twin.engine = Engine(Mode(engine.mode.precision), engine.batch_size) if engine else None
    twin.runner = None
    return twin


def weighted_modules(classifier: Classifier, image: Float[Tensor, "1 c h w"]) -> list[str]:
    """Dotted names of the wrapped model's modules that own weights, in the order in which they first run.

    A module that never runs itself (its weights are read by the module around it) counts where that one runs.
    """
    started: dict[str, int] = {}
    modules = dict(classifier.model.named_modules())

    def watch(name: str, module: nn.Module) -> RemovableHandle:
        def note(*_: object) -> None:
            started.setdefault(name, len(started))

        return module.register_forward_pre_hook(note)

    handles = [watch(name, module) for name, module in modules.items()]
    try:
        with untouched(classifier), torch.no_grad():
            classifier(image)
    finally:
        for handle in handles:
            handle.remove()

    def start(name: str) -> int:
        while name and name not in started:
            name = name.rpartition(".")[0]
        return started.get(name, 0)

    return sorted((name for name, module in modules.items() if _owns_weights(module)), key=start)


def _owns_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False)) or (
        hasattr(module, "reset_parameters") and any(True for _ in module.buffers(recurse=False))
    )


def randomize(classifier: Classifier, name: str, seed: int) -> None:
    """Draw one module's own weights again, in place, by (seed, name): as the module itself does, else permuted.

    Running statistics are reset with the weights. Types, devices and `requires_grad` stay. Weights are drawn on the
    CPU, so that they are the same on every device.
    """
    module = classifier.model.get_submodule(name)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(derive(seed, name))
        if hasattr(module, "reset_parameters"):
            fresh: Any = copy.deepcopy(module).cpu()
            fresh.reset_parameters()
            drawn = _own(fresh)
        else:
            drawn = {k: p.cpu().flatten()[torch.randperm(p.numel())].view_as(p) for k, p in _own(module, False).items()}
        for key, tensor in _own(module).items():
            if key in drawn:
                tensor.copy_(drawn[key])


def randomized_twin(classifier: Classifier, seed: int) -> Classifier:
    """A separate copy with all of its weights drawn again. Raises Unfit where nothing can be drawn again."""
    twin = separate_copy(classifier)
    for name in [name for name, module in twin.model.named_modules() if _owns_weights(module)]:
        randomize(twin, name, seed)
    if same_weights(classifier, twin):
        raise Unfit(f"{classifier.architecture} has no weights that can be randomized")
    return twin


def _own(module: nn.Module, buffers: bool = True) -> dict[str, Tensor]:
    found: dict[str, Tensor] = dict(module.named_parameters(recurse=False))
    return found | dict(module.named_buffers(recurse=False)) if buffers else found


def same_weights(one: Classifier, other: Classifier) -> bool:
    """Whether two classifiers of one architecture have the same parameters and buffers, bit by bit."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)
