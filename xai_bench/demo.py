"""The demo: an honest classifier and one that cheats, both accurate; which explainers tell them apart?

Both learn from drawn spine films. On the cheat's training films the side marker gives the class away; on the honest one's
it does not. First the reliance is proven by exchanging markers, then the explanations are scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xai_bench.benchmark import evaluate
from xai_bench.classifiers.training import Training
from xai_bench.inputs import Input, Resize
from xai_bench.progress import Progress
from xai_bench.run import Run
from xai_bench.spec import build
from xai_bench.statistics import Difference, holm, interval, paired_difference
from xai_bench.store import Store
from xai_bench.study import Study, Trained

HONEST, CHEAT = "honest", "cheat"


@dataclass(frozen=True)
class Demo:
    """The demo's budgets. The defaults end in under four minutes on two cores."""

    height: int = 128
    width: int = 100
    honest_films: int = 900
    cheat_films: int = 600
    test_films: int = 120
    seeds: tuple[int, ...] = (0, 1)
    honest: Training = field(default_factory=lambda: Training(epochs=12, learning_rate=3e-3))
    cheat: Training = field(default_factory=lambda: Training(epochs=6, learning_rate=3e-3))
    sampled_films: int = 16
    samples: int = 200

    def films(self, marker: str, train: int) -> Any:
        """Films from the front on which markers are `random`, `leaking` or `wrong`; the films themselves are the same."""
        counts = {"train": train, "validation": 60, "test": self.test_films}
        fields = {"view": "ap", "height": self.height, "width": self.width, "films": counts, "marker": {"mode": marker, "leak": 1.0}}
        return build("dataset", {"name": "phantom", **fields})

    def study(self, marker: str = "leaking") -> Study:
        """The study on test films whose markers are `leaking`, `wrong` or `random`."""
        network = build("classifier", "small_cnn")
        classifiers = (
            Trained(HONEST, network, self.honest, self.seeds, self.films("random", self.honest_films)),
            Trained(CHEAT, network, self.cheat, self.seeds, self.films("leaking", self.cheat_films)),
        )
        few = {"pictures": self.sampled_films}
        explainers = ("grad_cam", {"name": "occlusion", **few}, {"name": "lime", "samples": self.samples, **few},
                      {"name": "shap_partition", "evaluations": self.samples, **few},
                      "random_map", "center_gaussian", "edge_map", "mean_region")  # fmt: skip
        return Study(
            name="demo", dataset=self.films(marker, self.honest_films), classifiers=classifiers, explainers=explainers,
            metrics=("relevance_mass", "pointing_game", "iou", {"name": "deletion", **few}, {"name": "insertion", **few}),
            summaries=("retrain_stability",), regions=("scoliosis.R2", "column", "marker"),
            reader=Input(Resize(self.height, self.width)), batch_size=16,
        )  # fmt: skip


def run_demo(store: Path, progress: Progress, budget: Demo | None = None) -> Run:
    """Train, prove the reliance, explain, score; `Run.story` tells it in a few lines."""
    chosen = budget or Demo()
    shelf = Store.at(store)
    seen = {}
    for marker in ("random", "wrong", "leaking"):
        plain = replace(chosen.study(marker), explainers=(), metrics=(), summaries=())
        seen[marker] = evaluate(plain, store=shelf, progress=progress).predictions
    run = evaluate(chosen.study(), store=shelf, progress=progress)
    return replace(run, story=(*reliance(seen), *revelation(run)))


def reliance(seen: Mapping[str, pd.DataFrame]) -> list[str]:
    """Accuracy by kind of marker, and how often a prediction changes when only the marker is exchanged."""
    lines = ["Reliance, proven on the same films with only the side marker exchanged:"]
    for name in (HONEST, CHEAT):
        right = {m: _rate(frame[frame.classifier == name].assign(hit=lambda f: f.label == f.prediction), "hit") for m, frame in seen.items()}
        both = seen["leaking"].merge(seen["wrong"], on=["classifier", "replicate", "picture", "patient"], suffixes=("", "_wrong"))
        mine = both[both.classifier == name]
        flips = _rate(mine.assign(flip=mine.prediction != mine.prediction_wrong), "flip")
        lines.append(
            f"  {name}: accuracy {right['random']} with markers that tell nothing, {right['leaking']} with markers that tell the "
            f"class, {right['wrong']} with the other class's; exchanging the marker changes {flips} of the predictions."
        )
    return lines


