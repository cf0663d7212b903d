"""Two processes of one thread against one process of two threads: training a small classifier, pictures a second.

    python benchmarks/threads.py

Both are timed in turns, three times, in one run. Last output:

    two processes, one thread each: 1056 pictures/s (885 to 1123)
    one process, two threads: 844 pictures/s (813 to 1034); ratio 1.25
"""

from __future__ import annotations

import multiprocessing
import statistics
import time

STEPS, BATCH = 40, 32


def train(threads: int) -> float:
    """Pictures a second of a small CNN's training steps at 128 x 100 pixels."""
    import torch

    from xai_bench.classifiers.small_cnn import SmallCNN
    from xai_bench.inputs import Input, Resize
    from xai_bench.samples import Head

    torch.set_num_threads(threads)
    model = SmallCNN().build((Head("h", ("a", "b")),), Input(Resize(128, 100)), 0).train()
    images, labels = torch.rand(BATCH, 1, 128, 100), torch.zeros(BATCH, dtype=torch.long)
    optimizer = torch.optim.AdamW(model.parameters())

    def step() -> None:
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()
    start = time.perf_counter()
    for _ in range(STEPS):
        step()
    return STEPS * BATCH / (time.perf_counter() - start)


def main() -> None:
    """Print both rates and their ratio."""
    context = multiprocessing.get_context("spawn")
    together: list[float] = []
    alone: list[float] = []
    for _ in range(3):
        with context.Pool(2) as pool:
            together.append(sum(pool.map(train, [1, 1], chunksize=1)))
        with context.Pool(1) as pool:
            alone.append(pool.apply(train, (2,)))
    a, b = statistics.median(together), statistics.median(alone)
    print(f"two processes, one thread each: {a:.0f} pictures/s ({min(together):.0f} to {max(together):.0f})")
    print(f"one process, two threads: {b:.0f} pictures/s ({min(alone):.0f} to {max(alone):.0f}); ratio {a / b:.2f}")


if __name__ == "__main__":
    main()
