"""What a registry holds, as rows for the terminal and for the generated pages."""

from __future__ import annotations

import dataclasses

from xai_bench.protocols import Metric
from xai_bench.registry import Registry

FAMILIES = {
    "localization": "Does the map look where clinicians look? Scored against each region and reference by itself.",
    "faithfulness": "Does the model really use it? Parts of the picture are hidden and the model is asked again.",
    "complexity": "What the map is like, whatever the model and the clinicians say.",
}


def family_of(metric: Metric) -> str:
    """A metric's family, by what it looks at: a region, the model, or the map alone."""
    if metric.needs_region:
        return "localization"
    return "faithfulness" if hasattr(metric, "evaluations") else "complexity"


def listing(registry: Registry) -> list[tuple[str, str, str, str]]:
    """(name, fields with defaults, first line of the docstring, source) of every entry."""
    return [(name, _fields(entry.factory), entry.summary, entry.cite) for name, entry in registry.items()]


def _fields(cls: type) -> str:
    shown = []
    for f in dataclasses.fields(cls):
        if f.name == "state":
            continue
        if f.default is not dataclasses.MISSING:
            shown.append(f"{f.name}={f.default!r}")
        elif f.default_factory is not dataclasses.MISSING:
            shown.append(f"{f.name}={f.default_factory()!r}")
        else:
            shown.append(f.name)
    return ", ".join(shown)
