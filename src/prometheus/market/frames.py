"""Prices as a user holds them: frames of pandas, polars or Arrow, arrays; in through narwhals, out as `PriceBars`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prometheus.arrays import DateVector, Float64Matrix, Float64Vector, Int64Vector
from prometheus.errors import InputRefusedError

if TYPE_CHECKING:
    from narwhals.typing import IntoDataFrame, IntoSeries

    from prometheus.market.bars import PriceBars

    class HasBars(Protocol):
        """What ``pm.open().prices(…)`` returns."""

        @property
        def bars(self) -> PriceBars:
            """The bars themselves."""

    Prices: TypeAlias = (
        PriceBars
        | HasBars
        | IntoDataFrame
        | IntoSeries
        | Mapping[str, ArrayLike]
        | tuple[ArrayLike, ArrayLike]
        | NDArray[Any]
    )
    """What `PriceBars.from_frame` reads; arrays as columns by name, as dates and closes, or with named fields."""

_SIGNS = str.maketrans("", "", "_-.*<>")
UNNAMED = "prices"
"""What an instrument is called that no column, and no user, gives a name."""
FieldKind = Literal["text", "texts", "date", "number", "instant", "scalar"]
"""What a column may hold; ``texts`` is a text, or a list of texts."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of our own, and the names others give it (lower case, without spaces, underscores and hyphens).

    `fallbacks` are names that count only where no column has one of the `aliases`, `rare` ones only where none has
    either.
    """

    name: str
    kind: FieldKind
    aliases: frozenset[str]
    fallbacks: frozenset[str] = frozenset()
    rare: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, name: str, kind: FieldKind, *aliases: str, fallbacks: tuple[str, ...] = (), rare: tuple[str, ...] = ()
    ) -> Field:
        """Return a field that is known by its own name, too."""
        return cls(name, kind, frozenset({normalize_name(name), *aliases}), frozenset(fallbacks), frozenset(rare))

    def find(self, names: list[str]) -> list[int]:
        """Return the positions of the columns that may be this field."""
        plain = [normalize_name(name) for name in names]
        by_rank = ([at for at, name in enumerate(plain) if name in rank] for rank in self.ranks)
        return next(filter(None, by_rank), [])

    @property
    def ranks(self) -> tuple[frozenset[str], ...]:
        """The names of the field, those that count first before the others."""
        return self.aliases, self.fallbacks, self.rare


def normalize_name(name: str) -> str:
    """Return a column name without what authors vary: case, spaces, and the signs ``_ - . * < >``.

    >>> normalize_name(" Adj. Close* ")
    'adjclose'
    """
    return "".join(name.split()).translate(_SIGNS).casefold()


PRICE_FIELDS = (
    Field.of("instrument_id", "text", "ticker", "symbol", "instrument", rare=("name",)),
    Field.of(
        "trade_date", "date", "date", "datetime", "timestamp",
        rare=("observationdate", "time", "day", "unnamed:0", "indexlevel0", "index", ""),
    ),
    Field.of("open", "number", rare=("pxopen", "openprice")),
    Field.of("high", "number", rare=("pxhigh", "highprice")),
    Field.of("low", "number", rare=("pxlow", "lowprice")),
    Field.of(
        "close", "number", fallbacks=("price", "closingprice", "closeprice"),
        rare=("close/last", "pxlast", "last", "lastprice", "value"),
    ),
    Field.of("adjusted_close", "number", "adjclose"),
    Field.of("volume", "number", "vol", rare=("pxvolume", "tickvol")),
    Field.of("currency", "text", "ccy"),
)  # fmt: skip
"""The fields of daily prices."""
FIELDS = ("open", "high", "low", "close", "adjusted_close", "volume")
FIRST_DATE = np.datetime64("1800-01-01")
"""No market has prices before it: an earlier date is one that was read wrongly, as at ingest."""
_FIELD_OF = {alias: field.name for field in PRICE_FIELDS for alias in (*field.aliases, *field.fallbacks)}


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    values: NDArray[Any]
    zone: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    columns: Mapping[str, _Column]
    index: _Column | None
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class InstrumentRows:
    """The bars of one instrument: its dates, shape (n,), and `FIELDS`, shape (6, n)."""

    name: str
    days: DateVector
    values: Float64Matrix


def read_instruments(prices: Prices, instrument_id: str) -> list[InstrumentRows]:
    """Return the bars of a frame, at least one instrument's; see `PriceBars.from_frame`."""
    parts = [part for table in _tables(prices, instrument_id) for part in _instruments(table)]
    if not parts:
        raise InputRefusedError(f"{instrument_id}: there are no rows; give prices with at least one")
    return parts


