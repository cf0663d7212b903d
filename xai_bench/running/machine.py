"""What of this machine a process computes with: threads and device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

from xai_bench.errors import BadInput


def device() -> torch.device:
    """Where classifiers that a study trains or loads are explained: the process's first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """Within the block torch, BLAS and OpenMP use so many threads; None leaves them as they are.

    Sums over several threads round differently, so that a run has one number of threads wherever it is computed.
    """
    if threads is None:
        yield
        return
    if threads < 1:
        raise BadInput(f"threads is {threads}; expected 1 or more.")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(limits=threads):
            yield
    finally:
        torch.set_num_threads(before)
