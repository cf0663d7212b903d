"""Start the server: on this machine only, unless TLS protects what others on the network send."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from xai_bench.errors import BadInput
from xai_bench_annotations.server.app import create_app
from xai_bench_annotations.server.database import Database
from xai_bench_annotations.server.readers import admin_invite
from xai_bench_annotations.server.security import LOOPBACK

ANY = ("0.0.0.0", "::")
DEFAULT_PORT = 8737


@dataclass(frozen=True)
class Address:
    """Where the server listens, and the names by which browsers reach it (the Host names that it answers to)."""

    host: str = LOOPBACK[1]
    port: int = DEFAULT_PORT
    names: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    behind_proxy: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise BadInput(f"port is {self.port}; expected 0 (any free one) to 65535.")
        if (self.certificate is None) != (self.key is None):
            raise BadInput("TLS needs a certificate and its key; give both --certificate and --key.")
        for file in (self.certificate, self.key):
            if file is not None and not file.is_file():
                raise BadInput(f"{str(file)!r} is not a file; name the PEM file of the certificate and of its key.")
        if not self.is_local and not self.is_secure:
            raise BadInput(
                f"host {self.host!r} can be reached from the network, where passwords and films would go unencrypted; "
                "give --certificate and --key, or --behind-proxy where a proxy does TLS, or stay on 127.0.0.1."
            )
        if not self.names and (self.host in ANY or self.behind_proxy):
            raise BadInput(
                "say by --name under which name browsers reach the server, for example --name films.example.org."
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == LOOPBACK[0]

    @property
    def is_secure(self) -> bool:
        """Whether browsers come by HTTPS."""
        return self.certificate is not None or self.behind_proxy

    @property
    def hosts(self) -> tuple[str, ...]:
        """The Host names that are answered, beside localhost."""
        return (*self.names, *(() if self.host in ANY else (self.host,)))

    def url(self, port: int) -> str:
        """What to type in a browser."""
        host = self.names[0] if self.names else self.host
        host = f"[{host}]" if ":" in host else host
        return f"https://{host}" if self.behind_proxy else f"http{'s' * self.is_secure}://{host}:{port}"


def serve(
    folder: Path, address: Address, say: Callable[[str], None], before: Callable[[Database], Sequence[str]]
) -> None:
    """Serve until interrupted. `before` may fill the folder and returns lines to say."""
    app = create_app(folder, hosts=address.hosts, secure=address.is_secure)
    database: Database = app.state.database
    listening = _listen(address)
    url = address.url(listening.getsockname()[1])
    lines = before(database)
    with database.writing() as session:
        invite = admin_invite(session)
    for line in lines:
        say(line.replace("{url}", url))
    say(f"open {url}/?invite={invite} to log in as admin (once, within a day); others at {url}")
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, proxy_headers=address.behind_proxy,
        ssl_certfile=address.certificate, ssl_keyfile=address.key, timeout_graceful_shutdown=5,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listening])


def _listen(address: Address) -> socket.socket:
    """The port, taken before anything is promised."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(where)
            return listening.dup()
    except OSError as error:
        raise BadInput(
            f"{address.host}:{address.port} cannot be listened on ({error}); choose another --port."
        ) from None
