"""All localization metrics of a map against the six of Quantus: milliseconds a picture, on 64 films of 224 px.

    python benchmarks/localization.py

Ours: pointing game (hit, 15 px, 10 mm), IoU and Dice (matched area, Otsu in two slices, best threshold), AUPRC, AUROC,
relevance rank, relevance mass: 16 scores. Quantus: pointing game, attribution localization, relevance mass, relevance
rank, top-k intersection and AUC, as its documentation calls them: 6 scores. Both take turns in one process of two
threads, five times, each time on other maps. Last output:

    coarse maps, ms a picture: ours, 16 scores, 1.6 (1.5 to 1.8); Quantus, 6, 129.2 (126.2 to 132.4)
        Quantus / ours: 79.9 (71.6 to 90.2)
    fine maps, ms a picture: ours, 16 scores, 1.7 (1.5 to 1.7); Quantus, 6, 192.2 (186.4 to 193.4)
        Quantus / ours: 114.1 (110.3 to 130.5)
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

FILMS, SIZE, REPEATS = 64, 224, 5


class Blank(nn.Module):
    """Quantus asks for a model, which these metrics never call."""

    def forward(self, x: Tensor) -> Tensor:
        """Two logits."""
        return x.flatten(1)[:, :2]


def ours(region: Tensor) -> tuple[Callable[[Tensor], None], int]:
    """All metrics of the family on one case, and how many scores that makes."""
    from xai_bench_metrics.dice import Dice
    from xai_bench_metrics.iou import IoU
    from xai_bench_metrics.pixel_ranking import PixelRanking
    from xai_bench_metrics.pointing_game import PointingGame
    from xai_bench_metrics.relevance_mass import RelevanceMass

    from xai_bench.protocols import Batch, Case

    metrics = (PointingGame(), IoU(), Dice(), PixelRanking(), RelevanceMass())
    ids, content = tuple(map(str, range(FILMS))), torch.ones(FILMS, SIZE, SIZE, dtype=torch.bool)
    targets = torch.zeros(FILMS, dtype=torch.long)
    batch = Batch(torch.zeros(FILMS, 1, SIZE, SIZE), targets, ids, content, None, torch.full((FILMS, 2), 0.8))

    def run(maps: Tensor) -> None:
        case = Case(None, batch, None, maps, region, ("drawn",) * FILMS)  # type: ignore[arg-type]  # maps and regions only
        for metric in metrics:
            metric(case)

    return run, sum(len(metric.scores) for metric in metrics)


def quantus(region: Tensor) -> tuple[Callable[[Tensor], None], int]:
    """The six localization metrics of Quantus with their defaults, and how many scores that makes."""
    from quantus.metrics.localisation.attribution_localisation import AttributionLocalisation
    from quantus.metrics.localisation.auc import AUC
    from quantus.metrics.localisation.pointing_game import PointingGame
    from quantus.metrics.localisation.relevance_mass_accuracy import RelevanceMassAccuracy
    from quantus.metrics.localisation.relevance_rank_accuracy import RelevanceRankAccuracy
    from quantus.metrics.localisation.top_k_intersection import TopKIntersection

    kinds = (PointingGame, AttributionLocalisation, RelevanceMassAccuracy, RelevanceRankAccuracy, TopKIntersection, AUC)
    metrics = [kind(disable_warnings=True) for kind in kinds]
    x, y = torch.zeros(FILMS, 1, SIZE, SIZE).numpy(), torch.zeros(FILMS, dtype=torch.long).numpy()
    masks, model = region[:, None].numpy(), Blank().eval()

    def run(maps: Tensor) -> None:
        for metric in metrics:
            metric(model=model, x_batch=x, y_batch=y, a_batch=maps[:, None].numpy(), s_batch=masks, device="cpu")

    return run, len(metrics)


def regions(generator: torch.Generator) -> Tensor:
    """A box of about a tenth of each film."""
    found = torch.zeros(FILMS, SIZE, SIZE, dtype=torch.bool)
    for film in found:
        row, column = torch.randint(0, SIZE - 100, (2,), generator=generator).tolist()
        film[row : row + 100, column : column + 50] = True
    return found


def coarse(generator: torch.Generator) -> Tensor:
    """Signed maps like Grad-CAM's before its ReLU: a 7 x 7 grid, upsampled."""
    grid = torch.randn(FILMS, 1, 7, 7, generator=generator)
    return nn.functional.interpolate(grid, (SIZE, SIZE), mode="bilinear")[:, 0]


def fine(generator: torch.Generator) -> Tensor:
    """Signed maps like a gradient: every pixel has a value of its own."""
    return torch.randn(FILMS, SIZE, SIZE, generator=generator)


def timed(run: Callable[[Tensor], None], maps: Tensor) -> float:
    """Milliseconds a picture."""
    start = time.perf_counter()
    run(maps)
    return (time.perf_counter() - start) * 1000 / FILMS


def main() -> None:
    """Print both times and their ratio, for two kinds of maps."""
    warnings.simplefilter("ignore")  # Quantus warns in every call
    torch.set_num_threads(2)
    generator = torch.Generator().manual_seed(0)
    region = regions(generator)
    (mine, scores), (peer, others) = ours(region), quantus(region)
    for kind in (coarse, fine):
        mine(kind(generator))
        pairs = [(timed(mine, maps), timed(peer, maps)) for maps in (kind(generator) for _ in range(REPEATS))]
        columns = (*zip(*pairs, strict=True), [b / a for a, b in pairs])
        a, b, ratio = (f"{statistics.median(v):.1f} ({min(v):.1f} to {max(v):.1f})" for v in columns)
        print(f"{kind.__name__} maps, ms a picture: ours, {scores} scores, {a}; Quantus, {others}, {b}")
        print(f"    Quantus / ours: {ratio}")


if __name__ == "__main__":
    main()
