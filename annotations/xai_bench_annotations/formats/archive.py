"""Zip files in and out. What comes in was made by somebody else: nothing is unpacked outside of a new folder."""

from __future__ import annotations

import io
import stat
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from xai_bench.errors import BadInput

MAX_FILES = 100_000
MAX_BYTES = 1_000_000_000
MAX_FILE_BYTES = 200_000_000
MAX_RATIO = 200
_SMALL = 1_000_000  # an all-black mask shrinks a thousandfold and harms nobody
_EPOCH = (1980, 1, 1, 0, 0, 0)


def pack(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A zip of (path, content); the same content gives the same bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return stream.getvalue()


@contextmanager
def unpacked(source: bytes | Path) -> Iterator[Path]:
    """A folder that holds what is imported: the folder itself, or a new one with a zip's files or one JSON file.

    Raises BadInput for a path that does not exist and for a zip that is damaged, too large, or would write elsewhere.
    """
    if isinstance(source, Path) and source.is_dir():
        yield source
        return
    data = source if isinstance(source, bytes) else _bytes(source)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if data.lstrip()[:1] == b"{":
            (folder / "project.json").write_bytes(data)
        else:
            _unzip(data, folder)
        yield folder


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{str(path)!r}: {error.strerror}; name a folder, a zip or a JSON file.") from None


def _unzip(data: bytes, folder: Path) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _check(entries)
            total = 0
            for entry in entries:
                content = _content(archive, entry)
                total += len(content)
                if total > MAX_BYTES:
                    raise BadInput(f"the zip holds more than {MAX_BYTES / 1e6:.0f} MB; import it in parts.")
                path = folder.joinpath(*PurePosixPath(entry.filename).parts)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    except BadInput:
        raise
    except Exception as error:  # a damaged zip fails in many ways
        raise BadInput(f"this is no zip that can be read ({type(error).__name__}); make it again.") from None


def _check(entries: list[zipfile.ZipInfo]) -> None:
    """Raises BadInput for what must not be unpacked, by the directory of the zip."""
    if len(entries) > MAX_FILES:
        raise BadInput(f"the zip holds {len(entries)} files; expected at most {MAX_FILES}: import it in parts.")
    names = [entry.filename for entry in entries]
    if len({name.casefold() for name in names}) < len(names):
        raise BadInput("the zip holds two files of one name; keep one of them.")
    for entry in entries:
        path = PurePosixPath(entry.filename)
        odd = any(ord(c) < 32 or c in '\\:<>"|?*' for c in entry.filename) or len(entry.filename) > 400
        if path.is_absolute() or ".." in path.parts or odd or not path.parts:
            raise BadInput("the zip holds a file whose path leads out of it or is none; make it again.")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            raise BadInput("the zip holds a link or a device; make it again with files only.")
        if entry.flag_bits & 1:
            raise BadInput("the zip is encrypted; make it again without a password.")
    if sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise BadInput(f"the zip holds more than {MAX_BYTES / 1e6:.0f} MB; import it in parts.")


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """One file; what is read counts, not what the directory says."""
    limit = min(MAX_FILE_BYTES, max(_SMALL, MAX_RATIO * entry.compress_size))
    with archive.open(entry) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise BadInput(f"a file of the zip unpacks to more than {limit / 1e6:.0f} MB; it is too large or a bomb.")
    return content
