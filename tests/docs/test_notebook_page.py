"""Regimes in a notebook: every block of the page prints what stands below it, in databases that begin empty."""

from __future__ import annotations

import doctest
import re
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import pytest
from tests.docs.test_notebook import DOCS, differences


@pytest.mark.usefixtures("cli_environment")
def test_every_block_of_the_notebook_page_prints_what_stands_below_it() -> None:
    document = (DOCS / "how-to" / "notebook.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(\w*)\n(.*?)```", document, re.DOTALL)
    names: dict[str, Any] = {}

    assert {language for language, _ in blocks} == {"pycon"}
    for example in doctest.DocTestParser().get_examples("\n".join(text for _, text in blocks)):
        printed = StringIO()
        with redirect_stdout(printed):
            exec(compile(example.source, "notebook.md", "single"), names)
        shown, _, rest = example.want.partition("…")
        got = printed.getvalue()
        if rest:
            assert differences(rest, got[-len(rest) :]) == []
        assert differences(shown, got[: len(shown)] if rest or "…" in example.want else got) == []
