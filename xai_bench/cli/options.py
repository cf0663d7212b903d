"""Which study, which store: what several verbs of the command line take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from xai_bench.errors import BadInput

StudyFile = Annotated[Path, typer.Argument(help="A study.toml, or the folder of an earlier run.", show_default=False)]
StoreFolder = Annotated[Path | None, typer.Option("--store", help="Where results are kept; default runs/<study name>.")]
Limit = Annotated[int | None, typer.Option(help="Explain at most this many pictures, to try a study quickly.")]


def read_study(path: Path, limit: int | None = None) -> Any:
    """The study of a TOML file or of an earlier run's folder. Raises BadInput for anything else."""
    import json

    from xai_bench.study import Study

    if path.is_dir():
        file = path / "study.json"
        if not file.is_file():
            raise BadInput(f"folder {str(path)!r} holds no study.json; name a study.toml or the folder of a run.")
        try:
            table = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadInput(f"{str(file)!r} is not readable JSON ({error}); run the study again.") from None
        if not isinstance(table, dict):
            raise BadInput(f"{str(file)!r} holds no study; run the study again.")
        study = Study.of(table)
    elif not path.exists() and path.suffix != ".toml":
        raise BadInput(f"{str(path)!r} does not exist; name a study.toml or the folder of a run.")
    else:
        study = Study.read(path)
    return replace(study, limit=limit) if limit is not None else study


def remember(study: Any, folder: Path) -> None:
    """Leave the study in the folder of its run, so that `xai-bench status FOLDER` knows it from the first moment on."""
    import json

    from xai_bench.store.files import put, writing

    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    put(folder / "study.json", json.dumps(study.spec(), indent=1).encode())
