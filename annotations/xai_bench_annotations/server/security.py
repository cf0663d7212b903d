"""What every request passes: the list of Host names, Origin, body types and sizes, and the headers of every answer."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xai_bench_annotations.server.refusals import Refusal

LOOPBACK = ("localhost", "127.0.0.1", "::1")
JSON, BINARY = "application/json", "application/octet-stream"
MIB = 2**20
LIMITS = {JSON: 32 * MIB, BINARY: 200 * MIB}
SAFE = ("GET", "HEAD", "OPTIONS")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_log = logging.getLogger(__name__)


class Guard:
    """The outermost layer. `hosts` are allowed beside the loopback names; `secure`: browsers come by HTTPS only."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = (), *, secure: bool = False) -> None:
        self._app = app
        self._hosts = {h.lower() for h in (*LOOPBACK, *hosts)}
        self._headers = HEADERS | ({"Strict-Transport-Security": "max-age=31536000"} if secure else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, self._headers)
        try:
            self._check(scope["method"], Headers(scope=scope))
            await self._app(scope, _Counted(receive, Headers(scope=scope)), answer)
        except Refusal as refusal:
            await answer.error(refusal.status, str(refusal))
        except Exception:
            _log.exception("a request failed")
            await answer.error(500, "the server failed; what was saved before is kept")

    def _check(self, method: str, headers: Headers) -> None:
        host = headers.get("host", "")
        if _name(host) not in self._hosts:
            raise Refusal(400, "this server does not answer to that host name; name it by --name")
        if method in SAFE:
            return
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise Refusal(403, "a request from another site")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Refusal(403, "a request from another site")
        if _has_body(headers) and _kind(headers) not in LIMITS:
            raise Refusal(415, f"send {JSON}, or a film as {BINARY}")


def _name(host: str) -> str | None:
    """The name in a Host header, without port and brackets; None where it is no such header."""
    try:
        parts = urlsplit(f"//{host}")
        whole = parts.netloc == host and "@" not in host and parts.port != 0
        return parts.hostname if whole else None
    except ValueError:
        return None


def _kind(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


class _Counted:
    """A request's body, counted as it comes, as a Content-Length may be missing."""

    def __init__(self, receive: Receive, headers: Headers) -> None:
        self._receive = receive
        self._limit = LIMITS.get(_kind(headers), MIB)
        self._left = self._limit

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise HTTPException(413, f"more than {self._limit // MIB} MiB were sent")  # FastAPI lets only these through
        return message


class _Answer:
    """Sends an answer with the headers that every one has."""

    def __init__(self, send: Send, headers: dict[str, str]) -> None:
        self._send = send
        self._headers = headers
        self._begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = True
            headers = MutableHeaders(scope=message)
            for name, value in self._headers.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        await self._send(message)

    async def error(self, status: int, sentence: str) -> None:
        """Answer with an error, unless an answer has begun."""
        if self._begun:
            return
        body = json.dumps({"error": sentence}).encode()
        headers = [(b"content-type", JSON.encode()), (b"content-length", str(len(body)).encode())]
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": body})
