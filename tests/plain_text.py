"""A table as the terminal shows it, as plain text."""

import io

from rich.console import Console

from xai_bench.reporting.table import Table, to_rich


def to_text(table: Table, width: int = 118) -> str:
    out = io.StringIO()
    Console(width=width, file=out, color_system=None).print(to_rich(table))
    return out.getvalue()
