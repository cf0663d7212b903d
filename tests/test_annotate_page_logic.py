"""What the page computes, tested by Node without a browser; and the one file in it that is not ours."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

PAGE = Path(str(files("xai_bench_annotations"))) / "page"
NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="needs Node 20 or newer; the browser tests cover the same code")
@pytest.mark.parametrize("module", ["api", "geometry", "mask", "store", "sync", "tools", "view"])
def test_logic(module: str) -> None:
    test = Path(__file__).parent / "page" / f"{module}.test.mjs"
    done = subprocess.run([str(NODE), "--test", str(test)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"^# pass (\d+)", done.stdout, re.M)[0]) > 0


def test_vendored_files_are_the_published_ones() -> None:
    listed = dict(reversed(line.split()) for line in (PAGE / "vendor" / "sha256").read_text().splitlines())
    found = {f.name for f in (PAGE / "vendor").iterdir()} - {"sha256"}
    assert found == set(listed) == {"konva.min.js", "konva.LICENSE"}
    for name, digest in listed.items():
        assert hashlib.sha256((PAGE / "vendor" / name).read_bytes()).hexdigest() == digest
    assert "MIT" in (PAGE / "vendor" / "konva.LICENSE").read_text()
    assert listed["konva.min.js"] == "acc5719ed72c2cab2858e200a61051e6930c635a29825c2ebe1852bad103d2cc"  # npm, 10.9.1


def test_nothing_on_the_page_needs_a_weaker_policy() -> None:
    """No inline script or style, no eval, no markup from text."""
    for file in PAGE.glob("*.html"):
        text = file.read_text()
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text), file.name
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text)), file.name
    for file in (PAGE / "js").rglob("*.js"):
        banned = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(.style"
        assert not re.search(banned, file.read_text()), file.name


def test_every_module_that_is_imported_is_there() -> None:
    for file in (PAGE / "js").rglob("*.js"):
        for name in re.findall(r'^import .*?from "(\..*?)";', file.read_text(), re.M):
            assert (file.parent / name).is_file(), (file.name, name)