def _tables(prices: Any, name: str) -> list[_Table]:
    if isinstance(prices, np.ndarray) and prices.dtype.names:
        prices = {field: prices[field] for field in prices.dtype.names}
    if isinstance(prices, tuple) and len(prices) == 2:
        prices = dict(zip(("trade_date", "close"), prices, strict=True))
    if isinstance(prices, Mapping):
        return [_Table({str(key): _Column(np.asarray(values)) for key, values in prices.items()}, None, name)]
    if getattr(getattr(prices, "columns", None), "nlevels", 1) == 2:
        return _two_level_tables(prices, name)
    return [_frame_table(prices, name)]


def _two_level_tables(frame: Any, name: str) -> list[_Table]:
    """Return a table per ticker of a frame whose columns are pairs of field and ticker, in either order."""
    index = _index_column(frame)
    by_ticker: dict[str, dict[str, _Column]] = {}
    for pair in frame.columns:
        field, ticker = pair if normalize_name(str(pair[0])) in _FIELD_OF else reversed(pair)
        by_ticker.setdefault(str(ticker), {})[str(field)] = _series_column(frame[pair])
    if len(by_ticker) == 1:
        return [_Table(columns, index, ticker or name) for ticker, columns in by_ticker.items()]
    return [_Table(*_without_empty_rows(columns, index), ticker) for ticker, columns in by_ticker.items()]


def _without_empty_rows(
    columns: Mapping[str, _Column], index: _Column | None
) -> tuple[dict[str, _Column], _Column | None]:
    """Leave out the sessions of other tickers, on which this one has no bar at all."""
    numbers = [column.values for column in columns.values() if column.values.dtype.kind == "f"]
    is_bar = ~np.isnan(numbers).all(axis=0) if numbers else np.array(True)
    kept = {name: _Column(column.values[is_bar], column.zone) for name, column in columns.items()}
    return kept, None if index is None else _Column(index.values[is_bar], index.zone)


def _frame_table(prices: Any, name: str) -> _Table:
    import narwhals as nw  # noqa: PLC0415 -- only those with frames need it

    if getattr(getattr(prices, "index", None), "nlevels", 1) > 1:
        prices = prices.reset_index()
    try:
        frame = nw.from_native(prices, eager_only=True, allow_series=True)
    except (TypeError, ValueError) as error:
        raise InputRefusedError(
            f"{name}: prices cannot be read ({str(error).splitlines()[0]}); give a frame or series of pandas or "
            "polars, an Arrow table, or {'date': dates, 'close': closes} of numpy arrays"
        ) from error
    if isinstance(frame, nw.Series):
        own = frame.name if isinstance(frame.name, str) else ""
        field = _FIELD_OF.get(normalize_name(own))
        label = "close" if field in {None, "close", "adjusted_close"} else own
        is_named = bool(own) and field is None and name == UNNAMED
        return _Table({label: _series_column(frame)}, _index_column(prices), own if is_named else name)
    return _Table({column: _series_column(frame[column]) for column in frame.columns}, _index_column(prices), name)


def _index_column(native: Any) -> _Column | None:
    index = getattr(native, "index", None)
    return None if index is None or not hasattr(index, "to_series") else _series_column(index.to_series())


def _series_column(series: Any) -> _Column:
    import narwhals as nw  # noqa: PLC0415 -- only those with frames need it

    column = nw.from_native(series, series_only=True, pass_through=False)
    zone = getattr(column.dtype, "time_zone", None)
    if zone is not None:
        column = column.dt.replace_time_zone(None)
    elif column.dtype.is_numeric():
        column = column.cast(nw.Float64) if column.is_null().any() or column.dtype.is_decimal() else column
    return _Column(column.to_numpy(), zone)


