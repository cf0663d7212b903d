"""The page in a browser: what is drawn is what is saved, at every zoom, and nothing is ever lost."""

from __future__ import annotations

import io
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from page_cases import WAIT, Film, Site, browsing, enter, film, playwright, reading, serving, watch
from xai_bench_annotations.drawings import Label, LabelSchema
from xai_bench_annotations.films.raster import mask_of
from xai_bench_annotations.server import readers

HEIGHT, WIDTH = 1000, 600
SHAPE = (HEIGHT, WIDTH)
GRID = list(itertools.product((1, 2.5, 7), (1, 2)))  # times as large as fitted, device pixels a CSS pixel
SUBSET = [(1, 1), (7, 2)]
Points = Sequence[tuple[float, float]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(tmp_path_factory.mktemp("annotate") / "folder") as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as found:
        yield found


@pytest.fixture(scope="module")
def project(site: Site) -> str:
    return site.project([film(HEIGHT, WIDTH)], name="one film")


@pytest.fixture(scope="module")
def projects(site: Site) -> str:
    return site.project([film(HEIGHT, WIDTH, seed) for seed in (1, 2, 3)], name="three films")


@pytest.fixture
def shown(browser: Any, site: Site, project: str) -> Iterator[Film]:
    """A reader with a film open; the console must stay silent."""
    with reading(browser, site, project) as found:
        yield found
        assert found.said == []


def overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float((a & b).sum() / (a | b).sum())


def around(center: tuple[float, float], points: Points, scale: float) -> list[tuple[float, float]]:
    return [(center[0] + scale * x, center[1] + scale * y) for x, y in points]


def capsules(points: Points, radius: float) -> NDArray[np.bool_]:
    """Pixels whose centers are near a line."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    near = np.full(SHAPE, np.inf)
    for (ax, ay), (bx, by) in itertools.pairwise(points):
        dx, dy = bx - ax, by - ay
        t = np.clip(((columns - ax) * dx + (rows - ay) * dy) / (dx * dx + dy * dy), 0, 1)
        near = np.minimum(near, np.hypot(columns - ax - t * dx, rows - ay - t * dy))
    return near <= radius


FIVE = [(-1, -0.8), (0.2, -1), (1, -0.1), (0.3, 0.9), (-0.7, 0.6)]
CIRCLE = [(math.cos(t), 0.8 * math.sin(t)) for t in np.linspace(0, 2 * math.pi, 48, endpoint=False)]


@pytest.mark.parametrize(("times", "ratio"), GRID if os.environ.get("XAI_PAGE_GRID") else SUBSET)
def test_what_a_tool_draws_is_what_is_saved(browser: Any, site: Site, project: str, times: float, ratio: int) -> None:
    center = (311.3, 487.8)
    size = 190 / times
    with reading(browser, site, project, device_scale_factor=ratio) as shown:
        shown.zoom(center, times)
        shown.tool("polygon")
        polygon = around(center, FIVE, size)
        shown.click(*polygon)
        shown.press("Enter", "2")
        shown.tool("freehand")
        circle = around(center, CIRCLE, 0.8 * size)
        shown.drag(*circle, steps=1)
        shown.press("3", "b")
        stroke = around(center, [(-0.8, -0.5), (0.7, -0.4), (0.6, 0.8)], size)
        radius = _brush(shown, size / 5)
        shown.drag(*stroke, steps=3)
        shown.press("4", "r")
        box = around(center, [(-0.9, -0.7), (0.4, 0.8)], size)
        shown.drag(*box)
        shown.press("5")
        lines = around(center, [(-1, -0.5), (0.9, -0.7), (-1, 0.4), (0.9, 0.8)], size)
        shown.drag(*lines[:2])
        shown.drag(*lines[2:])
        shown.press("6")
        shown.click(center)
        shown.saved()
        found = {row["label"]: row["geometry"] for row in shown.rows()}
        assert shown.said == []
    whole = {"kind": "polygon", "holes": []}
    (left, top), (right, bottom) = box
    rectangle = {"kind": "rectangle", "x": left, "y": top, "width": right - left, "height": bottom - top}
    assert overlap(mask_of(found["column"], SHAPE), mask_of(whole | {"exterior": polygon}, SHAPE)) >= 0.99
    assert overlap(mask_of(found["apex"], SHAPE), mask_of(whole | {"exterior": circle}, SHAPE)) >= 0.99
    assert overlap(mask_of(found["end_vertebrae"], SHAPE), capsules(stroke, radius)) >= 0.99
    assert overlap(mask_of(found["slipped_level"], SHAPE), mask_of(rectangle, SHAPE)) >= 0.99
    assert [found[label]["kind"] for label in ("apex", "cobb", "landmark")] == ["freehand", "cobb", "landmark"]
    np.testing.assert_allclose(found["cobb"]["upper"] + found["cobb"]["lower"], lines, atol=0.6 / times)
    np.testing.assert_allclose(found["landmark"]["at"], center, atol=0.6 / times)


def _brush(shown: Film, radius: float) -> float:
    """Set the brush near a radius by its keys; returns the radius."""
    size = shown.page.locator(".brush-size")
    while float(str(size.text_content()).split()[1]) / 2 > radius:
        shown.press("[")
    return float(str(size.text_content()).split()[1]) / 2


def draw_polygon(shown: Film, points: Points = ((200, 300), (400, 320), (380, 600), (210, 580))) -> None:
    shown.tool("polygon")
    shown.click(*points)
    shown.press("Enter")


def test_eraser(shown: Film) -> None:
    shown.tool("rectangle")
    shown.drag((200, 300), (400, 500))
    shown.press("e")
    shown.drag((150, 400), (450, 400), steps=10)
    shown.saved()
    mask = mask_of(shown.geometry("column"), SHAPE)
    assert mask[320, 300] and mask[480, 300] and not mask[400, 300]
    shown.press("Control+z")
    shown.saved()
    assert shown.geometry("column")["kind"] == "rectangle"
    shown.page.mouse.move(*shown.at((300, 350)))
    shown.page.mouse.down()
    shown.page.mouse.move(*shown.at((350, 400)))
    shown.press("Control+z")  # drops the stroke, and nothing before it
    shown.page.mouse.up()
    shown.saved()
    assert shown.geometry("column")["kind"] == "rectangle"


def test_vertices_are_moved_put_in_and_deleted(shown: Film) -> None:
    draw_polygon(shown)
    shown.press("v")
    shown.click((300, 450))
    shown.drag((200, 300), (150, 250))
    shown.saved()
    assert np.allclose(shown.geometry("column")["exterior"][0], (150, 250), atol=1)
    before = len(shown.geometry("column")["exterior"])
    shown.drag((390, 460), (480, 470))
    shown.saved()
    ring = shown.geometry("column")["exterior"]
    assert len(ring) == before + 1 and min(math.dist(p, (480, 470)) for p in ring) < 1.5
    shown.press("Delete")
    shown.saved()
    assert len(shown.geometry("column")["exterior"]) == before
    shown.drag((300, 450), (320, 480))
    shown.saved()
    assert np.allclose(shown.geometry("column")["exterior"][0], (170, 280), atol=2)


def test_backspace_takes_back_a_point_and_escape_all(shown: Film) -> None:
    shown.tool("polygon")
    shown.click((200, 300), (400, 320), (500, 900), (380, 600))
    shown.press("PageDown", "Control+Enter")
    assert shown.page.locator(".toast", has_text="A drawing is begun").count() == 2, "neither leaves it behind"
    shown.press("Backspace")
    shown.page.locator("#undo").click()
    shown.click((380, 600))
    shown.press("Enter")
    shown.click((100, 100), (150, 100), (150, 150))
    shown.press("Escape", "Enter")
    shown.saved()
    assert np.allclose(shown.geometry("column")["exterior"], [(200, 300), (400, 320), (380, 600)], atol=1)


def test_undo_and_redo_also_after_autosave(shown: Film) -> None:
    draw_polygon(shown)
    shown.saved()
    first = shown.geometry("column")
    shown.press("Control+z")
    shown.saved()
    assert [(row["deleted"], row["rev"]) for row in shown.rows(deleted=True)] == [(True, 2)]
    shown.press("Control+y")
    shown.saved()
    assert shown.geometry("column") == first
    shown.press("v")
    shown.click((300, 450))
    shown.press("2")
    shown.saved()
    assert shown.geometry("column") == first, "taking a label changes no drawing"
    shown.press("t")
    shown.saved()
    assert shown.geometry("apex") == first
    shown.press("Delete")
    shown.saved()
    assert shown.rows() == []
    shown.press("Control+z", "Control+z")
    shown.saved()
    assert shown.geometry("column") == first
    shown.press("Control+Shift+Z", "Control+Shift+Z")
    shown.saved()
    assert shown.rows() == []


def test_offline_nothing_is_lost_also_by_a_reload(browser: Any, site: Site, project: str) -> None:
    with reading(browser, site, project) as shown:
        shown.page.on("dialog", lambda dialog: dialog.accept())
        shown.page.route("**/api/v1/annotations/*", lambda route: route.abort())
        draw_polygon(shown)
        shown.page.locator("#save[data-state='unreachable']").wait_for()
        assert "NOT SAVED" in shown.page.locator("#save").inner_text()
        shown.press("2", "r")
        shown.drag((250, 400), (350, 450))
        assert shown.rows() == []
        shown.page.wait_for_timeout(200)
        shown.page.reload()
        shown.ready()
        shown.page.locator("#save[data-state='unreachable']").wait_for()
        assert shown.page.locator("[data-drawing]").count() == 2
        shown.page.unroute("**/api/v1/annotations/*")
        shown.page.locator("#save").click()
        shown.saved()
        assert {row["label"] for row in shown.rows()} == {"column", "apex"}
        assert np.allclose(shown.geometry("column")["exterior"][0], (200, 300), atol=1)
        assert all("Failed to load resource" in text for text in shown.said)


def test_a_film_left_unsaved_is_sent_later(browser: Any, site: Site, projects: str) -> None:
    with reading(browser, site, projects) as shown:
        first = shown.reading
        shown.page.route("**/api/v1/annotations/*", lambda route: route.abort())
        shown.page.route("**/batch", lambda route: route.abort())
        draw_polygon(shown)
        for place, label in enumerate(("4", "2", "4", "2"), start=1):  # ids are random: it is not their order
            shown.press(label, "r")
            shown.drag((100 * place, 700), (100 * place + 50, 800))
        shown.page.locator("#save[data-state='unreachable']").wait_for()
        shown.press("PageDown")
        shown.page.locator(f"#desk[data-ready]:not([data-ready='{first}'])").wait_for()
        shown.page.locator("#save", has_text="1 other film").wait_for()
        shown.page.unroute("**/api/v1/annotations/*")
        shown.page.unroute("**/batch")
        shown.page.locator("#save").click()
        shown.saved()
        rows = shown.api(f"/assignments/{first}/annotations")
        assert [row["label"] for row in rows] == ["column", "slipped_level", "apex", "slipped_level", "apex"]
        assert [round(row["geometry"]["x"], -1) for row in rows[1:]] == [100, 200, 300, 400], "in the order of drawing"


def test_two_tabs_conflict_is_shown(browser: Any, site: Site, project: str) -> None:
    """Each tab in turn changes what the other one has changed meanwhile."""
    with reading(browser, site, project) as one:
        draw_polygon(one)
        one.saved()
        other = Film(one.page.context.new_page(), site.url)
        other.page.goto(one.page.url)
        other.ready()
        _move_first(one, (200, 300), (100, 100))
        one.saved()
        _move_first(other, (200, 300), (500, 120))
        _answer(other, "Decide later")
        assert "decide" in other.page.locator("#save[data-state='conflict']").inner_text()
        other.page.locator("#save").click()
        _answer(other, "Keep mine")
        other.saved()
        assert np.allclose(one.geometry("column")["exterior"][0], (500, 120), atol=1)
        _move_first(one, (100, 100), (120, 160))
        _answer(one, "Take the other")
        one.saved()
        assert np.allclose(one.geometry("column")["exterior"][0], (500, 120), atol=1)
        assert [shown.page.locator("[data-drawing]").count() for shown in (one, other)] == [1, 1]


def _move_first(shown: Film, at: tuple[float, float], to: tuple[float, float]) -> None:
    shown.page.bring_to_front()
    shown.press("v")
    if not shown.page.locator("[data-drawing][aria-pressed='true']").count():
        shown.click((300, 450))
    shown.drag(at, to)


def _answer(shown: Film, choice: str) -> None:
    shown.page.locator("dialog.conflict").wait_for()
    shown.page.get_by_role("button", name=choice).click()


def test_a_reload_shows_the_same(shown: Film) -> None:
    draw_polygon(shown)
    shown.press("2", "b")
    shown.drag((250, 400), (330, 450))
    shown.press("5")
    shown.drag((200, 200), (400, 220))
    shown.drag((200, 700), (400, 640))
    shown.press("3", "n", "v", "Escape")
    shown.page.mouse.move(5, 5)
    shown.saved()
    rows, picture = shown.rows(), _picture(shown)
    shown.page.reload()
    shown.ready()
    shown.press("v", "Escape")
    assert shown.rows() == rows
    assert _picture(shown) == picture
    assert shown.page.locator("[data-nothing='end_vertebrae'][aria-pressed='true']").count() == 1


def _picture(shown: Film) -> bytes:
    shown.page.wait_for_timeout(150)
    return bytes(shown.page.locator("#stage").screenshot())


def test_window_and_level_change_the_picture_never_the_data(shown: Film) -> None:
    draw_polygon(shown)
    shown.saved()
    rows, picture = shown.rows(), _picture(shown)
    shown.drag((300, 400), (380, 300), button="right")
    assert _picture(shown) != picture
    shown.press("i", "Shift+Digit2", "a", "Control+Enter", "Escape")
    assert shown.rows() == rows
    shown.press("w")
    shown.page.mouse.move(5, 5)
    shown.press("0")
    assert shown.rows() == rows


def test_labels_and_notes_are_never_markup(browser: Any, site: Site) -> None:
    evil = "<script>globalThis.owned=1</script><img src=x onerror=owned=1>"[:60]
    labels = LabelSchema(labels=[Label(code="a", name=evil, color="#ff0000", hotkey="1")])
    name = "<img src=x onerror='globalThis.owned=1'>"
    project = site.project([film(200, 200)], labels=labels, name=name, instructions=evil)
    with reading(browser, site, project) as shown:
        shown.tool("rectangle")
        shown.drag((50, 50), (150, 150))
        note = shown.page.locator("textarea")
        note.fill("<img src=x onerror='globalThis.owned=1'>")
        note.blur()
        shown.saved()
        assert shown.rows()[0]["note"] == "<img src=x onerror='globalThis.owned=1'>"
        assert evil in shown.page.locator("[data-label='a'] .name").inner_text()
        shown.page.locator("#films").click()
        shown.page.locator("#continue").wait_for()
        assert shown.page.evaluate("() => globalThis.owned") is None
        assert shown.page.locator("main img[src='x'], main script").count() == 0
        assert shown.said == []


def test_confidence_note_and_undo(shown: Film) -> None:
    draw_polygon(shown)
    shown.page.locator("[data-key='sure 4']").click()
    note = shown.page.locator("textarea")
    note.press_sequentially("endplate hidden")
    shown.page.wait_for_timeout(600)
    shown.saved()
    row = shown.rows()[0]
    assert (row["confidence"], row["note"]) == (4, "endplate hidden")
    assert {"window", "level", "zoom"} <= set(row["view_state"])
    shown.page.locator("#stage").focus()
    shown.press("Control+z")
    shown.saved()
    assert (shown.rows()[0]["confidence"], shown.rows()[0]["note"]) == (4, "")


def test_done_asks_for_what_is_missing_and_goes_on(browser: Any, site: Site, projects: str) -> None:
    with reading(browser, site, projects) as shown:
        first = shown.reading
        draw_polygon(shown)
        shown.page.locator("#done").click()
        assert "Apex" in shown.page.locator("dialog.missing").inner_text()
        shown.page.locator("dialog.missing button", has_text="Nothing to mark").click()
        shown.page.locator(f"#desk[data-ready]:not([data-ready='{first}'])").wait_for()
        (mine,) = [
            a for p in shown.api("/projects") for a in shown.api(f"/assignments?project={p['id']}") if a["id"] == first
        ]
        assert (mine["state"], mine["nothing_in"], mine["annotations"]) == ("done", ["apex"], 1)
        shown.press("PageUp")
        shown.page.locator(f"#desk[data-ready='{first}']").wait_for()
        draw_polygon(shown, ((100, 100), (150, 100), (150, 150)))
        assert shown.page.locator("[data-drawing]").count() == 1, "a film that is done is not changed by accident"
        shown.page.locator("#reopen").click()
        shown.page.locator("#state[data-state='in_progress']").wait_for()
        shown.press("2", "r")
        shown.drag((250, 400), (350, 450))
        shown.saved()
        assert {row["label"] for row in shown.rows()} == {"column", "apex"}
        assert shown.said == []


def test_without_a_mouse(browser: Any, site: Site, projects: str) -> None:
    """From the invite to a film that is done."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(WAIT)
    shown = Film(page, site.url)
    watch(page, shown.said)
    page.goto(f"{site.url}/?invite={site.reader(projects)}")
    page.locator("input").first.wait_for()
    assert "invite" not in page.url
    page.keyboard.type("a long password")
    shown.press("Tab")
    page.keyboard.type("a long password")
    shown.press("Enter")
    page.locator("#continue").wait_for()
    for _ in range(12):
        shown.press("Tab")
        if page.evaluate("() => document.activeElement.id") == "continue":
            break
    shown.press("Enter")
    shown.ready()
    first = shown.reading
    shown.press("p", *["ArrowLeft"] * 6, "Space", *["ArrowRight"] * 12, "Space", *["ArrowDown"] * 10, "Space", "Enter")
    shown.press("4", "b", *["Shift+ArrowUp"] * 2, "Space", *["ArrowRight"] * 5, "Space", "2", "n", "v", "k")
    shown.press("j", ".", *["ArrowUp"] * 3)
    shown.saved()
    assert {row["label"] for row in shown.rows()} == {"column", "slipped_level"}
    assert len(shown.geometry("column")["exterior"]) == 3
    assert mask_of(shown.geometry("column"), SHAPE).sum() > 500
    assert mask_of(shown.geometry("slipped_level"), SHAPE).sum() > 500
    shown.press("?")
    page.locator("dialog.help").wait_for()
    shown.press("Escape", "Control+Enter")
    page.locator(f"#desk[data-ready]:not([data-ready='{first}'])").wait_for()
    states = [a["state"] for p in shown.api("/projects") for a in shown.api(f"/assignments?project={p['id']}")]
    assert states.count("done") == 1
    assert all("401" in text for text in shown.said), "only the question who is there, before the login"
    context.close()


def test_the_login_ends_while_one_draws(browser: Any, site: Site, project: str) -> None:
    with reading(browser, site, project) as shown:
        with site.database.writing() as session:
            reader = readers.reader_named(session, shown.api("/me")["name"])
            assert reader is not None
            anew = {"invite": readers.invite(session, reader), "password": "a long password"}
        entered = shown.page.context.request.post(f"{site.url}/api/v1/session", data=anew)  # as another tab does
        assert entered.ok, entered.text()
        shown.tool("rectangle")
        shown.drag((100, 700), (150, 800))
        shown.saved()
        assert len(shown.rows()) == 1, "a login of the same reader in another tab is taken over"
        shown.page.context.clear_cookies()
        draw_polygon(shown)
        dialog = shown.page.locator("dialog.login-again")
        dialog.wait_for()
        assert "NOT SAVED" in shown.page.locator("#save").inner_text()
        dialog.get_by_label("Password").fill("a long password")
        dialog.get_by_role("button", name="Log in").click()
        shown.saved()
        assert len(shown.rows()) == 2


def test_an_admin_makes_a_project_adds_a_film_and_invites(browser: Any, site: Site) -> None:
    with site.database.writing() as session:
        invite = readers.admin_invite(session)
    context = browser.new_context()
    enter(context, site, invite)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    said: list[str] = []
    watch(page, said)
    page.goto(site.url)
    page.get_by_label("Name of the project").fill("knees <b>")
    page.get_by_role("button", name="Make it").click()
    page.locator("h1", has_text="knees <b>").wait_for()
    png = io.BytesIO()
    PIL.Image.fromarray(film(200, 150)).save(png, "PNG")
    files = [
        {"name": name, "mimeType": "image/png", "buffer": data}
        for name, data in (("a.png", png.getvalue()), ("b.png", b"no"))
    ]
    page.locator("#add-films").set_input_files(files)
    assert "b.png" in page.locator("dialog.refused").inner_text()
    page.get_by_role("button", name="Close").click()
    playwright.expect(page.locator("#add-films")).to_have_value("", timeout=WAIT)  # the section is drawn anew
    page.get_by_label("Name of the reader").fill("carla")
    page.get_by_role("button", name="Add and invite").click()
    link = page.locator("dialog.invite input").input_value()
    page.get_by_role("button", name="Close").click()
    page.locator("tr", has_text="carla").wait_for()
    reader = browser.new_context()
    enter(reader, site, link.split("invite=")[1])
    (given,) = reader.request.get(f"{site.url}/api/v1/projects").json()
    assert (given["name"], given["films"], given["readers"]) == ("knees <b>", 1, None)
    assert all("status of 4" in text for text in said), said
    for one in (context, reader):
        one.close()


def test_two_fingers_zoom_and_draw_nothing(browser: Any, site: Site, project: str) -> None:
    with reading(browser, site, project, has_touch=True) as shown:
        client = shown.page.context.new_cdp_session(shown.page)
        x, y = shown.at((300, 500))
        before = float(shown.page.locator("#stage").get_attribute("data-view").split()[0])

        def touch(kind: str, *points: tuple[float, float]) -> None:
            all_ = [{"x": px, "y": py, "id": i} for i, (px, py) in enumerate(points)]
            client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": all_})

        shown.tool("freehand")
        touch("touchStart", (x - 30, y))
        touch("touchStart", (x - 30, y), (x + 30, y))
        for step in range(1, 7):
            touch("touchMove", (x - 30 - 10 * step, y), (x + 30 + 10 * step, y))
        touch("touchEnd")
        shown.page.wait_for_timeout(100)
        after = float(shown.page.locator("#stage").get_attribute("data-view").split()[0])
        assert after == pytest.approx(3 * before, rel=0.05)
        assert shown.rows() == [] and shown.page.locator("[data-drawing]").count() == 0
