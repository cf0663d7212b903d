"""Starting the server: what it refuses, what it prints, and that it runs; without torch."""

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from xai_bench_annotations.server import serve as module
from xai_bench_annotations.server.serve import Address, serve

from xai_bench.errors import BadInput

COMMAND = "import sys, xai_bench_annotations.cli as c; c.app(sys.argv[1:])"


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    file = tmp_path / "key.pem"
    file.touch()
    return file


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "films.example.org", "127.0.0.1.example.org"])
def test_a_public_bind_without_tls_is_refused(host: str, pem: Path) -> None:
    with pytest.raises(BadInput, match="unencrypted"):
        Address(host, names=("films.example.org",))
    secure = Address(host, names=("films.example.org",), certificate=pem, key=pem)
    assert secure.is_secure and not secure.is_local
    assert Address(host, names=("films.example.org",), behind_proxy=True).is_secure


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.2"])
def test_this_machine_needs_no_tls(host: str) -> None:
    assert Address(host).is_local and not Address(host).is_secure


@pytest.mark.parametrize(
    ("given", "said"),
    [({"host": "0.0.0.0", "certificate": "pem", "key": "pem"}, "--name"), ({"behind_proxy": True}, "--name"),
     ({"port": 99_999}, "65535"), ({"certificate": "pem"}, "both"),
     ({"certificate": "pem", "key": Path("nowhere")}, "is not a file")],
)  # fmt: skip
def test_what_is_missing_is_said(given: dict[str, Any], said: str, pem: Path) -> None:
    with pytest.raises(BadInput, match=said):
        Address(**{k: pem if v == "pem" else v for k, v in given.items()})


def test_addresses_that_browsers_are_told(pem: Path) -> None:
    tls: dict[str, Any] = {"certificate": pem, "key": pem}
    assert Address().url(8737) == "http://127.0.0.1:8737"
    assert Address("::1").url(1) == "http://[::1]:1"
    assert Address("0.0.0.0", names=("films.example.org",), **tls).url(443) == "https://films.example.org:443"
    assert Address(names=("films.example.org",), behind_proxy=True).url(8737) == "https://films.example.org"
    assert Address("0.0.0.0", names=("films.example.org",), **tls).hosts == ("films.example.org",)
    assert Address("192.168.1.5", **tls).hosts == ("192.168.1.5",)


def test_a_public_bind_with_a_secret_that_others_can_read_is_refused(tmp_path: Path, pem: Path) -> None:
    (tmp_path / "secret").write_text("0" * 64)
    (tmp_path / "secret").chmod(0o644)
    address = Address("0.0.0.0", names=("films.example.org",), certificate=pem, key=pem)
    with pytest.raises(BadInput, match="chmod 600"):
        serve(tmp_path, address, print, lambda _: ())


def test_a_port_in_use_is_said_before_anything_is_promised(tmp_path: Path) -> None:
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BadInput, match="another --port"):
        serve(tmp_path, Address(port=taken.getsockname()[1]), said.append, lambda _: ())
    assert said == []


def test_what_the_server_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No access log, which would keep invites; no Server header; lines of a demo get the address."""
    seen: dict[str, Any] = {}

    class Server:
        def __init__(self, config: Any) -> None:
            seen["config"] = config

        def run(self, sockets: list[socket.socket]) -> None:
            seen["address"] = sockets[0].getsockname()
            sockets[0].close()

    monkeypatch.setattr(module.uvicorn, "Server", Server)
    said: list[str] = []
    serve(tmp_path, Address(port=0), said.append, lambda database: [f"open {{url}} of {database.folder.name}"])
    url = "http://{}:{}".format(*seen["address"])
    assert said[0] == f"open {url} of {tmp_path.name}"
    assert re.fullmatch(rf"open {url}/\?invite=[\w-]{{43}} to log in as admin .*; others at {url}", said[1])
    config = seen["config"]
    assert (config.access_log, config.server_header, config.proxy_headers) == (False, False, False)


def test_a_server_starts_prints_a_link_that_works_once_and_stops(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COMMAND, "--folder", str(tmp_path / "desk"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            found = re.match(r"open (http://127\.0\.0\.1:\d+)/\?invite=(\S+)", line)
            assert found, line
            url, invite = found.groups()
            assert _answer(url).status_code == 401
            codes = [httpx.post(f"{url}/api/v1/session", json={"invite": invite}).status_code for _ in range(2)]
            assert codes == [200, 401]
            assert "server" not in httpx.get(url).headers
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20)
    assert sorted(f.name for f in (tmp_path / "desk").iterdir()) == ["annotate.sqlite", "secret"]


def _answer(url: str) -> httpx.Response:
    for _ in range(100):
        try:
            return httpx.get(f"{url}/api/v1/me")
        except httpx.ConnectError:
            time.sleep(0.05)
    raise AssertionError("the server did not start")


LOADED = """
import sys
{imports}
print(sorted({heavy} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("imports", "heavy"),
    [
        ("import xai_bench_annotations.cli", {"fastapi", "sqlalchemy", "alembic", "uvicorn", "argon2", "PIL", "numpy"}),
        ("import pathlib; from xai_bench_annotations.server import app; app.create_app(pathlib.Path(sys.argv[1]))",
         {"torch", "torchvision", "pandas", "scipy", "skimage", "matplotlib"}),
    ],
)  # fmt: skip
def test_every_command_loads_little_and_the_server_no_torch(imports: str, heavy: set[str], tmp_path: Path) -> None:
    code = LOADED.format(imports=imports, heavy=heavy)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
