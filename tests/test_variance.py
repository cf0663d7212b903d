"""Variance components against restricted maximum likelihood, textbook numbers, plain sums of squares, known truth."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.regression.mixed_linear_model import MixedLM

from xai_bench.errors import BadInput
from xai_bench.variance import BOTH, CONSISTENCY, ICC, Design, forms, icc, parts, shares, variance_parts

SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7.0]])
TWINS = Design(("twin",))
REPEATS = Design(("twin", "repeat"), {"repeat": ("picture",)})
DESIGNS = {
    "twins": (TWINS, (5,)),
    "repeats of each twin's own": (Design(("twin", "repeat"), {"repeat": ("picture", "twin")}), (4, 2)),
    "repeats common to twins": (REPEATS, (4, 3)),
    "folds and seeds crossed": (Design(("fold", "twin")), (3, 4)),
    "seeds within folds": (Design(("fold", "twin"), {"twin": ("fold",)}), (3, 4)),
    "all": (Design(("fold", "twin", "repeat"), {"twin": ("fold",), "repeat": ("picture",)}), (3, 3, 2)),
}


def simulated(design: Design, sizes: tuple[int, ...], truth: dict, pictures: int, cells: int, seed: int = 0):
    """A sum of independent effects, each with its own variance; every cell is a simulation of its own."""
    rng, axes = np.random.default_rng(seed), ("picture", *design.factors)
    values = np.zeros((pictures, *sizes, cells))
    for effect, variance in truth.items():
        shape = [n if f in effect else 1 for f, n in zip(axes, (pictures, *sizes), strict=True)]
        values += np.sqrt(variance) * rng.normal(size=(*shape, cells))
    return values


def known(design: Design) -> dict:
    return {effect: 1.0 + 0.5 * n for n, effect in enumerate(design.effects())}


def once(values: np.ndarray, design: Design) -> dict:
    table = forms(values, design, np.arange(len(values)))
    return {e: float(v[0]) for e, v in table.components(np.ones((1, len(values)))).items()}


@pytest.mark.parametrize("name", DESIGNS)
def test_equals_restricted_maximum_likelihood_where_all_components_are_positive(name: str) -> None:
    design, sizes = DESIGNS[name]
    seed, values = next(
        (seed, made)
        for seed in range(100)
        if min(once(made := simulated(design, sizes, known(design), 8, 1, seed), design).values()) > 0.2
    )
    axes = ["picture", *design.factors]
    data = pd.DataFrame(product(*map(range, values.shape[:-1])), columns=axes).assign(y=values.ravel(), one=1)
    effects = design.effects()
    rest = next(e for e in effects if len(e) == len(axes))  # the effect of single values is the residual
    for n, effect in enumerate(effects):
        data[f"e{n}"] = data.groupby(sorted(effect)).ngroup()
    terms = {f"e{n}": f"0 + C(e{n})" for n, effect in enumerate(effects) if effect != rest}
    model = MixedLM.from_formula("y ~ 1", vc_formula=terms, groups="one", data=data)
    fitted = model.fit(method="bfgs", gtol=1e-8)
    reml = dict(zip(model.exog_vc.names, fitted.vcomp, strict=True)) | {f"e{effects.index(rest)}": fitted.scale}
    found = once(values, design)
    for n, effect in enumerate(effects):
        assert found[effect] == pytest.approx(reml[f"e{n}"], rel=1e-3), (seed, effect)


def test_equals_the_intraclass_correlations_of_shrout_and_fleiss() -> None:
    crossed = parts(forms(SHROUT_FLEISS[..., None], TWINS, range(6)).components(np.ones((1, 6))))
    nested = parts(
        forms(SHROUT_FLEISS[..., None], Design(("twin",), {"twin": ("picture",)}), range(6)).components(np.ones((1, 6)))
    )
    assert icc(nested)[0] == pytest.approx(0.17, abs=0.005)  # ICC(1,1): each picture has twins of its own
    assert icc(crossed)[0] == pytest.approx(0.29, abs=0.005)  # ICC(2,1)
    assert icc(crossed, consistency=True)[0] == pytest.approx(0.71, abs=0.005)  # ICC(3,1)


def test_equals_the_mean_squares_of_the_textbook() -> None:
    y = SHROUT_FLEISS
    p, t = y.shape
    grand, rows, columns = y.mean(), y.mean(1), y.mean(0)
    ms_p = t * sum((r - grand) ** 2 for r in rows) / (p - 1)
    ms_t = p * sum((c - grand) ** 2 for c in columns) / (t - 1)
    rest = sum((y[i, j] - rows[i] - columns[j] + grand) ** 2 for i in range(p) for j in range(t)) / ((p - 1) * (t - 1))
    expected = {"picture": (ms_p - rest) / t, "twin": (ms_t - rest) / p, "picture:twin": rest}
    found = parts(once(y[..., None], TWINS))
    assert found == pytest.approx(expected)
    assert {k: float(v) for k, v in shares(found).items()} == pytest.approx(
        {k: v / sum(expected.values()) for k, v in expected.items()}
    )


@pytest.mark.parametrize("name", DESIGNS)
def test_is_unbiased_with_and_without_weights(name: str) -> None:
    """Many independent cells are many simulations: their mean is the truth, negative estimates left as they are."""
    design, sizes = DESIGNS[name]
    truth, cells = known(design), 6000
    table = forms(simulated(design, sizes, truth, 9, cells), design, list("aabbcdefg"))
    found = table.components(np.array([[1.0] * 7, [2, 0, 1, 3, 1, 0, 1]]))
    for effect, variance in truth.items():
        assert found[effect] / cells == pytest.approx([variance] * 2, rel=0.08), effect


def test_components_of_a_map_are_the_sums_over_its_cells() -> None:
    design, sizes = DESIGNS["all"]
    values = simulated(design, sizes, known(design), 5, 4)
    each = [once(values[..., [n]], design) for n in range(4)]
    assert once(values, design) == pytest.approx({e: sum(cell[e] for cell in each) for e in each[0]})


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 100), shift=st.floats(-5, 5))
def test_order_scale_and_what_all_maps_share_change_nothing(seed: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    values, owner = simulated(REPEATS, (3, 2), known(REPEATS), 6, 5, seed), np.array(list("aabbcd"))
    order = rng.permutation(6)
    moved = scale * (values + shift * rng.normal(size=5))[order][:, rng.permutation(3)][:, :, ::-1]
    plain, changed = (variance_parts(v, REPEATS, who, seed=1) for v, who in ((values, owner), (moved, owner[order])))
    assert changed.values == pytest.approx(plain.values, abs=1e-9)
    assert {n: i.low for n, i in changed.intervals.items()} == pytest.approx(
        {n: i.low for n, i in plain.intervals.items()}, abs=1e-9, nan_ok=True
    )


def test_leaving_a_patient_out_by_weight_is_leaving_its_pictures_out() -> None:
    values, owner = simulated(TWINS, (4,), known(TWINS), 6, 3), np.array(list("aabbcc"))
    weighted = forms(values, TWINS, owner).components(np.array([[1.0, 0, 1]]))
    without = forms(values[owner != "b"], TWINS, owner[owner != "b"]).components(np.ones((1, 2)))
    for effect, variance in without.items():
        assert weighted[effect] == pytest.approx(variance)


def test_noise_that_twins_share_is_noise_and_not_the_picture() -> None:
    """A map drawn from (seed, picture) alone: repeats within cells would call a third of it the picture's."""
    values = np.random.default_rng(0).normal(size=(20, 1, 2, 500)).repeat(3, axis=1)
    found = variance_parts(values, REPEATS, range(20))
    assert found.values["noise"] > 0.97
    nested = parts(once(values, DESIGNS["repeats of each twin's own"][0]))
    assert shares(nested)["picture"] == pytest.approx(1 / 3, abs=0.05)


