"""The web application over one annotation folder."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Lifespan

import xai_bench
from xai_bench.errors import XaiBenchError
from xai_bench_annotations.server import api
from xai_bench_annotations.server.auth import Passwords
from xai_bench_annotations.server.database import Database, open_database
from xai_bench_annotations.server.secret import folder_secret
from xai_bench_annotations.server.security import Guard
from xai_bench_annotations.server.shapes import Refused
from xai_bench_annotations.server.throttle import Throttle

PREFIX = "/api/v1"
PAGE = Path(__file__).parents[1] / "page"


def create_app(folder: Path, *, hosts: Iterable[str] = (), secure: bool = False) -> FastAPI:
    """The application. `hosts`: names beside localhost by which browsers reach it; `secure`: they come by HTTPS."""
    database = open_database(folder, create=True)
    app = FastAPI(
        title="xai-bench annotate", version=xai_bench.__version__, openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None, redoc_url=None, lifespan=_closing(database),
        generate_unique_id_function=_name, responses={"4XX": {"model": Refused}, 422: {"model": Refused}},
    )  # fmt: skip
    app.state.database, app.state.secure = database, secure
    app.state.passwords, app.state.throttle = Passwords(folder_secret(folder)), Throttle()
    for module in pkgutil.iter_modules(api.__path__, f"{api.__name__}."):
        if router := getattr(import_module(module.name), "router", None):
            app.include_router(router, prefix=PREFIX)
    app.add_exception_handler(XaiBenchError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_api_route("/", _index, include_in_schema=False)
    app.mount("/page", _Page(directory=PAGE))
    app.add_middleware(Guard, hosts=hosts, secure=secure)
    return app


def _closing(database: Database) -> Lifespan[FastAPI]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        yield
        database.close()

    return lifespan


def _name(route: APIRoute) -> str:
    return f"{route.tags[0] if route.tags else ''}_{route.name}"


def _index() -> Response:
    return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})


class _Page(StaticFiles):
    """The page's files, which browsers keep but ask for each time, so that an update shows at once."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


async def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return JSONResponse({"error": str(error.detail)}, error.status_code, headers=error.headers)
    more = getattr(error, "more", {})
    wait = {"Retry-After": str(more["retry_after"])} if "retry_after" in more else None
    return JSONResponse({"error": str(error), **more}, getattr(error, "status", 422), headers=wait)


async def _invalid(_: Request, error: Exception) -> Response:
    """What was wrong and where; without what was sent, which may hold a password."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    detail = [{"where": ".".join(map(str, e["loc"])), "what": e["msg"]} for e in found[:20]]
    first = f": {detail[0]['what']} ({detail[0]['where']})" if detail else ""
    return JSONResponse({"error": f"this request cannot be used{first}", "detail": detail}, 422)
