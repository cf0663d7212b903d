"""Make `import torchvision` work beside a torch build that cannot load torchvision's compiled operators.

A CPU build of torch next to a CUDA build of torchvision dies with `operator torchvision::nms does not exist`. Models
and transforms need none of these operators, only their schemas; declaring them is enough. Done only when they are
missing.
"""

import importlib.util

import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared: list[torch.library.Library] = []  # a Library's schemas vanish with it, so it is kept


def compiled_ops_missing() -> bool:
    """True where torchvision's shared library cannot be loaded into this torch."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return False
    from pathlib import Path

    folder = Path(spec.submodule_search_locations[0])
    for library in sorted(folder.glob("_C*.so")):
        try:
            torch.ops.load_library(library)  # type: ignore[no-untyped-call]  # torch has no types here
        except OSError:
            return True
        return False
    return True


def declare_missing() -> bool:
    """Declare the schemas once; returns whether that was needed."""
    if _declared:
        return True
    if hasattr(torch.ops.torchvision, "nms") or not compiled_ops_missing():
        return False
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]  # torch has no types here
    for schema in _SCHEMAS.values():
        library.define(schema)  # type: ignore[no-untyped-call]  # torch has no types here
    _declared.append(library)
    return True


STUBBED = declare_missing()
