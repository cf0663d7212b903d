"""Model recognition: can a linear classifier tell from a map which retrained twin it explains?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import NDArray

from xai_bench.errors import BadInput
from xai_bench.protocols import ClassifierCard, Evidence, SummaryRow
from xai_bench.registry import summary
from xai_bench.statistics import interval
from xai_bench_metrics._twin_maps import Gather, TwinMaps, by_classifier, methods

NAME, SCORE = "model_recognition", "recognized"


@summary(NAME, cite="Watson et al. 2022, arXiv:2105.06791")
@dataclass(frozen=True)
class ModelRecognition:
    """Share of maps whose twin a logistic regression names, in [0, 1]; chance is 1 / twins, and lower is better.

    Maps are averaged to `grid` cells a side at most, zero outside content, divided by their largest |a|; only films on
    which all twins explain the same class, so that the class does not give the twin away. Cross-validated in `folds`
    by patient, cells standardized on the other folds. `recognized_null` is chance.
    """

    grid: int = 14
    folds: int = 5

    def __post_init__(self) -> None:
        if self.grid < 2 or self.folds < 2:
            raise BadInput(f"{self}: use a grid of 2 cells or more, and 2 folds or more.")

    def __call__(self, evidence: Evidence) -> Sequence[SummaryRow]:
        """Rows of every explainer and classifier."""
        gather, found = Gather(evidence, self.grid), by_classifier(evidence)
        return [
            row for method in methods(evidence) for cards in found.values() for row in self._rows(gather, method, cards)
        ]

    def _rows(self, gather: Gather, method: str, cards: Sequence[ClassifierCard]) -> list[SummaryRow]:
        twins, who = len(cards), (method, cards[0].classifier, None)
        seen = gather([(card, method) for card in cards])
        same = (seen.targets == seen.targets[0]).all(0)
        present = seen.present.all(0)
        chosen = np.nonzero(same & seen.sound.all(0))[0]
        lost = {
            "no map of one classifier": int((seen.present.any(0) & ~present).sum()),
            "predictions differ": int((present & ~same).sum()),
            "invalid or constant map": int((present & same).sum() - len(chosen)),
        }
        lost = {reason: n for reason, n in lost.items() if n}
        patients = np.unique(seen.patients[chosen])
        if twins < 2 or len(patients) < 2:
            why = "no twin: it has one replicate" if twins < 2 else "fewer than two patients with a map of every twin"
            return [SummaryRow(NAME, SCORE, *who, float("nan"), None, None, 0, lost, "lower", why)]
        hits, owner = self._recognized(seen, chosen), np.tile(seen.patients[chosen], twins)
        found = interval(hits, owner, binary=True, seed=gather.evidence.seed)
        note = f"chance {1 / twins:.3f}; {found.method} over patients, conditional on these twins"
        low, high = (found.low, found.high) if found.known else (None, None)
        row = SummaryRow(NAME, SCORE, *who, float(hits.mean()), low, high, len(chosen), lost, "lower", note)
        chance = SummaryRow(NAME, f"{SCORE}_null", *who, 1 / twins, None, None, len(chosen), note="chance: 1 / twins")
        return [row, chance]

    def _recognized(self, seen: TwinMaps, films: Int[NDArray[np.int64], "n"]) -> Float64[NDArray[np.float64], "k"]:
        """1 where a map's twin is named, twin after twin; each map by a regression that never saw its patient."""
        from sklearn.linear_model import LogisticRegression  # heavy: only where it is used
        from sklearn.model_selection import GroupKFold
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        maps = (seen.maps * seen.content)[:, films]
        scaled = maps / maps.abs().amax((2, 3), keepdim=True).clamp(min=1e-30)
        cells = scaled.flatten(0, 1).flatten(1).double().cpu().numpy()
        twin = np.repeat(np.arange(len(maps)), len(films))
        patients = np.tile(seen.patients[films], len(maps))
        hits = np.zeros(len(twin))
        for train, test in GroupKFold(min(self.folds, len(np.unique(patients)))).split(cells, twin, patients):
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
            hits[test] = model.fit(cells[train], twin[train]).predict(cells[test]) == twin[test]
        return hits
