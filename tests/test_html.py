"""The page: self-contained, escaped, complete; overlays and outlines show the right pixels."""

import base64
import html
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image
from synthetic_run import MANY, SyntheticRun, synthetic_run, wide_run, with_pairs

from xai_bench.listing import FAMILIES
from xai_bench.reporting import overlay
from xai_bench.reporting.estimates import estimates
from xai_bench.reporting.html import gallery, page
from xai_bench.reporting.table import Cell, Column, Rows, Table
from xai_bench.reporting.tables import family_tables, run_tables

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Outline(HTMLParser):
    """Tags that are open, ids, links and every address on the page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.text: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [v or "" for k, v in attrs if k == "id"]
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(text: str) -> Outline:
    found = Outline()
    found.feed(text)
    return found


@pytest.fixture(scope="module")
def run() -> SyntheticRun:
    return with_pairs(synthetic_run(patients=8, story=("The cheating twin looks at the marker.",)))


@pytest.fixture(scope="module")
def text(run: SyntheticRun) -> str:
    return page(run)  # type: ignore[arg-type]


def test_page_is_well_formed_and_loads_nothing(text: str) -> None:
    found = parsed(text)
    assert not found.open
    assert all(a.startswith(("data:image/png;base64,", "#")) for a in found.addresses)
    assert not re.search(r"https?://|@import|url\(", text)
    assert "script" not in found.tags
    assert text.count('<path class="outline"') == 3  # one film has no region
    twins = 2 * (8 + 6)  # two films with a region; two twins of a classifier with four methods and of one with three
    assert text.count('<use href="#outline-') == 3 * 9 + twins
    assert len(found.ids) == len(set(found.ids))
    assert {a[1:] for a in found.addresses if a.startswith("#")} <= set(found.ids)


def test_page_holds_story_tables_films_definitions_and_key(run: SyntheticRun, text: str) -> None:
    said = " ".join(parsed(text).text)
    for table in run_tables(run):  # type: ignore[arg-type]
        assert table.title in said and table.caption in said
        assert all(note in said for note in table.footnotes)
    assert "The cheating twin looks at the marker." in said
    assert all(item.picture_id in said for item in run.items)
    assert "label: scoliosis; no region" in said and "no map" in said
    assert "Share of the positive relevance that lies inside the region" in said  # the metric's own docstring
    assert run.key in said and "torch" in said
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    assert not re.search(r"\bnan\b", said)


def test_twins_stand_side_by_side_where_there_are_any(run: SyntheticRun, text: str) -> None:
    section = text.split('<section id="stability">')[1].split("</section>")[0]
    twins = section.split('<div id="twins">')[1]
    assert text.count('<a href="#twins">') == 1
    assert [twins.count(item.picture_id) for item in run.items] == [1, 1, 1, 0]
    assert twins.count("<details") == 3 and twins.count('<details class="sheet" open>') == 1
    assert twins.count("twin 1<small>accuracy") == 3 * 2
    assert "Maps explain the film's label where that is a finding" in html.unescape(twins)


def bare(run: SyntheticRun) -> SyntheticRun:
    """Without scores, which take the time."""
    return replace(run, rows=run.rows.iloc[:0], curves=pd.DataFrame(), summaries=pd.DataFrame())


def test_twins_need_no_table_about_them_and_a_study_without_twins_has_no_such_section(run: SyntheticRun) -> None:
    section = page(bare(run)).split('<section id="stability">')[1].split("</section>")[0]  # type: ignore[arg-type]
    assert 'id="twins"' in section and "<figure" not in section
    single = page(bare(synthetic_run(twins=1, patients=2)))  # type: ignore[arg-type]
    assert 'id="twins"' not in single and 'href="#twins"' not in single and 'id="stability"' not in single


def test_plots_of_stability_stand_with_its_tables(text: str) -> None:
    where = {
        anchor: re.findall(r'alt="([\w ]+)"', text.split(f'id="plots-{anchor}"')[1].split("</details>")[0])
        for anchor in ("scores", "stability")
    }
    assert where == {
        "scores": ["scores 1", "curves deletion", "curves insertion"],
        "stability": ["stability pairs"],
    }
    assert "<small>1 plot</small>" in text and "<small>3 plots</small>" in text


def test_every_family_has_a_folded_sheet_below_the_short_table() -> None:
    run = wide_run(synthetic_run(twins=1, patients=2), {name: m for name, m in MANY.items() if name[-1] in "123"})
    text = page(replace(run, curves=pd.DataFrame(), items=[]))  # type: ignore[arg-type]
    heads = dict(re.findall(r'<details class="sheet" id="sheet-family-(\w+)">\s*<summary>(.*?)</summary>', text))
    assert list(heads) == [*FAMILIES, "own"]
    assert all(FAMILIES[name] in heads[name] for name in FAMILIES)
    assert "6 scores, 2 tables" in heads["stability"]
    for table in family_tables(run, {"": estimates(run, full=True)}):  # type: ignore[arg-type]
        sheet = text.split(f'id="sheet-family-{table.sheet}"')[1].split("</details>")[0]
        assert f'id="table-{table.name}"' in sheet and table.caption in html.unescape(sheet)
    assert 0 < text.index('id="table-scores_1"') < text.index("<details")
    assert '<th scope="colgroup" colspan="1">faithfulness</th>' in text
    assert "details::details-content { content-visibility: visible" in text.split("@media print")[1]
    found = parsed(text)
    assert not found.open and len(found.ids) == len(set(found.ids))


def test_names_and_stories_are_escaped(run: SyntheticRun) -> None:
    evil = "<script>alert(1)</script>"
    mini = Table("mini", evil, evil, (Column(evil),), (Rows(evil, ((Cell(evil, evil),),)),), (evil,))
    rows = run.rows.replace({"explainer": {"lime": evil}})
    item = replace(run.items[0], picture_id=evil, label=evil)
    made = replace(run, rows=rows, story=(evil, mini), items=[item])
    found = parsed(page(made))  # type: ignore[arg-type]
    assert "script" not in found.tags
    assert sum(evil in part for part in found.text) > 8


def test_a_run_without_explainers_or_findings_is_still_a_page(run: SyntheticRun) -> None:
    bare = replace(
        run,
        rows=run.rows.iloc[:0],
        curves=pd.DataFrame(),
        costs=run.costs.iloc[:0],
        summaries=pd.DataFrame(),
        items=[],
        story=(),
    )
    found = parsed(page(bare))  # type: ignore[arg-type]
    assert not found.open and "findings" not in found.ids and "gallery" not in found.ids


def test_gallery_shows_methods_in_one_order_and_leaves_controls_out(run: SyntheticRun) -> None:
    films, polarities = gallery(run, run.items)  # type: ignore[arg-type]
    assert polarities == [False, True]
    for film in films:
        assert [s.classifier for s in film.said] == ["honest", "cheating"]
        for said in film.said:
            assert [p.method for p in said.panels] == ["grad_cam", "lime", "shap_partition", "attention_rollout"]
            assert [p.note for p in said.panels[:3]] == ["", "signed", "signed"]
    assert (films[0].said[1].panels[3].uri, films[0].said[1].panels[3].note) == ("", "no map")  # it does not fit
    assert [s.right for s in films[0].said] == [False, False] and films[1].said[0].right


def pixels(uri: str) -> NDArray[np.uint8]:
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


def test_opacity_follows_the_map_and_the_film_shows_elsewhere() -> None:
    saliency = np.linspace(-1, 1, 101)[None].repeat(3, 0)
    positive, signed = (pixels(overlay.heatmap(saliency, signed=s))[1].astype(int) for s in (False, True))
    assert (positive[:51, 3] == 0).all()
    assert (np.diff(positive[:, 3]) >= 0).all() and positive[-1, 3] == pytest.approx(0.85 * 255, abs=3)
    assert signed[50, 3] == 0 and signed[0, 3] == pytest.approx(signed[-1, 3], abs=3)
    assert signed[0, 2] > signed[0, 0] and signed[-1, 0] > signed[-1, 2]  # blue against, red for


@pytest.mark.parametrize("signed", [True, False])
def test_scale_changes_nothing_and_useless_maps_are_transparent(signed: bool) -> None:
    saliency = np.random.default_rng(0).normal(size=(6, 7))
    assert overlay.heatmap(saliency, signed=signed) == overlay.heatmap(4 * saliency, signed=signed)
    for useless in (np.zeros((4, 4)), np.full((4, 4), 0.7), np.full((4, 4), np.nan)):
        assert (pixels(overlay.heatmap(useless, signed=signed))[..., 3] == 0).all()


def test_film_and_legend_are_pictures() -> None:
    image = np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(2, 0)
    assert (pixels(overlay.film(image))[0, :, 0] == np.arange(256)).all()
    assert pixels(overlay.legend(signed=True)).shape[:2] == (10, 160)


@given(arrays.arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_outline_encloses_the_region(region: NDArray[np.bool_]) -> None:
    """Walking right from the left border, each upright edge on a pixel's left turns inside to outside and back."""
    h, w = region.shape
    crossed = np.zeros((h, w), int)
    for x, a, b in re.findall(r"M(\d+) (\d+)V(\d+)", overlay.outline(region)):
        crossed[int(a) : int(b), int(x) :] += 1
    assert (crossed % 2 == region).all()
    upside = np.zeros((h, w), int)
    for a, y, b in re.findall(r"M(\d+) (\d+)H(\d+)", overlay.outline(region)):
        upside[int(y) :, int(a) : int(b)] += 1
    assert (upside % 2 == region).all()
