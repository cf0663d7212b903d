"""The demo: an honest classifier and one that cheats, both accurate; which explainers tell them apart?

Both learn from drawn spine films. On the cheat's training films the side marker gives the class away; on the honest
one's it does not. First the reliance is proven by exchanging markers, then the explanations are scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xai_bench.classifiers.training import Training
from xai_bench.inputs import Input, Resize
from xai_bench.phantom.readers import Reader
from xai_bench.progress import Progress
from xai_bench.protocols import Traits
from xai_bench.reporting.table import MINUS, Cell, Column, Rows, Table, number, readable, signed, with_interval
from xai_bench.running.benchmark import evaluate
from xai_bench.running.run import Run
from xai_bench.spec import build
from xai_bench.statistics import Difference, holm, interval, paired_difference
from xai_bench.store.store import Store
from xai_bench.study import Study, Trained

HONEST, CHEAT = "honest", "cheat"
READERS = tuple(Reader(name, sensitivity=0.92, specificity=0.998, jitter=1.5) for name in ("first", "second", "third"))


@dataclass(frozen=True)
class Demo:
    """The demo's budgets. The defaults end in about four to five minutes on two cores."""

    height: int = 128
    width: int = 100
    honest_films: int = 1200
    cheat_films: int = 600
    test_films: int = 120
    seeds: tuple[int, ...] = (0, 1)
    honest: Training = field(default_factory=lambda: Training(epochs=14, learning_rate=3e-3))
    cheat: Training = field(default_factory=lambda: Training(epochs=6, learning_rate=3e-3))
    sampled_films: int = 16
    samples: int = 200

    def films(self, marker: str, train: int, readers: Sequence[Reader] = ()) -> Any:
        """Films from the front on which markers are `random`, `leaking` or `wrong`; else they are the same films."""
        counts = {"train": train, "validation": 60, "test": self.test_films}
        fields = {
            "view": "ap",
            "height": self.height,
            "width": self.width,
            "films": counts,
            "marker": {"mode": marker, "leak": 1.0, "size": 0.1},
            "readers": list(readers),
        }
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
        removal = ({"name": "deletion", **few}, {"name": "insertion", **few})
        return Study(
            name="demo", dataset=self.films(marker, self.honest_films, READERS),
            classifiers=classifiers, explainers=explainers,
            metrics=("relevance_mass", "pointing_game", "iou", "pixel_ranking", "complexity", *removal),
            summaries=("retrain_stability", "human_ceiling"),
            regions=("scoliosis.R2", "column", "marker"), reader=Input(Resize(self.height, self.width)), batch_size=16,
        )  # fmt: skip


def run_demo(store: Path, progress: Progress, budget: Demo | None = None) -> Run:
    """Train, explain, score, prove the reliance; `Run.story` tells it in two tables."""
    chosen = budget or Demo()
    shelf = Store.at(store)
    run = evaluate(chosen.study(), store=shelf, progress=progress)
    seen = {"leaking": run.predictions}
    for marker in ("random", "wrong"):
        plain = replace(chosen.study(marker), explainers=(), metrics=(), summaries=())
        seen[marker] = evaluate(plain, store=shelf, progress=progress, workers=1).predictions
    return replace(run, story=(OPENING, reliance(seen), revelation(run), *controls(run), stability(run)))


OPENING = (
    "Two classifiers tell scoliosis from a straight spine on drawn films. On the films that the cheat learned from, "
    "the side marker gave the class away; on the honest one's it did not. On films like their own both are accurate. "
    "Which one can be trusted, and which explanation says so?"
)


