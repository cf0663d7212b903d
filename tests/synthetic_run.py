"""A made-up run with known numbers, for the tests of tables, figures and the page, and for looking at them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from xai_bench.protocols import ScoreInfo
from xai_bench.registry import METRICS
from xai_bench.running.run import GalleryItem
from xai_bench.samples import Head
from xai_bench.study import Chosen

HEAD = Head("view_finding", ("normal", "scoliosis", "spondylolisthesis"))
EXPLAINERS = {
    "grad_cam": ("cam", 0.70, 0.20),
    "lime": ("perturbation", 0.55, 0.15),
    "shap_partition": ("perturbation", 0.60, 0.18),
    "attention_rollout": ("attention", 0.50, 0.50),
    "random_map": ("control", 0.12, 0.12),
    "center_gaussian": ("control", 0.40, 0.40),
    "edge_map": ("control", 0.22, 0.22),
}
SCORES = {
    ("pointing_game", "hit_rate"): ScoreInfo("higher", headline=True, binary=True),
    ("pointing_game", "pointing_15px"): ScoreInfo("higher", binary=True),
    ("iou", "iou_matched"): ScoreInfo("higher", headline=True),
    ("relevance_mass", "relevance_mass"): ScoreInfo("higher", headline=True),
    ("deletion", "deletion"): ScoreInfo("lower", headline=True),
    ("insertion", "insertion"): ScoreInfo("higher", headline=True),
}
SKIPPED = {
    "metric": "iou",
    "score_name": "",
    "region": "",
    "reference": "",
    "target_rule": "label",
    "target": "",
    "picture": "",
    "patient": "",
    "status": "skipped",
    "reason": "attention rollout needs attention layers, and SmallCNN has none",
    "score": np.nan,
}
ALIGNMENT = ("pointing_game", "iou", "relevance_mass")


def study(metrics: Mapping[str, Any]) -> SimpleNamespace:
    """What reporting reads of a study."""
    chosen = tuple(Chosen(plugin, label) for label, plugin in metrics.items())
    return SimpleNamespace(
        name="two twins", explainers=(), metrics=chosen, summaries=(), target=None, spec=lambda: {"name": "two twins"}
    )


@dataclass(frozen=True)
class SyntheticRun:
    """What reporting reads of a run."""

    rows: pd.DataFrame
    predictions: pd.DataFrame
    summaries: pd.DataFrame
    curves: pd.DataFrame
    costs: pd.DataFrame
    items: list[GalleryItem] = field(repr=False)
    heads: tuple[Head, ...] = (HEAD,)
    score_info: dict[tuple[str, str], ScoreInfo] = field(default_factory=lambda: SCORES)
    key: str = "3f9a1c0de417"
    modes: pd.DataFrame = field(default_factory=pd.DataFrame)
    unsummarized: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["summary", "status", "reason"]))
    models: tuple[Any, ...] = ()
    maps: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    study: SimpleNamespace = field(default_factory=lambda: study({m: METRICS[m].factory() for m, _ in SCORES}))
    story: tuple[str, ...] = ()

    @property
    def pictures(self) -> pd.DataFrame:
        return self.predictions[["picture", "patient", "view"]].drop_duplicates()

    def gallery(self, n: int = 4) -> list[GalleryItem]:
        return self.items[:n]


def synthetic_run(*, twins: int = 2, patients: int = 24, seed: int = 0, story: tuple[str, ...] = ()) -> SyntheticRun:
    """An honest classifier, and one that cheats and so scores lower on alignment; three films in two patients."""
    rng = np.random.default_rng(seed)
    films = [(f"film-{i:03d}", f"patient-{2 * i // 3:02d}") for i in range(3 * patients // 2)]
    parts = {name: [] for name in ("rows", "predictions", "curves", "costs")}
    for classifier in ("honest", "cheating"):
        for replicate in range(twins):
            who = {
                "dataset": "phantom",
                "split": "test",
                "classifier": classifier,
                "regime": "random_init",
                "replicate": replicate,
                "train_seed": replicate,
                "fold": None,
                "head": HEAD.name,
            }
            said = _predictions(rng, films, who)
            parts["predictions"] += said
            parts["costs"].append(_cost("train", who, "", "", 400, 9000, 41.5 + replicate))
            for explainer in EXPLAINERS:
                _explained(rng, parts, who, explainer, said)
    frames = {name: pd.DataFrame(found) for name, found in parts.items()}
    return SyntheticRun(**frames, summaries=_summaries(), items=[_item(rng, i, twins) for i in range(4)], story=story)


@dataclass(frozen=True)
class Made:
    """A metric of any family, as far as tables look at it."""

    scores: Mapping[str, ScoreInfo]
    family: str
    needs_region: bool = False


PLACES = (("scoliosis.R1", "derived"), ("column", "consensus:majority"))
HEADLINE, MORE = ScoreInfo("higher", headline=True), ScoreInfo("lower", high=90.0)
MANY = {
    f"{family}{i}": Made({f"{family}{i}": HEADLINE, f"{family}{i}_more": MORE}, family, family == "localization")
    for family, count in {"stability": 4, "faithfulness": 7, "localization": 9, "complexity": 1, "own": 1}.items()
    for i in range(1, count + 1)
}


def wide_run(
    run: SyntheticRun, metrics: Mapping[str, Any] = MANY, places: Sequence[tuple[str, str]] = PLACES
) -> SyntheticRun:
    """The run with fewer methods and other metrics: their rows are those of IoU at each place, or of insertion.

    A place is a region and a reference.
    """
    few = run.rows[run.rows.explainer.isin(["lime", "attention_rollout", "random_map"])]
    free, aligned = (few[few.metric == metric] for metric in ("insertion", "iou"))
    scored, skipped = [], []
    for label, metric in metrics.items():
        rows = aligned if metric.needs_region else free
        skipped.append(few[few.status == "skipped"].assign(metric=label))
        for name, info in metric.scores.items():
            score = rows.score * (1.0 if info.high <= 1 else 40.0)
            for region, reference in places if metric.needs_region else [("", "")]:
                found = rows.assign(metric=label, score_name=name, region=region, reference=reference, score=score)
                scored.append(found[found.status != "skipped"])
    infos = {(label, name): info for label, metric in metrics.items() for name, info in metric.scores.items()}
    return replace(run, rows=pd.concat([*scored, *skipped]), score_info=infos, study=study(metrics))


def _predictions(rng: np.random.Generator, films: list[tuple[str, str]], who: dict) -> list[dict]:
    found = []
    for i, (picture, patient) in enumerate(films):
        label = i % 3
        p = rng.dirichlet(np.ones(3) + 3 * np.eye(3)[label])
        found.append(
            who
            | {
                "architecture": "SmallCNN",
                "weights": f"{who['classifier']}-{who['replicate']}",
                "picture": picture,
                "patient": patient,
                "view": "AP",
                "label": HEAD.classes[label],
                "prediction": HEAD.classes[int(p.argmax())],
                "confidence": float(p.max()),
                "status": "ok",
                "reason": "",
                "probabilities": p.tolist(),
            }
        )
    return found


def _explained(rng: np.random.Generator, parts: dict, who: dict, explainer: str, said: list[dict]) -> None:
    family, honest, cheating = EXPLAINERS[explainer]
    level = honest if who["classifier"] == "honest" else cheating
    base = who | {"explainer": explainer, "family": family, "explainer_seed": 0, "mode": "float32"}
    if explainer == "attention_rollout" and who["classifier"] == "cheating":
        parts["rows"].append(base | SKIPPED)
        return
    evaluations = 1 if family == "cam" else 200 * len(said)
    parts["costs"].append(_cost("maps", who, explainer, "", len(said), evaluations, 3.1))
    for metric, name in SCORES:
        evaluations = 0 if metric in ALIGNMENT else 33 * len(said)
        parts["costs"].append(_cost("scores", who, explainer, metric, len(said), evaluations, 1.2))
        for i, film in enumerate(said):
            about = {k: film[k] for k in ("picture", "patient", "label", "prediction", "confidence")}
            parts["rows"].append(base | about | _scored(rng, (metric, name), explainer, level, i))
            if metric not in ALIGNMENT and i < 12:
                parts["curves"] += _curve(rng, base | {"metric": metric, "picture": film["picture"]}, level)


def _scored(rng: np.random.Generator, score: tuple[str, str], explainer: str, level: float, film: int) -> dict:
    metric, name = score
    value = float(np.clip(rng.normal(level, 0.12), 0, 1))
    if SCORES[score].binary:
        value = float(rng.random() < level)
    elif SCORES[score].better == "lower":
        value = 1 - value
    status, reason = "ok", "constant map" if explainer == "lime" and film % 9 == 1 else ""
    if metric in ALIGNMENT and film % 12 == 0:
        status, reason, value = "excluded", "region not read", np.nan
    if explainer == "lime" and metric == "deletion" and film == 5:
        status, reason, value = "invalid", "map holds NaN or infinite values", np.nan
    aligned = metric in ALIGNMENT
    return {
        "metric": metric,
        "score_name": name,
        "region": "scoliosis.R1" if aligned else "",
        "reference": "derived" if aligned else "",
        "target_rule": "label" if aligned else "predicted",
        "target": "scoliosis",
        "status": status,
        "reason": reason,
        "score": value,
    }


def _curve(rng: np.random.Generator, base: dict, level: float) -> list[dict]:
    x = np.linspace(0, 1, 17)
    fall = np.exp(-5 * level * x)
    y = np.clip((fall if base["metric"] == "deletion" else 1 - fall) + rng.normal(0, 0.06), 0, 1)
    about = {k: base[k] for k in ("classifier", "replicate", "explainer", "metric", "picture")}
    about |= {"curve": base["metric"], "region": "", "reference": ""}
    return [about | {"x": a, "y": b} for a, b in zip(x, y, strict=True)]


def _cost(kind: str, who: dict, explainer: str, metric: str, pictures: int, evaluations: int, seconds: float) -> dict:
    return {
        "kind": kind,
        "classifier": who["classifier"],
        "replicate": who["replicate"],
        "explainer": explainer,
        "metric": metric,
        "pictures": pictures,
        "evaluations": evaluations,
        "seconds": seconds,
    }


PAIRS = {
    ("honest", None, "0-1"): 0.9,
    ("cheating", None, "0-1"): 0.25,  # inside its null band, which ends at 0.28
    ("honest", "cheating", "0-0"): 0.7,
    ("honest", "cheating", "0-1"): 0.4,
    ("honest", "cheating", "1-0"): 0.3,
    ("honest", "cheating", "1-1"): -0.1,
}


def with_pairs(run: SyntheticRun, pairs: Mapping[tuple[str, str | None, str], float] = PAIRS) -> SyntheticRun:
    """The run with rows of single pairs of twins, (classifier, other, replicates), the same for each method."""
    blank = run.summaries[run.summaries.score_name == "ssim"].iloc[0].to_dict() | {"low": None, "high": None}
    rows = [
        blank | {"score_name": "ssim_pair", "explainer": method, "value": value, "note": note}
        | {"classifier": classifier, "other_classifier": other}
        for method in ("grad_cam", "lime", "random_map") for (classifier, other, note), value in pairs.items()
    ]  # fmt: skip
    return replace(run, summaries=pd.concat([run.summaries, pd.DataFrame(rows)], ignore_index=True))


def _summaries() -> pd.DataFrame:
    found = []
    for classifier, other in (("honest", None), ("cheating", None), ("honest", "cheating")):
        for n, explainer in enumerate(e for e, (family, *_) in EXPLAINERS.items() if family != "control"):
            for name, value in (
                ("agreeing_share", 0.93),
                ("ssim", 0.6 - 0.1 * n),
                ("ssim_null", 0.2),
                ("spearman", 0.5 - 0.1 * n),
                ("spearman_null", 0.05),
            ):
                found.append(
                    {
                        "summary": "retrain_stability",
                        "score_name": name,
                        "explainer": explainer,
                        "classifier": classifier,
                        "other_classifier": other,
                        "value": value,
                        "low": value - 0.1,
                        "high": value + 0.08,
                        "n": 33,
                        "exclusions": {"twins disagree": 3},
                        "better": "higher",
                        "note": "",
                        "metric": "",
                        "region": "",
                        "reference": "",
                    }
                )
    return pd.DataFrame(found)


def _item(rng: np.random.Generator, number: int, twins: int) -> GalleryItem:
    h, w = 160, 120
    rows, columns = np.mgrid[:h, :w].astype(float)
    spine = w / 2 + 10 * np.sin(rows / h * np.pi * 2 + number)
    image = (
        0.12
        + 0.5 * np.exp(-(((columns - spine) / 9) ** 2)) * (0.8 + 0.2 * np.sin(rows / 5))
        + 0.2 * np.exp(-(((columns - w / 2) / 40) ** 2))
    )
    image = np.clip(image + rng.normal(0, 0.02, (h, w)), 0, 1).astype(np.float32)
    outline = (np.abs(columns - spine) < 12) & (np.abs(rows - 70 - 8 * number) < 22) if number != 2 else None
    shown = []
    for classifier in ("honest", "cheating"):
        at = (70 + 8 * number, w / 2) if classifier == "honest" else (14, 14)
        bump = np.exp(-((rows - at[0]) ** 2 + (columns - at[1]) ** 2) / 300).astype(np.float32)
        blocks = np.kron(rng.normal(0, 0.25, (8, 6)), np.ones((20, 20))).astype(np.float32)
        maps = {
            "grad_cam": bump,
            "lime": blocks + bump,
            "shap_partition": np.round(3 * bump) / 3 - 0.1 * blocks,
            "random_map": rng.random((h, w), np.float32),
        }
        if classifier == "honest":
            maps["attention_rollout"] = bump**0.5
        said = HEAD.classes[1 if number else 0]
        shown += [(classifier, replicate, said, 0.97 - 0.2 * replicate, maps) for replicate in range(twins)]
    return GalleryItem(f"film-{number:03d}", image, outline, "scoliosis", shown)
