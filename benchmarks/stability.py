"""How long it takes to compare the maps of retrained twins, and how often the intervals over twins hold the truth.

    python benchmarks/stability.py
    python benchmarks/stability.py --coverage

8 twins x 64 films, 28 pairs of twins: SSIM, Spearman and top-k IoU (and Spearman of absolute values) of all
1,792 pairs of maps, on two threads. The plain way takes one pair at a time: `structural_similarity` of scikit-image,
`spearmanr` of SciPy, and sets of the largest pixels; it is timed on a sample of the pairs, in turn with ours in the
same process, and scaled to all. Median and range of five turns. Last output, on two cores, otherwise idle:

| grid | ours, s | ours with absolute, s | one by one, s (scaled) | ratio |
|---|---:|---:|---:|---:|
| 56 x 56 | 0.14 (0.13 to 0.18) | 0.18 (0.17 to 0.19) | 2.32 (2.22 to 2.33) | 16.30 (12.32 to 17.40) |
| 224 x 224 | 3.13 (3.05 to 3.51) | 4.01 (3.90 to 4.10) | 25.32 (23.89 to 25.71) | 7.96 (7.33 to 8.29) |

Coverage of 95 % intervals from 5 twins on, 1000 simulated studies each; should be 0.93-0.97:

| twins | patients | sums, spread of twins 0 | 0.3 | 1 | correlations, habit 0.1 | 0.5 | 1 |
|---:|---:|---:|---:|---:|---:|---:|---:|
| 5 | 15 | 0.952 | 0.949 | 0.943 | 0.947 | 0.949 | 0.953 |
| 5 | 50 | 0.968 | 0.947 | 0.946 | 0.943 | 0.938 | 0.962 |
| 10 | 15 | 0.957 | 0.958 | 0.948 | 0.935 | 0.938 | 0.936 |
| 10 | 50 | 0.952 | 0.956 | 0.948 | 0.955 | 0.955 | 0.957 |
| 5 and 5 | 15 | 0.967 | 0.953 | 0.946 | 0.936 | 0.933 | 0.934 |
| 5 and 5 | 50 | 0.951 | 0.958 | 0.952 | 0.954 | 0.955 | 0.965 |
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import combinations, product

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from torch import Tensor
from xai_bench_metrics._pair_interval import pair_interval

from xai_bench.similarity import all_pairs

TWINS, FILMS, SAMPLE, REPEATS = 8, 64, 24, 5
PAIRS = list(combinations(range(TWINS), 2))
SHARE = 0.1
TESTED = ("ssim", "spearman", "top_k_iou")
Array = NDArray[np.float64]
Rng = np.random.Generator


def smooth(size: int, seed: int) -> Tensor:
    """Signed maps, the twins' alike: every pixel has a value of its own."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(FILMS, size, size, generator=generator)
    return shared + torch.randn(TWINS, FILMS, size, size, generator=generator)


def plain(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[float, float, float]:
    """SSIM, Spearman and top-k IoU of one pair, by the packages."""
    x, y = (m / np.abs(m).max() for m in (a, b))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 2.0}
    k = round(SHARE * x.size)
    first, second = (set(np.argpartition(-m.ravel(), k)[:k].tolist()) for m in (x, y))
    ranks = spearmanr(x.ravel(), y.ravel()).statistic
    return structural_similarity(x, y, **options), ranks, len(first & second) / len(first | second)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def speed(size: int) -> str:
    """A line of the table: seconds for all pairs, ours and the plain way."""
    maps, content = smooth(size, 0), torch.ones(FILMS, size, size, dtype=torch.bool)
    rng = np.random.default_rng(0)
    sample = [(PAIRS[p], film) for p, film in rng.integers(0, (len(PAIRS), FILMS), (SAMPLE, 2)).tolist()]
    found = all_pairs(maps, content, span=2.0, share=SHARE, scores=TESTED)
    for (a, b), film in sample:
        expected = plain(maps[a, film].numpy(), maps[b, film].numpy())
        assert np.allclose(found[:, PAIRS.index((a, b)), film], expected, atol=1e-5), "both must say the same"

    def one_by_one() -> None:
        for (a, b), film in sample:
            plain(maps[a, film].numpy(), maps[b, film].numpy())

    times = [
        (
            seconds(lambda: all_pairs(maps, content, span=2.0, share=SHARE, scores=TESTED)),
            seconds(lambda: all_pairs(maps, content, span=2.0, share=SHARE)),
            seconds(one_by_one) * len(PAIRS) * FILMS / SAMPLE,
        )
        for _ in range(REPEATS)
    ]
    ours, four, theirs = (list(column) for column in zip(*times, strict=True))
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return f"| {size} x {size} | {spread(ours)} | {spread(four)} | {spread(theirs)} | {spread(ratios)} |"


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def linear(rng: Rng, sizes: tuple[int, int, int], spreads: tuple[float, float]) -> Array:
    """Sums of effects of both twins, patient, twins at a patient, pair at a patient; truth 0. `sizes`: twins, twins of
    the other classifier (0: pairs of one), patients; `spreads`: of twins, and of twins at a patient.
    """
    (t, other, p), (twin, both) = sizes, spreads
    one = twin * rng.normal(size=(t, 1)) + both * rng.normal(size=(t, p))
    two = twin * rng.normal(size=(other, 1)) + both * rng.normal(size=(other, p)) if other else one
    first, second = ends(t, other)
    values: Array = one[first] + two[second] + rng.normal(size=p) + 0.5 * rng.normal(size=(len(first), p))
    return values


