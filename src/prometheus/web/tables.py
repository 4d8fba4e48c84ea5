"""Regimes as tables to take along: CSV, Arrow or Parquet, of one region or many."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Path, Query
from numpy.typing import NDArray
from pydantic import Field
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from prometheus.arrays import Float64Matrix
from prometheus.errors import UsageError
from prometheus.regime.explanation import EVIDENCE_LABELS
from prometheus.regime.exposure import exposures_of
from prometheus.regime.history import RegimeTimeline
from prometheus.spelling import guarded, is_computed
from prometheus.web.api import TABLE, AppOf
from prometheus.web.middleware import MEDIA_TYPES, Middleware
from prometheus.web.questions import RegionPath, SpanParameters

if TYPE_CHECKING:
    import pyarrow as pa

tables = APIRouter(prefix="/v1", tags=["regimes"])
MAX_ROWS = 1_000_000
Suffix = Annotated[Literal["csv", "arrow", "parquet"], Path(description="The form of the table.")]
_BY_MEDIA = {media.partition(";")[0]: suffix for suffix, media in MEDIA_TYPES.items()}
_TABLE_PATH = re.compile(r"/v1/(?:regions/[^/]+/regimes|regimes|instruments|findings)")


class TablesByAccept(Middleware):
    """Answers a question that has a table form by the table, where `Accept` names that first."""

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _TABLE_PATH.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return

        async def send_varying(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).add_vary_header("Accept")
            await send(message)

        first = Headers(scope=scope).get("accept", "").partition(",")[0].partition(";")[0].strip()
        if first in _BY_MEDIA:
            scope["path"] = f"{scope['path']}.{_BY_MEDIA[first]}"
        await self._app(scope, receive, send_varying)


class ManyParameters(SpanParameters):
    """Regions and dates of a table."""

    region: list[str] = Field([], max_length=2_000, description="A region; may be repeated. Default: all.")


def table_answer(table: pa.Table, suffix: str, name: str) -> Response:
    """Return a table in the form of a suffix, for a file of that name."""
    safe = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "_" for letter in name)
    headers = {"Content-Disposition": f'attachment; filename="{safe}.{suffix}"'}
    return Response(_WRITERS[suffix](table), media_type=MEDIA_TYPES[suffix], headers=headers)


@tables.get(
    "/regions/{region}/regimes.{suffix}", summary="Regimes of a region as a table", response_class=Response,
    responses=TABLE,
)  # fmt: skip
def get_table(app: AppOf, region: RegionPath, suffix: Suffix, query: Annotated[SpanParameters, Query()]) -> Response:
    """Return label, four probabilities, spell and exposure of every date, as CSV, an Arrow stream or Parquet."""
    span = query.span()
    found = app.regimes.probabilities(region, date.min, span.end, query.model_id)  # the whole spells
    return table_answer(_table_of([found], span.start), suffix, f"regimes_{region}")


@tables.get(
    "/regimes.{suffix}", summary="Regimes of many regions as one table", response_class=Response,
    responses=TABLE,
)  # fmt: skip
def get_tables(app: AppOf, suffix: Suffix, query: Annotated[ManyParameters, Query()]) -> Response:
    """Return the same of the regions named, or of all, each by the model that answers for it."""
    span = query.span()
    names = list(dict.fromkeys(query.region or (each.region for each in app.regimes.histories())))
    found, n_rows = [], 0
    for name in names:
        found.append(app.regimes.probabilities(name, date.min, span.end, query.model_id))
        n_rows += len(found[-1][0].dates)
        if n_rows > MAX_ROWS:
            raise UsageError(f"more than {MAX_ROWS:,} rows; ask for fewer regions, or a shorter range")
    return table_answer(_table_of(found, span.start), suffix, "regimes")


def _table_of(found: Sequence[tuple[RegimeTimeline, Float64Matrix]], start: date) -> pa.Table:
    """Return the rows from `start` on, by region and date.

    Columns: region, model_id, as_of_date, label, confidence, one probability for each label, high_volatility, held,
    spell_start, spell_session (1 on the first) and exposure.
    """
    import pyarrow as pa  # noqa: PLC0415 -- slow to import, and rarely needed

    texts, days, numbers = pa.string(), pa.date32(), pa.float64()
    schema = pa.schema([
        ("region", texts), ("model_id", texts), ("as_of_date", days), ("label", texts), ("confidence", numbers),
        *((f"probability_{name.lower()}", numbers) for name in EVIDENCE_LABELS),
        ("high_volatility", numbers), ("held", pa.bool_()), ("spell_start", days), ("spell_session", pa.int64()),
        ("exposure", numbers),
    ])  # fmt: skip
    parts = [
        pa.table([pa.array(each, kind, from_pandas=True) for each, kind in zip(columns, schema.types, strict=True)],
                 schema=schema)
        for columns in (_columns_of(timeline, shares, start) for timeline, shares in found)
    ]  # fmt: skip
    return pa.concat_tables(parts) if parts else schema.empty_table()


def _columns_of(timeline: RegimeTimeline, shares: Float64Matrix, start: date) -> list[NDArray[Any]]:
    n = len(timeline.dates)
    starts = np.maximum.accumulate(np.where(np.diff(timeline.labels, prepend=-1) != 0, np.arange(n), 0))
    columns = (
        np.full(n, timeline.region, dtype=object), np.full(n, timeline.model_id, dtype=object), timeline.dates,
        np.array(timeline.label_names(), dtype=object), timeline.confidences, *shares.T, timeline.high_volatilities,
        timeline.is_held, timeline.dates[starts], np.arange(n) - starts + 1, exposures_of(timeline),
    )  # fmt: skip
    is_asked = timeline.dates >= np.datetime64(start, "D")
    return [column[is_asked] for column in columns]


def _as_csv(table: pa.Table) -> bytes:
    import pyarrow.csv  # noqa: PLC0415 -- as above

    sink = BytesIO()
    pyarrow.csv.write_csv(_without_formulas(table), sink)
    return sink.getvalue()


def _without_formulas(table: pa.Table) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415 -- as above

    for at, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            names = {each: guarded(each) for each in table[at].unique().to_pylist() if each is not None}
            if any(is_computed(each) for each in names):
                texts = [None if each is None else names[each] for each in table[at].to_pylist()]
                table = table.set_column(at, field, pa.array(texts, field.type))
    return table


def _as_arrow(table: pa.Table) -> bytes:
    import pyarrow as pa  # noqa: PLC0415 -- as above

    sink = BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _as_parquet(table: pa.Table) -> bytes:
    import pyarrow.parquet  # noqa: PLC0415 -- as above

    sink = BytesIO()
    pyarrow.parquet.write_table(table, sink)
    return sink.getvalue()


_WRITERS: Mapping[str, Callable[[Any], bytes]] = {"csv": _as_csv, "arrow": _as_arrow, "parquet": _as_parquet}
