"""Calls into packages that draw from global random states, warn and print."""

import random
import warnings

import numpy as np
import pytest
import torch

from xai_bench.contained import contained

CPU = torch.device("cpu")


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002  # what packages do


def test_the_seed_decides_what_is_drawn_and_nobody_else_notices() -> None:
    found = []
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002  # the same
    for seed in (5, 5, 6):
        with contained(seed, CPU):
            found.append(draws())
    assert found[0] == found[1]
    assert all(a != b for a, b in zip(found[0], found[2], strict=True))
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002  # the same
    assert torch.equal(torch.get_rng_state(), states[2])


def test_nothing_is_said_and_errors_come_through(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), contained(2**60, CPU):
        print("to the terminal")
        warnings.warn("a warning, which is an error in these tests", stacklevel=1)
        _ = 1 / 0
    assert capsys.readouterr() == ("", "")
    with pytest.warns(UserWarning, match="heard again"):
        warnings.warn("heard again", stacklevel=1)
