"""Write docs/reference.md from the registries: every plugin with its fields, what it does and its source."""

from __future__ import annotations

import inspect
from pathlib import Path

from xai_bench.listing import listing
from xai_bench.registry import METRICS, REGISTRIES

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


if __name__ == "__main__":
    page = Path(__file__).parent / "reference.md"
    page.write_text(reference(), encoding="utf-8")
    print(f"wrote {page.name}")
