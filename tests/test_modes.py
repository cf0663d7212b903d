"""An engine is lent to a classifier, and what was there before comes back."""

from pathlib import Path

import pytest

from xai_bench.engine import Mode
from xai_bench.pictures import Pictures
from xai_bench.progress import Meter, Progress
from xai_bench.running.modes import engaged, running
from xai_bench.running.workbench import Model, Workbench
from xai_bench.score_cache import ScoreCache
from xai_bench.store.store import Store
from xai_bench.testing import tiny_classifier


def test_an_engine_is_lent(tmp_path: Path) -> None:
    classifier = tiny_classifier()
    model = Model("m", 0, None, "given", classifier, "w", Pictures({}, classifier.reader), None, 4)
    bench = Workbench(Store.at(tmp_path), Progress(quiet=True), cache=ScoreCache(tmp_path / "cache"))
    with engaged(bench, model):
        engine = classifier.engine
        assert engine is not None
        assert (engine.batch_size, engine.cache) == (4, bench.cache)
        with pytest.raises(KeyError), running(model, Mode("bfloat16"), Meter(print, 1)) as lent:
            assert lent is engine and engine.mode == Mode("bfloat16") and engine.progress is not None
            raise KeyError
        assert engine.mode == Mode() and engine.progress is None
    assert classifier.engine is None
