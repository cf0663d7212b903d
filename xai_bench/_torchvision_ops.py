"""Make `import torchvision` work beside a torch build that cannot load torchvision's compiled operators.

A CPU build of torch next to a CUDA build of torchvision dies with `operator torchvision::nms does not exist`. Models
and transforms need none of these operators, only their schemas; declaring them is enough. Done only when they are
missing, and when torchvision is first imported: neither it nor torch is imported for this alone.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared: list[torch.library.Library] = []  # a Library's schemas vanish with it, so it is kept


def compiled_ops_missing() -> bool:
    """True where torchvision's shared library cannot be loaded into this torch."""
    spec = PathFinder.find_spec("torchvision")  # not through the finder below
    if spec is None or not spec.submodule_search_locations:
        return False
    from pathlib import Path

    import torch

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
    import torch

    if _declared:
        return True
    if hasattr(torch.ops.torchvision, "nms") or not compiled_ops_missing():
        return False
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]  # torch has no types here
    for schema in _SCHEMAS.values():
        library.define(schema)  # type: ignore[no-untyped-call]  # torch has no types here
    _declared.append(library)
    return True


class _BeforeTorchvision(MetaPathFinder):
    """Finds nothing; declares the schemas when torchvision is looked for."""

    def find_spec(self, fullname: str, *_: Any) -> None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            declare_missing()


if "torchvision" not in sys.modules:
    sys.meta_path.insert(0, _BeforeTorchvision())
