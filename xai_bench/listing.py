"""What a registry holds, as rows for the terminal and for the generated pages."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence

from xai_bench.protocols import Metric, Traits
from xai_bench.registry import Entry, Registry

FAMILIES = {
    "localization": "Does the map look where clinicians look? Scored against each region and reference by itself.",
    "faithfulness": "Does the model really use it? Parts of the picture are hidden and the model is asked again.",
    "stability": "Does the map stay where nothing of importance changes, and change with the model and the class?",
    "complexity": "What the map is like, whatever the model and the clinicians say.",
}


def family_of(metric: Metric) -> str:
    """A metric's family: its class attribute `family`, else by what it looks at: a region, the model, the map alone."""
    declared = getattr(metric, "family", "")
    if declared:
        return str(declared)
    if metric.needs_region:
        return "localization"
    return "faithfulness" if hasattr(metric, "evaluations") else "complexity"


def listing(registry: Registry) -> list[tuple[str, str, str, str]]:
    """(name, fields with defaults, first line of the docstring, source) of every entry."""
    return [(name, _fields(entry.factory), entry.summary, entry.cite) for name, entry in registry.items()]


EXPLAINER_COLUMNS = ("family", "class-specific", "signed", "gradients", "works with", "evaluations", "source")
BY_FIELDS = "by fields"
"""What a table says of a trait that follows from the fields: of a wrapper or an adapter."""


def explainer_row(entry: Entry) -> tuple[str, ...]:
    """What `EXPLAINER_COLUMNS` say of an explainer with its default fields, from its traits.

    >>> from xai_bench.registry import EXPLAINERS
    >>> explainer_row(EXPLAINERS["random_map"])
    ('control', 'no', 'no', 'no', 'any classifier', '0', '')
    """
    traits = ("family", "class_specific", "signed", "needs_gradients", "works_with")
    return (*(_trait(entry.factory, name) for name in traits), _evaluations(entry.factory), entry.cite)


def in_short(row: Sequence[str]) -> str:
    """An explainer's row for a narrow table, its source apart.

    >>> in_short(("cam", "yes", "no", "yes", "CNNs", "1", ""))
    'cam; class-specific; not signed; gradients; CNNs; evaluations: 1'
    """
    family, *flags, works_with, evaluations, _ = row
    absent = ("not class-specific", "not signed", "no gradients")
    words = [
        {"yes": name, "no": no}.get(flag, f"{name} {flag}")
        for flag, name, no in zip(flags, EXPLAINER_COLUMNS[1:4], absent, strict=True)
    ]
    return "; ".join([_of("family", family), *words, _of("works with", works_with), f"evaluations: {evaluations}"])


def _of(column: str, cell: str) -> str:
    return f"{column} {cell}" if cell == BY_FIELDS else cell


def _trait(cls: type, name: str) -> str:
    found = inspect.getattr_static(cls, name, getattr(Traits(), name))
    if isinstance(found, property):
        return BY_FIELDS
    return found if isinstance(found, str) else "yes" if found else "no"


def _evaluations(cls: type) -> str:
    """Of a picture, with the default fields; one that does not say is one forward pass, a control or a reader none."""
    if not hasattr(cls, "evaluations"):
        return "0" if _trait(cls, "family") == "control" or getattr(cls, "needs_files", False) else "1"
    return str(cls().evaluations)


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