def _instruments(table: _Table) -> Iterator[InstrumentRows]:
    from prometheus.market.frame_texts import numbers_of_texts  # noqa: PLC0415 -- only those with frames need it
    from prometheus.market.written import is_ticker  # noqa: PLC0415 -- as above

    found = _find_fields(table)
    others = table.columns.keys() - found.values()
    if others and found.keys() <= {"trade_date"} and all(map(is_ticker, others)):
        for wide in _wide_tables(table, found):
            yield from _instruments(wide)
        return
    texts = numbers_of_texts(
        table.name, {found[name]: table.columns[found[name]].values for name in FIELDS if name in found}
    )
    table = replace(table, columns={**table.columns, **{label: _Column(values) for label, values in texts.items()}})
    days = _days(*_date_column(table, found))
    names = _names(table, found, len(days))
    if "close" not in found:
        listed = ", ".join(repr(name) for name in [*table.columns][:30]) or "no column"
        raise InputRefusedError(
            f"{table.name}: no column 'close'; found {listed}. Rename the closes, and put several instruments below "
            "each other with a column 'ticker'"
        )
    numbers = {name: _numbers(table, found[name], days, name) for name in FIELDS if name in found}
    if "high" in numbers and "low" in numbers:
        fault = "the high is below the low; correct the row or leave it out"
        _refuse_first(numbers["high"] < numbers["low"], table.name, found["high"], fault, numbers["high"], days)
    for name in dict.fromkeys(names.tolist()):
        rows = np.flatnonzero(names == name)
        _require_order(str(name), rows, days[rows], found.get("trade_date", "index"))
        yield InstrumentRows(str(name), days[rows], _values(numbers, rows))


def _wide_tables(table: _Table, found: Mapping[str, str]) -> Iterator[_Table]:
    """Yield a table per column of closes; the user's name for prices is that of the only one."""
    dates = {label: table.columns[label] for label in found.values()}
    tickers = [label for label in table.columns if label not in dates]
    for ticker in tickers:
        columns, index = _without_empty_rows({**dates, "close": table.columns[ticker]}, table.index)
        yield _Table(columns, index, table.name if len(tickers) == 1 and table.name != UNNAMED else ticker)


def _find_fields(table: _Table) -> dict[str, str]:
    """Return the column of each field that has one; rare names count where dates or closes have no other."""
    found = _match(table, [replace(field, rare=frozenset()) for field in PRICE_FIELDS])
    is_indexed = table.index is not None and table.index.values.dtype.kind in "MOUT"
    return found if "close" in found and ("trade_date" in found or is_indexed) else _match(table, PRICE_FIELDS)


def _match(table: _Table, fields: Sequence[Field]) -> dict[str, str]:
    names, found = list(table.columns), {}
    for field in fields:
        hits = field.find(names)
        own = [at for at in hits if normalize_name(names[at]) == normalize_name(field.name)]
        if len(own or hits) > 1:
            first, second = (names[at] for at in (own or hits)[:2])
            raise InputRefusedError(
                f"{table.name}: columns {first!r} and {second!r} both mean {field.name}; remove or rename one"
            )
        if hits:
            found[field.name] = names[(own or hits)[0]]
    return found


def _date_column(table: _Table, found: Mapping[str, str]) -> tuple[str, str, _Column]:
    """Look at an index of dates, then a column, then an index of texts."""
    index, column = table.index, found.get("trade_date")
    if index is not None and (index.values.dtype.kind == "M" or (column is None and index.values.dtype.kind in "OUT")):
        return table.name, "index", index
    if column is not None:
        return table.name, column, table.columns[column]
    if index is None:
        raise InputRefusedError(f"{table.name}: no column 'date'; give each close its date")
    first = f", the first is {index.values[0]!s}" if len(index.values) else ""
    raise InputRefusedError(
        f"{table.name}, column 'index', row 0: the index holds no dates ({index.values.dtype}{first}); "
        "set it to dates, or give a column 'date'"
    )


def _days(name: str, label: str, column: _Column) -> DateVector:
    values = column.values
    if values.dtype.kind in "OUTi" or values.dtype.kind == "u":
        values = _parsed(name, label, values)
    if values.dtype.kind != "M":
        raise InputRefusedError(f"{name}, column {label!r}, row 0: {values.dtype} is no date; write YYYY-MM-DD")
    _refuse_first(np.isnat(values), name, label, "the date is missing; leave the row out")
    days: DateVector = values.astype("M8[D]")
    if column.zone is not None:
        fault = f"an instant within a day of {column.zone}; resample to daily bars, or give the dates of sessions alone"
        _refuse_first(values != days, name, label, fault, values)
    fault = "no market has prices from before 1800; give dates, not numbers of days or seconds"
    _refuse_first(days < FIRST_DATE, name, label, fault, days)
    return days