def reliance(seen: Mapping[str, pd.DataFrame]) -> Table:
    """Accuracy by kind of marker, and how often a prediction changes when only the marker is exchanged."""
    columns = (
        Column("classifier", left=True), Column("accuracy", "marker tells nothing"),
        Column("accuracy", "marker tells the class"), Column("accuracy", "other class's marker"),
        Column("predictions changed", "by exchanging the marker"),
    )  # fmt: skip
    rows, films = [], 0
    for name in (HONEST, CHEAT):
        cells = []
        for marker in ("random", "leaking", "wrong"):
            mine = seen[marker][seen[marker].classifier == name]
            cells.append(_rate(mine.assign(hit=mine.label == mine.prediction), "hit"))
        both = seen["leaking"].merge(
            seen["wrong"], on=["classifier", "replicate", "picture", "patient"], suffixes=("", "_wrong")
        )
        mine = both[both.classifier == name]
        films = mine.picture.nunique()
        rows.append((Cell(name), *cells, _rate(mine.assign(flip=mine.prediction != mine.prediction_wrong), "flip")))
    caption = (
        f"The proof: the same {films} test films, only the side marker exchanged after drawing. Share of films with "
        "its 95 % interval over patients, mean of the twins."
    )
    return Table("reliance", "1. What the classifiers rely on", caption, columns, (Rows("", tuple(rows)),))


def _rate(frame: pd.DataFrame, column: str) -> Cell:
    """Mean over twins and films with an interval over patients."""
    films = frame.groupby(["picture", "patient"], as_index=False)[column].mean()
    found = interval(films[column].to_numpy(float), films.patient.to_numpy(), binary=True)
    value = float(films[column].mean())
    return Cell(with_interval(value, found), numbers={"value": value, "low": found.low, "high": found.high})


@dataclass(frozen=True)
class Gap:
    """For one explainer and seed pair: how much more relevance the honest twin has on the spine than the cheat."""

    explainer: str
    replicate: int
    difference: Difference
    p_holm: float

    @property
    def reveals(self) -> bool:
        """The interval excludes 0 and the test, corrected for the whole family, agrees."""
        return self.difference.low > 0 and self.p_holm < 0.05


def gaps(run: Run) -> list[Gap]:
    """Paired differences honest - cheat on the same films, by explainer and seed pair, Holm over the family."""
    rows = _mass(run, "column")
    found: list[tuple[str, int, Difference]] = []
    for (explainer, _), part in rows[rows.family != "control"].groupby(["explainer", "replicate"], sort=False):
        wide = part.pivot_table(index=["picture", "patient"], columns="classifier", values="score").dropna()
        if {HONEST, CHEAT} <= set(wide.columns) and len(wide) > 1:
            patients = wide.index.get_level_values("patient").to_numpy()
            difference = paired_difference(wide[HONEST].to_numpy(), wide[CHEAT].to_numpy(), patients)
            found.append((str(explainer), int(part.replicate.iloc[0]), difference))
    adjusted = holm(np.array([d.p for *_, d in found])) if found else np.array([])
    return [Gap(e, r, d, float(p)) for (e, r, d), p in zip(found, adjusted, strict=True)]


def _mass(run: Run, region: str) -> pd.DataFrame:
    rows = run.rows
    exact = (rows.region == region) & (rows.reference == "derived")
    return rows[(rows.score_name == "relevance_mass") & exact & (rows.status == "ok")]


def revelation(run: Run) -> Table:
    """Which explainers show that the cheat looks elsewhere, for every pair of twins; and what its maps point at."""
    family = gaps(run)
    pairs = sorted({g.replicate for g in family})
    columns = (
        Column("explainer", left=True), Column("spine", "honest"), Column("spine", "cheat"), Column("marker", "cheat"),
        *(Column(f"spine, honest {MINUS} cheat", f"seed {r}") for r in pairs), Column("films"), Column("reveals it?"),
    )  # fmt: skip
    rows = []
    for explainer in dict.fromkeys(g.explainer for g in family):
        mine = {g.replicate: g for g in family if g.explainer == explainer}
        told = sum(g.reveals for g in mine.values())
        verdict = Cell("yes", mark="good") if told == len(pairs) else Cell(f"{told} of {len(pairs)} pairs", mark="bad")
        shares = [
            _share(run, explainer, HONEST, "column"),
            _share(run, explainer, CHEAT, "column"),
            _share(run, explainer, CHEAT, "marker"),
        ]
        n = max(g.difference.n for g in mine.values())
        rows.append((Cell(readable(explainer)), *shares, *(_gap(mine.get(r)) for r in pairs), Cell(str(n)), verdict))
    caption = (
        "Share of a map's positive relevance on the spine and on the marker, on films with scoliosis and a marker that "
        "tells the class. Differences are paired on the same films, with 95 % intervals and sign-flip p clustered by "
        "patient, Holm over this table; an explainer reveals the cheat where every pair of twins differs (interval "
        "above 0 and p < 0.05)."
    )
    return Table("revelation", "2. Do the explanations show it?", caption, columns, (Rows("", tuple(rows)),))


