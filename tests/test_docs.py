"""The generated page says what is registered."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_reference_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("docs_make", ROOT / "docs" / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "reference.md").read_text() == module.reference(), "run `make docs`"