def correlations(rng: Rng, sizes: tuple[int, int, int], spreads: tuple[float, float]) -> Array:
    """Correlations of maps of 100 cells: what the film shows, each twin's habit on all films, and noise."""
    (t, other, p), (habit, noise) = sizes, spreads
    film = rng.normal(size=(p, 100)) * rng.gamma(4, 0.25, (p, 1))
    maps = [film + habit * rng.normal(size=(n, 1, 100)) + noise * rng.normal(size=(n, p, 100)) for n in (t, other) if n]
    maps = [m / np.linalg.norm(m, axis=2, keepdims=True) for m in maps]
    first, second = ends(t, other)
    values: Array = (maps[0][first] * maps[-1][second]).sum(2)
    return values


def ends(t: int, other: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The twins of each pair."""
    pairs = list(product(range(t), range(other))) if other else list(combinations(range(t), 2))
    first, second = np.array(pairs).T
    return first, second


def covered(
    make: Callable[[Rng, tuple[int, int, int], tuple[float, float]], Array],
    sizes: tuple[int, int, int],
    spreads: tuple[float, float],
    repeats: int = 1000,
) -> float:
    """Share of simulated studies whose interval holds the truth (the mean of many studies)."""
    rng = np.random.default_rng(0)
    truth = np.mean([make(rng, sizes, spreads).mean() for _ in range(4000)]) if make is correlations else 0.0
    first, second = ends(*sizes[:2])
    people, hits = np.tile(np.arange(sizes[2]), len(first)), 0
    pairs = (np.repeat(first, sizes[2]), np.repeat(second, sizes[2]))
    for _ in range(repeats):
        found = pair_interval(make(rng, sizes, spreads).ravel(), people, pairs, crossed=bool(sizes[1]))
        hits += found.low <= truth <= found.high
    return hits / repeats


def coverage() -> Iterator[str]:
    """Markdown: how often 95 % intervals over twins and patients hold the truth; should be 0.93-0.97."""
    yield "| twins | patients | sums, spread of twins 0 | 0.3 | 1 | correlations, habit 0.1 | 0.5 | 1 |"
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|"
    for t, other, p in ((5, 0, 15), (5, 0, 50), (10, 0, 15), (10, 0, 50), (5, 5, 15), (5, 5, 50)):
        sizes = (t, other, p)
        shares = [covered(linear, sizes, (twin, 0.5)) for twin in (0.0, 0.3, 1.0)]
        shares += [covered(correlations, sizes, (habit, 1.0)) for habit in (0.1, 0.5, 1.0)]
        who = f"{t} and {other}" if other else str(t)
        yield f"| {who} | {p} | " + " | ".join(f"{share:.3f}" for share in shares) + " |"


def main() -> None:
    """Print one of the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coverage", action="store_true", help="simulate the intervals instead")
    if parser.parse_args().coverage:
        for line in coverage():
            print(line, flush=True)
        return
    torch.set_num_threads(2)
    print("| grid | ours, s | ours with absolute, s | one by one, s (scaled) | ratio |")
    print("|---|---:|---:|---:|---:|")
    for size in (56, 224):
        print(speed(size), flush=True)


if __name__ == "__main__":
    main()
