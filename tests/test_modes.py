"""Progress of methods that ask the engine, and what of an engine is put back."""

from pathlib import Path

import pytest

from xai_bench.engine import Mode
from xai_bench.modes import Meter, engaged, running
from xai_bench.pictures import Pictures
from xai_bench.progress import Progress
from xai_bench.score_cache import ScoreCache
from xai_bench.store import Store
from xai_bench.testing import tiny_classifier
from xai_bench.workbench import Model, Workbench


def test_a_meter_ends_where_it_should_whatever_was_known_before() -> None:
    seen: list[int] = []
    meter = Meter(seen.append, 10)
    meter.answers(7)
    meter.answers(8)
    meter.pictures(2)  # five were known
    meter.pictures(3)  # all were known
    meter.answers(10)
    meter.pictures(1)
    assert sum(seen) == 60


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