def stability(run: Run) -> Table:
    """Do the maps of retrained twins agree more than those of an honest classifier and a cheat?"""
    found = run.summaries[run.summaries.summary == "retrain_stability"]
    groups = {"honest twins": (HONEST, None), "cheat twins": (CHEAT, None), "honest and cheat": (HONEST, CHEAT)}
    names = [c.label for c in run.study.explainers if Traits.of(c.plugin).family != "control"]
    rows = tuple((Cell(readable(n)), *(_alike(found, n, who) for who in groups.values())) for n in names)
    columns = (Column("explainer", left=True), *(Column(name) for name in groups))
    caption = (
        "Rank correlation (Spearman) of the two maps of one film, where both classifiers predict the same class, with "
        "its 95 % interval over patients; below it, what maps of different patients of one class reach (null, 2.5 to "
        "97.5 percentile of single pairs)."
    )
    return Table("twins", "3. Does a retrained twin get the same map?", caption, columns, (Rows("", rows),))


def _alike(found: pd.DataFrame, explainer: str, who: tuple[str, str | None]) -> Cell:
    other = found.other_classifier.isna() if who[1] is None else found.other_classifier == who[1]
    mine = found[(found.explainer == explainer) & (found.classifier == who[0]) & other]
    scores = {row["score_name"]: row for row in mine.to_dict("records")}
    if "spearman" not in scores or not np.isfinite(scores["spearman"]["value"]):
        return Cell(number(None))
    said = {s: f"{number(r['value'])} [{number(r['low'])}, {number(r['high'])}]" for s, r in scores.items()}
    numbers = {"value": scores["spearman"]["value"], "null": scores["spearman_null"]["value"]}
    return Cell(said["spearman"], f"null {said['spearman_null']}", numbers)


def _share(run: Run, explainer: str, classifier: str, region: str) -> Cell:
    rows = _mass(run, region)
    value = float(rows[(rows.explainer == explainer) & (rows.classifier == classifier)].score.mean())
    return Cell(number(value), numbers={"value": value})


def _gap(gap: Gap | None) -> Cell:
    if gap is None:
        return Cell(number(None))
    d = gap.difference
    p = "p < 0.001" if gap.p_holm < 0.001 else f"p = {gap.p_holm:.3f}"
    return Cell(
        f"{signed(d.mean)} [{number(d.low)}, {number(d.high)}]",
        p,
        {"difference": d.mean, "low": d.low, "high": d.high, "p": gap.p_holm},
    )


def controls(run: Run) -> Sequence[str]:
    """What maps that never saw the model reach on the honest twin: the bar that an explanation has to pass."""
    rows = _mass(run, "column")
    rows = rows[rows.classifier == HONEST]
    # Only films that every method explained: methods with a small budget must not be compared on other films.
    count = rows.explainer.nunique()
    shared = rows.groupby("picture").explainer.nunique()
    means = rows[rows.picture.isin(shared.index[shared == count])].groupby(["family", "explainer"]).score.mean()
    if "control" not in means.index.get_level_values(0) or len(means) < 2:
        return ()
    best, bar = means.loc["control"].idxmax(), float(means.loc["control"].max())
    rest = means.drop("control", level=0)
    others = dict(zip(rest.index.get_level_values("explainer"), rest, strict=True))
    above = [readable(e) for e, v in others.items() if v > bar]
    below = [readable(e) for e, v in others.items() if v <= bar]
    said = " and ".join(
        f"{', '.join(names)} {verb}" for names, verb in ((above, "lie above it"), (below, "do not reach it")) if names
    )
    return (
        f"Not to be hidden: a map that never saw the model ({readable(best)}) has {bar:.2f} of its relevance on the "
        f"spine of the films that all methods explained; on the honest twin {said}. A high alignment alone proves "
        "nothing; a paired difference does.",
    )
