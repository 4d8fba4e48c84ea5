"""Texts in frames: numbers and dates read by the rules of files, from whole columns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prometheus.errors import InputRefusedError
from prometheus.market.written import DateEvidence, DateStyle, Doubt, NumberEvidence


def numbers_of_texts(name: str, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the columns of texts alone with their numbers as float, NaN where a cell is empty; other texts stay.

    Raises
    ------
    InputRefusedError
        A cell such as ``1,234`` has two readings, and no other cell tells which is meant.
    """
    texts = {label: values for label, values in columns.items() if _holds(values, str)}
    evidence = NumberEvidence(prefers_point=True)
    for label, values in texts.items():
        evidence.add(label, (text for text in values.tolist() if isinstance(text, str)))
    doubt = evidence.doubt()
    if doubt is not None:
        raise _refusal(name, doubt, texts[doubt.column], doubt.column, "convert the column to float")
    styles = evidence.styles()
    return {
        label: np.array([_number(styles[label].plain(text or "")) for text in values.tolist()], dtype=object)
        for label, values in texts.items()
    }


def dates_of_texts(name: str, label: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return dates in one of the forms of files as texts in ISO form; those of another form as they are.

    Raises
    ------
    InputRefusedError
        Day and month cannot be told apart.
    """
    if not _holds(values, str | int):
        return values
    evidence = DateEvidence()
    evidence.add(str(value) for value in values.tolist())
    doubt = evidence.doubt()
    if doubt is not None:
        raise _refusal(name, doubt, values, label, "convert the column to dates")
    style = evidence.style()
    return values if style == DateStyle() else np.array([style.iso(str(value)) for value in values.tolist()], object)


def stamp_of(value: object) -> datetime | None:
    """Return a date as Python has it, or a text in ISO form, as a datetime; None for anything else."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    try:
        return datetime.fromisoformat(str(value).strip().replace("/", "-"))
    except ValueError:
        return None


def _holds(values: NDArray[Any], kind: Any) -> bool:
    """Return whether a column holds values of a kind, missing ones aside, and no others."""
    found = [value for value in (values.tolist() if values.dtype.kind in "OUTiu" else []) if value is not None]
    return bool(found) and all(isinstance(value, kind) for value in found)


def _number(text: str | None) -> float | str:
    try:
        return np.nan if text is None else float(text)
    except ValueError:
        return text or ""


def _refusal(name: str, doubt: Doubt, values: NDArray[Any], label: str, way_out: str) -> InputRefusedError:
    row = next(row for row, value in enumerate(values.tolist()) if doubt.text in str(value))
    fault = f"{doubt.text!r} may be {doubt.readings}, and {doubt.reason}; {way_out}"
    return InputRefusedError(f"{name}, column {label!r}, row {row}: {fault}")
