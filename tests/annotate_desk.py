"""An annotation server in memory for tests: two readers with the films of one project, and an admin."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from starlette.testclient import TestClient
from xai_bench_annotations.films.pixels import film_of
from xai_bench_annotations.server.app import create_app
from xai_bench_annotations.server.auth import new_invite
from xai_bench_annotations.server.database import Database
from xai_bench_annotations.server.projects import add_image, add_project
from xai_bench_annotations.server.protocol import assign
from xai_bench_annotations.server.readers import add_reader
from xai_bench_annotations.server.shapes import NewProject
from xai_bench_annotations.server.tables import Project

HEIGHT, WIDTH = 24, 16
SQUARE = {"kind": "polygon", "exterior": [[2, 2], [8, 2], [8, 9], [2, 9]], "holes": []}
OTHER = {"kind": "rectangle", "x": 1, "y": 1, "width": 4, "height": 5}


def new_client(app: FastAPI) -> TestClient:
    """A browser that is not logged in."""
    return TestClient(app, base_url="http://localhost")


def logged_in(app: FastAPI, invite: str) -> TestClient:
    """A browser that used an invite; X-CSRF goes with every request."""
    client = new_client(app)
    me = client.post("/api/v1/session", json={"invite": invite})
    assert me.status_code == 200, me.text
    client.headers["X-CSRF"] = me.json()["csrf"]
    return client


def fill(database: Database, films: int, repeats: float) -> str:
    """A project of noisy films, read by anna and ben; returns its id."""
    rng = np.random.default_rng(0)
    with database.writing() as session:
        project = add_project(session, NewProject(name="spines", repeats=repeats))
        for _ in range(films):
            film = film_of(rng.integers(0, 4096, (HEIGHT, WIDTH), dtype=np.uint16))
            add_image(session, database.folder, project, film)
        for name in ("anna", "ben"):
            add_reader(session, name)
        add_reader(session, "chief", "admin")
        assign(session, project, ["anna", "ben"])
        return project.id


def invite_for(database: Database, name: str) -> str:
    """A one-time invite."""
    from xai_bench_annotations.server.readers import reader_named

    with database.writing() as session:
        reader = reader_named(session, name)
        assert reader is not None
        return new_invite(session, reader)


def new_id() -> str:
    """As the browser makes one."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Desk:
    """The server, its project, and three browsers that are logged in."""

    app: FastAPI
    project: str
    anna: TestClient
    ben: TestClient
    chief: TestClient

    @staticmethod
    def make(folder: Path, films: int = 4, repeats: float = 0.0) -> Desk:
        """A desk over a new folder."""
        app = create_app(folder)
        project = fill(app.state.database, films, repeats)
        people = [logged_in(app, invite_for(app.state.database, name)) for name in ("anna", "ben", "chief")]
        return Desk(app, project, *people)

    @property
    def database(self) -> Database:
        """What the server has open."""
        found: Database = self.app.state.database
        return found

    def worklist(self, reader: TestClient) -> list[dict[str, Any]]:
        """A reader's readings."""
        found: list[dict[str, Any]] = reader.get("/api/v1/assignments", params={"project": self.project}).json()
        return found

    def body(self, reading: dict[str, Any] | str, **more: Any) -> dict[str, Any]:
        """What a save sends."""
        name = reading if isinstance(reading, str) else reading["id"]
        return {"assignment": name, "label": "column", "geometry": SQUARE, **more}

    def save(self, reader: TestClient, name: str, rev: int, body: dict[str, Any]) -> Any:
        """One autosave; the answer."""
        return reader.put(f"/api/v1/annotations/{name}", json=body, headers={"If-Match": str(rev)})

    def finish(self, reader: TestClient) -> None:
        """Say of every film that there is nothing to mark, and that it is done."""
        for reading in self.worklist(reader):
            done = {"state": "done", "nothing_in": ["column", "apex"]}
            assert reader.patch(f"/api/v1/assignments/{reading['id']}", json=done).status_code == 200

    def projects(self) -> list[Project]:
        """As stored."""
        with self.database.reading() as session:
            return session.query(Project).all()