def _parsed(name: str, label: str, values: NDArray[Any]) -> NDArray[np.datetime64]:
    """Read texts, numbers such as 20240102, and dates as Python has them."""
    from prometheus.market.frame_texts import dates_of_texts, stamp_of  # noqa: PLC0415 -- only those with frames need it

    values = dates_of_texts(name, label, values)
    days = np.empty(len(values), dtype="M8[D]")
    for row, value in enumerate(values.tolist()):
        stamp = stamp_of(value)
        if stamp is None:
            raise InputRefusedError(f"{name}, column {label!r}, row {row}: {value!r} is no date; write YYYY-MM-DD")
        if stamp.tzinfo is not None and stamp.time() != time():
            raise InputRefusedError(
                f"{name}, column {label!r}, row {row}: {value!s} is an instant within a day; resample to daily bars, "
                "or give the dates of sessions alone"
            )
        days[row] = stamp.date()
    return days


def _names(table: _Table, found: Mapping[str, str], n_rows: int) -> NDArray[Any]:
    if "instrument_id" not in found:
        return np.full(n_rows, table.name, dtype=object)
    label = found["instrument_id"]
    names = table.columns[label].values.astype(object)
    is_text = np.array([isinstance(value, str) and bool(value) for value in names.tolist()], dtype=bool)
    _refuse_first(~is_text, table.name, label, "names no instrument; give its id as a text")
    return names


def _numbers(table: _Table, label: str, days: DateVector, field: str) -> Float64Vector:
    """Return a column as float64, sound: only an open, a high, a low or a volume may be missing."""
    column, name = table.columns[label].values, table.name
    if column.dtype.kind == "O":
        is_number = [isinstance(value, int | float | Decimal | np.number) or value is None for value in column.tolist()]
        is_sound = np.array(is_number, dtype=bool)
        _refuse_first(~is_sound, name, label, "no number; convert the column to float", column, days)
        column = np.array([np.nan if value is None else float(value) for value in column.tolist()])
    elif column.dtype.kind not in "fiu":
        everywhere = np.ones(len(column), dtype=bool)
        _refuse_first(
            everywhere, name, label, f"{column.dtype} is no number; convert the column to float", column, days
        )
    if column.shape != days.shape:
        raise InputRefusedError(f"{name}, column {label!r}: shape {column.shape} against {len(days)} dates")
    values: Float64Vector = column.astype(np.float64)
    is_missing = np.isnan(values)
    if field in {"close", "adjusted_close"}:
        _refuse_first(is_missing, name, label, "the price is missing; leave the row out or fill it", None, days)
    _refuse_first(np.isinf(values), name, label, "not a finite number; leave the row out", values, days)
    if field == "volume":
        _refuse_first(values < 0, name, label, "a volume cannot be negative", values, days)
    else:
        _refuse_first(
            values <= 0, name, label, "a price must be above 0; correct it or leave the row out", values, days
        )
    return np.where(is_missing, np.nan, values)  # one NaN, so that equal prices have equal hashes


def _values(numbers: Mapping[str, Float64Vector], rows: Int64Vector) -> Float64Matrix:
    absent = np.full(len(rows), np.nan)
    taken = {name: column[rows] for name, column in numbers.items()}
    taken.setdefault("adjusted_close", taken["close"])
    return np.stack([taken.get(name, absent) for name in FIELDS])


def _require_order(name: str, rows: Int64Vector, days: DateVector, label: str) -> None:
    steps = np.diff(days)
    for is_bad, fault in (
        (steps == np.timedelta64(0, "D"), "the date stands there twice; keep one row per session"),
        (steps < np.timedelta64(0, "D"), "comes after a later date; sort the rows by date"),
    ):
        at = np.flatnonzero(is_bad)
        if len(at):
            raise InputRefusedError(f"{name}, column {label!r}, row {rows[at[0] + 1]}, {days[at[0] + 1]}: {fault}")


def _refuse_first(
    is_bad: NDArray[np.bool_],
    name: str,
    label: str,
    fault: str,
    values: Sequence[Any] | NDArray[Any] | None = None,
    days: DateVector | None = None,
) -> None:
    if not is_bad.any():
        return
    row = int(is_bad.argmax())
    day = "" if days is None or row >= len(days) else f", {days[row]}"
    value = "" if values is None else f"{str(values[row])[:60]}: "
    raise InputRefusedError(f"{name}, column {label!r}, row {row}{day}: {value}{fault}")
