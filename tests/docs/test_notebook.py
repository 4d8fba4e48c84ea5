"""The example notebook and the lines of docs/how-to/python.md run as they are shown and print what stands there."""

from __future__ import annotations

import doctest
import re
from contextlib import redirect_stdout
from io import StringIO
from itertools import zip_longest
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

pytest_plugins = ["tests.fixtures.index_demo"]

DOCS = Path(__file__).parents[2] / "docs"
NOTEBOOK = DOCS / "notebooks" / "first_look.ipynb"
MAX_BYTES = 310_000
ROUNDING = 2e-3
"""Of what is shown with three decimals; other processors differ in the last bits."""
_FINGERPRINT = re.compile(r"@[0-9a-f]{8}")
_DECIMAL = re.compile(r"[+-]?[\d,]+\.\d+")
_BETWEEN_WORDS = re.compile(r"<[^>]*>|[\s()'%]+")


@pytest.mark.usefixtures("index_demo")
def test_the_notebook_prints_what_is_stored_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # no history, and nobody's start-up files
    shown = read_notebook()
    fresh = read_notebook()

    NotebookClient(fresh, timeout=60, record_timing=False, resources={"metadata": {"path": str(tmp_path)}}).execute()

    cells = [cell for cell in zip(shown.cells, fresh.cells, strict=True) if cell[0].cell_type == "code"]
    assert len(cells) > 8
    for old, new in cells:
        assert [sorted(each.get("data", {})) for each in old.outputs] == [
            sorted(each.get("data", {})) for each in new.outputs
        ], old.id
        for before, after in zip(texts_of(old), texts_of(new), strict=True):
            assert differences(before, after) == [], old.id


@pytest.mark.usefixtures("index_demo")
def test_the_lines_of_the_document_print_what_stands_below_them() -> None:
    document = (DOCS / "how-to" / "python.md").read_text(encoding="utf-8")
    (session,) = re.findall(r"```pycon\n(.*?)```", document, re.DOTALL)
    examples = doctest.DocTestParser().get_examples(session)
    names: dict[str, Any] = {}

    assert len(examples) == 5
    for example in examples:
        printed = StringIO()
        with redirect_stdout(printed):
            exec(compile(example.source, "python.md", "single"), names)  # as the interpreter does, it prints values
        assert differences(example.want, printed.getvalue()) == []
    names["p"].close()
    for script in re.findall(r"```python\n(.*?)```", document, re.DOTALL):
        exec(script, names)
    assert names["crisis"].shape == (312, 384)


def test_the_notebook_is_small_and_every_cell_was_run_in_order() -> None:
    assert NOTEBOOK.stat().st_size < MAX_BYTES
    shown = read_notebook()
    nbformat.validate(shown)
    counts = [cell.execution_count for cell in shown.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_decimals_may_differ_in_the_last_digit_and_nothing_else_may() -> None:
    assert differences("3,577 dates at 0.4576", "<td>3,577</td> dates at 0.4577") == []
    assert differences("+10.8% by v2@5cae794e", "+10.8% by v2@ffffffff") == []
    assert differences("0.46 of", "0.47 of") == [("0.46", "0.47")]
    assert differences("3,577 dates", "3,578 dates") == [("3,577", "3,578")]
    assert differences("2011-10-03 CRISIS", "2011-10-04 CARRY") == [("2011-10-03", "2011-10-04"), ("CRISIS", "CARRY")]
    assert differences("one", "one more") == [("", "more")]


def read_notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]


def texts_of(cell: Any) -> list[str]:
    """Return all that a cell printed or shows, but for pictures."""
    data = [output.get("data", {"text/plain": output.get("text", "")}) for output in cell.outputs]
    return [text for each in data for kind, text in sorted(each.items()) if kind.startswith("text/")]


def differences(before: str, after: str) -> list[tuple[str, str]]:
    """Return the words that differ; of ids of files the part counts that does not stand for their bytes."""
    pairs = zip_longest(*(_BETWEEN_WORDS.sub(" ", _FINGERPRINT.sub("@", each)).split() for each in (before, after)))
    filled = [(old or "", new or "") for old, new in pairs]
    return [(old, new) for old, new in filled if old != new and not are_near(old, new)]


def are_near(old: str, new: str) -> bool:
    if not (_DECIMAL.fullmatch(old) and _DECIMAL.fullmatch(new)):
        return False
    return float(old.replace(",", "")) == pytest.approx(float(new.replace(",", "")), abs=ROUNDING, rel=ROUNDING)
