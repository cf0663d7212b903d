"""The console script as a user calls it."""

import sys
from pathlib import Path

import pytest

from xai_bench.cli import main as cli


def call(*arguments: str | Path) -> int:
    """What the console script exits with."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(sys, "argv", ["xai-bench", *map(str, arguments)])
        patch.setenv("COLUMNS", "200")
        cli.main()
    return int(stop.value.code or 0)
