import pytest

from prometheus.errors import DataCheckError
from prometheus.files.columns import INSTRUMENT_FIELDS, MACRO_FIELDS, match_columns
from prometheus.market.frames import PRICE_FIELDS

REQUIRED = {"instrument_id", "trade_date", "open", "high", "low", "close", "volume"}


def names(*first_two: str) -> list[str]:
    return [*first_two, "Open", "High", "Low", "Close", "Volume"]


@pytest.mark.parametrize("instrument", ["instrument_id", "Ticker", "SYMBOL", "Instrument", "Instrument ID"])
@pytest.mark.parametrize("day", ["trade_date", "Date", "DATE", "datetime", "Timestamp", "trade date"])
def test_names_differ_in_case_spaces_and_underscores(instrument: str, day: str) -> None:
    columns = match_columns("f.csv", names(instrument, day), PRICE_FIELDS, REQUIRED)
    assert columns.source["instrument_id"] == instrument
    assert columns.position["trade_date"] == 1
    assert columns.ignored == ()


@pytest.mark.parametrize(
    "name", ["adjusted_close", "Adj Close", "adj_close", "AdjClose", "Adjusted Close", "adj-close"]
)
def test_adjusted_close_has_many_names(name: str) -> None:
    columns = match_columns("f.csv", [*names("ticker", "date"), name], PRICE_FIELDS, REQUIRED)
    assert columns.source["adjusted_close"] == name


def test_two_columns_for_one_field_are_refused_by_name() -> None:
    with pytest.raises(DataCheckError, match=r"f\.csv: columns 'ticker' and 'Symbol' both mean instrument_id"):
        match_columns("f.csv", [*names("ticker", "date"), "Symbol"], PRICE_FIELDS, REQUIRED)


def test_a_missing_column_is_named_with_those_found() -> None:
    with pytest.raises(DataCheckError, match=r"f\.csv: no column close, volume; found 'ticker', 'date', 'open'"):
        match_columns("f.csv", ["ticker", "date", "open", "high", "low"], PRICE_FIELDS, REQUIRED)


def test_a_missing_instrument_column_names_the_option() -> None:
    with pytest.raises(DataCheckError, match="--instrument-id"):
        match_columns("f.csv", names("date", "dividends"), PRICE_FIELDS, REQUIRED)


def test_unknown_columns_are_ignored_and_named() -> None:
    columns = match_columns("f.csv", [*names("ticker", "date"), "Dividends", "repaired?"], PRICE_FIELDS, REQUIRED)
    assert columns.ignored == ("Dividends", "repaired?")


def test_in_a_file_of_instruments_the_symbol_is_a_field_of_its_own() -> None:
    columns = match_columns("f.csv", ["ticker", "symbol"], INSTRUMENT_FIELDS, {"instrument_id"})
    assert columns.source == {"instrument_id": "ticker", "symbol": "symbol"}


MACRO_REQUIRED = {"event_type", "timestamp", "description"}


def match_texts(*found: str, **by_hand: str) -> dict[str, str]:
    return dict(match_columns("f.csv", found, MACRO_FIELDS, MACRO_REQUIRED, by_hand).source)


def test_texts_have_many_names_too() -> None:
    assert match_texts("Type", "Release Date", "central-bank", "TEXT", "Available_At", "currency_area") == {
        "event_type": "Type", "timestamp": "Release Date", "source": "central-bank", "description": "TEXT",
        "known_at": "Available_At", "country": "currency_area",
    }  # fmt: skip


def test_a_field_s_own_name_goes_before_other_names_for_it() -> None:
    assert match_texts("date", "timestamp", "type", "text", "Description")["timestamp"] == "timestamp"
    assert match_texts("date", "timestamp", "type", "text", "Description")["description"] == "Description"


def test_two_other_names_are_refused_with_the_way_out() -> None:
    with pytest.raises(
        DataCheckError, match=r"columns 'date' and 'time' both mean timestamp; .* --column timestamp=time"
    ):
        match_texts("date", "time", "type", "text")
    assert match_texts("date", "time", "type", "text", timestamp="time")["timestamp"] == "time"


def test_a_column_named_by_hand_serves_no_other_field_by_its_name() -> None:
    found = match_texts("when", "event", "type", timestamp="When", description="event")
    assert found == {"timestamp": "when", "description": "event", "event_type": "type"}


@pytest.mark.parametrize(
    ("found", "by_hand", "says"),
    [
        (("type", "date", "text"), {"country": "land"}, r"no column 'land', named for country; found 'type', 'date'"),
        (("type", "date", "text", "A b", "a_b"), {"country": "ab"}, r"2 columns 'ab', named for country"),
        (("type", "text"), {}, r"no column timestamp; .*--column timestamp=NAME"),
        (("date", "text"), {}, r"no column event_type; .*--event-type, or its column with --column event_type=NAME"),
    ],
)
def test_a_column_that_cannot_be_told_is_named(found: tuple[str, ...], by_hand: dict[str, str], says: str) -> None:
    with pytest.raises(DataCheckError, match=says):
        match_texts(*found, **by_hand)