def test_a_negative_estimate_counts_as_zero_and_is_named() -> None:
    values = np.array([[0.0, 1], [1, 0], [0, 1], [1, 0]])[..., None]
    found = variance_parts(values, TWINS, range(4))
    assert set(found.clipped) == {"picture", "twin"}
    assert found.values["picture:twin"] == 1
    assert found.values[ICC] < 0


def test_pictures_with_a_missing_cell_are_left_out_and_counted() -> None:
    values = simulated(TWINS, (3,), known(TWINS), 7, 5)
    holes = values.copy()
    holes[2, 1, 3] = np.nan
    rest, whole = variance_parts(holes, TWINS, range(7)), np.delete(values, 2, axis=0)
    assert (rest.n, rest.missing) == (6, 1)
    assert rest.values == variance_parts(whole, TWINS, range(6)).values


def test_one_run_of_a_random_explainer_leaves_its_noise_unnamed() -> None:
    values = simulated(TWINS, (3,), known(TWINS), 7, 5)
    joined, apart = (variance_parts(values, TWINS, range(7), separable=s) for s in (False, True))
    assert joined.values[BOTH] == apart.values["picture:twin"]
    assert "noise" not in joined.values and "picture:twin" not in joined.values


def test_maps_that_do_not_vary_have_no_shares() -> None:
    found = variance_parts(np.full((4, 2, 3), 0.1), TWINS, range(4))
    assert np.isnan([*found.values.values()]).all()
    same = variance_parts(np.random.default_rng(0).normal(size=(4, 1, 3)).repeat(2, 1), TWINS, range(4))
    assert (same.values["picture"], same.values["twin"], same.values[ICC], same.clipped) == (1, 0, 1, ())
    assert not same.intervals["picture"].known


def test_intervals_hold_the_estimate_and_shrink_with_patients() -> None:
    widths = []
    for pictures in (10, 80):
        found = variance_parts(simulated(TWINS, (3,), known(TWINS), pictures, 4), TWINS, range(pictures))
        assert all(found.intervals[n].low < v < found.intervals[n].high for n, v in found.values.items())
        widths.append(found.intervals[CONSISTENCY].high - found.intervals[CONSISTENCY].low)
    assert widths[1] < widths[0] / 1.5


def test_wrong_tables_are_refused() -> None:
    with pytest.raises(BadInput, match="expected an axis"):
        forms(np.zeros((4, 1, 3)), TWINS, range(4))
    with pytest.raises(BadInput, match="expected an axis"):
        forms(np.zeros((4, 2, 2, 3)), TWINS, range(4))
    with pytest.raises(BadInput, match="missing or infinite"):
        forms(np.full((4, 2, 3), np.nan), TWINS, range(4))
    with pytest.raises(BadInput, match="0 of 4 pictures are complete"):
        variance_parts(np.full((4, 2, 3), np.nan), TWINS, range(4))