def _rate(frame: pd.DataFrame, column: str) -> str:
    """Mean over twins and films with an interval over patients."""
    films = frame.groupby(["picture", "patient"], as_index=False)[column].mean()
    found = interval(films[column].to_numpy(float), films.patient.to_numpy(), binary=True)
    return f"{films[column].mean():.2f} [{found.low:.2f}, {found.high:.2f}]"


@dataclass(frozen=True)
class Gap:
    """For one explainer and seed pair: how much more relevance the honest twin has on the column than the cheat."""

    explainer: str
    replicate: int
    difference: Difference
    p_holm: float


def gaps(run: Run, metric: str = "relevance_mass", score: str = "relevance_mass", region: str = "column") -> list[Gap]:
    """Paired differences honest - cheat on the same films, by explainer and seed pair, Holm over the family."""
    rows = run.rows[(run.rows.metric == metric) & (run.rows.score_name == score) & (run.rows.region == region) & (run.rows.status == "ok")]
    found: list[tuple[str, int, Difference]] = []
    for (explainer, replicate), part in rows[rows.family != "control"].groupby(["explainer", "replicate"], sort=False):
        wide = part.pivot_table(index=["picture", "patient"], columns="classifier", values="score").dropna()
        if {HONEST, CHEAT} <= set(wide.columns) and len(wide) > 1:
            patients = wide.index.get_level_values("patient").to_numpy()
            found.append((str(explainer), int(replicate), paired_difference(wide[HONEST].to_numpy(), wide[CHEAT].to_numpy(), patients)))
    adjusted = holm(np.array([d.p for *_, d in found])) if found else np.array([])
    return [Gap(e, r, d, float(p)) for (e, r, d), p in zip(found, adjusted, strict=True)]


def revelation(run: Run) -> list[str]:
    """Which explainers show that the cheat looks elsewhere, for every seed pair or not; and what its maps point at."""
    lines = ["Do the explanations show it? Relevance on the spine, honest minus cheat, same films, interval over patients:"]
    family = gaps(run)
    for explainer in dict.fromkeys(g.explainer for g in family):
        mine = [g for g in family if g.explainer == explainer]
        shown = ", ".join(f"{g.difference.mean:+.2f} [{g.difference.low:+.2f}, {g.difference.high:+.2f}] p {_p(g.p_holm)}" for g in mine)
        told = all(g.difference.low > 0 for g in mine)
        verdict = "reveals it" if told else "does not reveal it for every pair of twins"
        lines.append(f"  {explainer}: {shown} ({mine[0].difference.n} films); {verdict}. Peak on the marker: {_peaks(run, explainer)}.")
    return [*lines, *_controls(run)]


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _peaks(run: Run, explainer: str) -> str:
    rows = run.rows[(run.rows.explainer == explainer) & (run.rows.score_name == "hit_rate") & (run.rows.region == "marker") & (run.rows.status == "ok")]
    means = rows.groupby("classifier").score.mean()
    return ", ".join(f"{name} {means[name]:.2f}" for name in (HONEST, CHEAT) if name in means)


def _controls(run: Run) -> Sequence[str]:
    rows = run.rows[(run.rows.classifier == HONEST) & (run.rows.score_name == "relevance_mass") & (run.rows.region == "column") & (run.rows.status == "ok")]
    means = rows.groupby(["family", "explainer"]).score.mean()
    if "control" not in means.index.get_level_values(0) or len(means) < 2:
        return ()
    control = means.loc["control"].idxmax()
    best = means.drop("control", level=0)
    beaten = [e for (_, e), v in best.items() if v > means.loc["control"].max()]
    what = f"beaten by {', '.join(beaten)}" if beaten else "beaten by none of the explainers"
    return (f"A map that never saw the model reaches {means.loc['control'].max():.2f} on the spine ({control}); it is {what} on the honest twin.",)
