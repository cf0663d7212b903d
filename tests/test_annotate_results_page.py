"""The results page in a browser: outlines of readers and consensus, toggles, tables, what is said without results."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotated_cases import finish, project_id, project_of
from page_cases import WAIT, Site, browsing, serving
from xai_bench_annotations.server.readers import admin_invite, invite, reader_named
from xai_bench_annotations.server.tables import Project

NAMES = ["anna", "ben", "<b>eva</b>"]  # no name, but what if


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("annotate")
    films = [np.random.default_rng(n).integers(0, 4096, (200, 150), dtype=np.uint16) for n in range(3)]
    database = project_of(folder, films, ["anna", "ben", "carl"], spacing=(0.5, 0.5))
    mask = np.zeros((200, 150), bool)
    mask[40:120, 50:90] = True
    cobb = {"kind": "cobb", "upper": [[10, 10], [40, 10]], "lower": [[10, 60], [40, 70]]}
    for film in (1, 2):
        for shift, who in enumerate(("anna", "ben", "carl")):
            said = {"column": [np.roll(mask, 3 * shift, axis=1)], "apex": [], "cobb": [cobb]}
            finish(database, film, who, said)
    database.close()
    with serving(folder) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as found:
        yield found


@pytest.fixture
def page(browser: Any, site: Site) -> Iterator[Any]:
    """A page of an admin; the console must stay silent, so nothing is blocked and nothing is wrong."""
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    shown, said = context.new_page(), list[str]()
    shown.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    shown.on("pageerror", lambda error: said.append(str(error)))
    with site.database.writing() as session:
        link = admin_invite(session)
    assert context.request.post(f"{site.url}/api/v1/session", data={"invite": link}).ok
    yield shown
    assert said == []
    context.close()


def opened(page: Any, site: Site) -> Any:
    page.goto(f"{site.url}/page/results.html?project={project_id(site.database)}")
    page.locator(".film-picture svg").wait_for(timeout=WAIT)
    page.locator("figure.table").first.wait_for(timeout=WAIT)
    return page


def test_readers_and_consensus_on_a_film(page: Any, site: Site) -> None:
    shown = opened(page, site)
    assert shown.locator(".film-picture .reader path").count() == 3
    assert shown.locator(".film-picture .agreed").count() == 1
    assert shown.locator(".facts dd").all_text_contents() == ["2", "1", "3"]
    rows = shown.locator(".film-choices tbody").first.locator("tr").all_text_contents()
    assert rows[0] == "anna10.67 % of the film0.9250.991"
    shown.get_by_role("button", name="STAPLE").click()
    shown.get_by_text("STAPLE's own estimates").wait_for(timeout=WAIT)
    shown.locator(".film-choices label", has_text="ben").click()
    assert shown.locator(".film-picture .reader path").count() == 2
    shown.get_by_role("button", name="Cobb angle").click()
    shown.locator(".film-picture .reader line").first.wait_for(state="attached", timeout=WAIT)
    assert "18.4°" in shown.locator(".film-choices").text_content()
    assert shown.locator(".film-picture .agreed").count() == 0


def test_films_are_turned_by_keys(page: Any, site: Site) -> None:
    shown = opened(page, site)
    assert shown.locator(".film-picture svg").get_attribute("aria-label").startswith("Film 1")
    shown.keyboard.press("ArrowRight")
    shown.locator(".film-picture svg[aria-label^='Film 2']").wait_for(timeout=WAIT)
    shown.keyboard.press("ArrowRight")  # there is no third that counts
    assert shown.get_by_role("button", name="Next film").is_disabled()


def test_tables_and_what_holds_for_all_of_them(page: Any, site: Site) -> None:
    shown = opened(page, site)
    headings = shown.locator("figure.table h3").all_text_contents()
    assert headings[:3] == ["Is it there?", "Do two readers mark the same place?", "How far apart are outlines?"]
    assert "2 films that all of their readers have read; 1 do not count yet." in shown.locator(".basis").text_content()
    shown.get_by_text("Which films do not count yet").click()
    assert shown.get_by_text("Film 3: 0 of 3 first readings are done, 3 not finished.").is_visible()
    wide = shown.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0


def test_which_project(page: Any, site: Site) -> None:
    page.goto(f"{site.url}/page/results.html")
    page.get_by_role("link", name="spine").click()
    page.locator(".film-picture svg").wait_for(timeout=WAIT)


def test_what_stands_in_place_of_results(browser: Any, site: Site) -> None:
    shown = browser.new_context().new_page()
    shown.goto(f"{site.url}/page/results.html?project={project_id(site.database)}")
    shown.get_by_role("heading", name="Log in first").wait_for(timeout=WAIT)
    with site.database.writing() as session:
        reader = reader_named(session, "anna")
        assert reader is not None
        link = invite(session, reader)
    assert shown.context.request.post(f"{site.url}/api/v1/session", data={"invite": link}).ok
    shown.reload()
    shown.get_by_role("heading", name="Results are for admins").wait_for(timeout=WAIT)
    shown.context.close()


def test_a_project_that_is_locked(browser: Any, site: Site) -> None:
    name = site.project([np.zeros((20, 20), np.uint8)], name="open")
    site.reader(name)
    with site.database.writing() as session:
        link = admin_invite(session)
        found = session.query(Project).filter(Project.name == name).one().id
    shown = browser.new_context().new_page()
    assert shown.context.request.post(f"{site.url}/api/v1/session", data={"invite": link}).ok
    shown.goto(f"{site.url}/page/results.html?project={found}")
    shown.get_by_role("heading", name="Not yet").wait_for(timeout=WAIT)
    assert "none of its 1 films has" in shown.locator("#results").text_content()
    shown.context.close()
