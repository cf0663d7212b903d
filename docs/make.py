"""Write the pages of docs/ that say what is registered: every plugin with its fields, meaning, traits and source."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from xai_bench.listing import EXPLAINER_COLUMNS, FAMILIES, explainer_row, family_of, listing
from xai_bench.registry import EXPLAINERS, METRICS, REGISTRIES

HEADER = "# Reference\n\nMade by `make docs` from what is registered; edit the docstrings, not this page.\n"
ARROWS = {"higher": "higher is better", "lower": "lower is better", None: "no direction"}


def reference() -> str:
    """The page's text."""
    parts = [HEADER]
    for registry in REGISTRIES.values():
        parts.append(f"## {registry.kind.capitalize().rstrip('y')}{'ies' if registry.kind.endswith('y') else 's'}\n")
        for name, fields, _, cite in listing(registry):
            own = (registry[name].factory.__module__).split(".")[0].startswith("xai_bench")
            if not own:
                continue
            parts.append(f"### `{name}`\n\n{inspect.getdoc(registry[name].factory)}\n")
            parts.append(f"Fields: `{fields}`.\n" if fields else "No fields.\n")
            if registry is METRICS:
                parts += _scores(name)
            parts.append(f"Source: {cite}.\n" if cite else "")
    return "\n".join(p for p in parts if p)


def _scores(name: str) -> list[str]:
    lines = ["| score | direction | range | unit |", "|---|---|---|---|"]
    for score, info in METRICS[name].factory().scores.items():
        lines.append(f"| `{score}` | {ARROWS[info.better]} | {info.low:g} to {info.high:g} | {info.unit or '-'} |")
    return ["\n".join(lines) + "\n"]


METRICS_HEADER = """\
# Metrics

Made by `make docs` from what is registered; edit the docstrings, not this page.

What holds for all of them, and is tested for every registered metric, anybody's included:

- Only pixels inside the content count, never letterbox padding. A region follows the picture's transform once.
- A region that was not read, or that a reader marked as nothing, is excluded and counted with its reason.
- A map with NaN or infinite values, or a model that returns them, makes the picture invalid; nothing is filled with 0.
- A constant map gets the value of chance and is marked. Tied pixels give an exact expectation or an order seeded by the
  picture; no score depends on memory order.
- Doubling a map changes no score. A score does not depend on the other pictures of its batch.
- One value a picture and score. Means, intervals and tests are a later step, by patient.
"""


def metrics() -> str:
    """The page of metrics, a section a family."""
    parts = [METRICS_HEADER]
    for family, about in FAMILIES.items():
        parts.append(f"## {family.capitalize()}\n\n{about}\n")
        for name, entry in METRICS.items():
            made = entry.factory()
            if not entry.factory.__module__.startswith("xai_bench") or family_of(made) != family:
                continue
            polarity = getattr(made, "polarity", "positive")
            parts.append(f"### `{name}`\n\n{inspect.getdoc(entry.factory)}\n")
            parts += _scores(name)
            source = f" Source: {entry.cite}." if entry.cite else ""
            parts.append(f"Map's part: {polarity}. Cost: {_cost(made, family)}.{source}\n")
    return "\n".join(parts)


def _cost(made: Any, family: str) -> str:
    """What a metric asks of the model; those of stability explain again, as often as they say."""
    if not getattr(made, "evaluations", 0):
        return "as said above" if family == "faithfulness" else "no model evaluations"
    what = "runs of the explainer" if family == "stability" else "model evaluations"
    return f"about {made.evaluations} {what} a picture and map"


EXPLAINERS_HEADER = """\
# Explainers

Made by `make docs` from what is registered; edit the classes, not this page. `xai-bench list explainers` shows the same
for everything that is installed.

- **class-specific**: the map depends on the class that is explained.
- **signed**: it may hold evidence against the class.
- **gradients**: the classifier must be differentiable.
- **works with**: what else the classifier must be; elsewhere the method is skipped, with the reason.
- **evaluations**: pictures that the model sees for each one explained, with the default fields; a picture that goes
  through it once, backward pass included, counts as 1.
- **by fields**: it follows from the fields, such as the explainer that is wrapped or the method that is named.
"""


def explainers() -> str:
    """The page of explainers: one table."""
    lines = [EXPLAINERS_HEADER, "| name | " + " | ".join(EXPLAINER_COLUMNS) + " |"]
    lines.append("|---" * (1 + len(EXPLAINER_COLUMNS)) + "|")
    for name, entry in EXPLAINERS.items():
        if entry.factory.__module__.startswith("xai_bench"):
            lines.append(f"| `{name}` | " + " | ".join(cell or "-" for cell in explainer_row(entry)) + " |")
    return "\n".join(lines) + "\n"


PAGES = {"reference.md": reference, "metrics.md": metrics, "explainers.md": explainers}

if __name__ == "__main__":
    for name, write in PAGES.items():
        (Path(__file__).parent / name).write_text(write(), encoding="utf-8")
        print(f"wrote {name}")
