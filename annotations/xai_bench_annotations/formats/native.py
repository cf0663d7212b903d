"""Our own JSON: `project.json`, which holds everything that was drawn and answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from xai_bench.errors import BadInput
from xai_bench_annotations.formats.content import Content, Found

FILE = "project.json"
FORMAT: Literal["xai-bench annotations 1"] = "xai-bench annotations 1"


class _Document(Content):
    """The file: the content, and what says that it is one."""

    format: Literal["xai-bench annotations 1"]


def write(content: Content, notes: list[str]) -> Iterator[tuple[str, bytes]]:
    """The one file. Nothing is lost; deleted drawings and the history are no part of the content."""
    if content.deleted:
        notes.append(f"{content.deleted} deleted drawings and the history of changes stay in the folder's database.")
    document = _Document(format=FORMAT, **{name: getattr(content, name) for name in Content.model_fields})
    yield FILE, document.model_dump_json(indent=1).encode()


def read(folder: Path) -> Found:
    """The readings in a folder's `project.json`. Raises BadInput for a file that is none."""
    try:
        document = _Document.model_validate_json((folder / FILE).read_bytes())
    except OSError:
        raise BadInput(f"there is no {FILE} in what is imported; is it another format (coco, png)?") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"{FILE} cannot be used: {where}: {first['msg']}.") from None
    return Found(document.readings, document.films)
