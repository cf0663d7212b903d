"""A few damaged files of each kind through the benchmark that tries thousands."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "reliability" / "hostile.py"


def test_damaged_files_are_opened_or_refused_in_a_sentence() -> None:
    counts = {"pictures": 60, "masks": 20, "studies": 20}
    asked = [word for name, count in counts.items() for word in (f"--{name}", str(count))]
    done = subprocess.run([sys.executable, str(SCRIPT), *asked, "--seed", "7"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()[1:] if line.strip()}
    for name, count in counts.items():
        opened, refused, wrong = map(int, lines[name][:3])
        assert opened + refused == count and wrong == 0 and refused
