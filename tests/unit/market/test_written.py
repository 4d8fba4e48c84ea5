import pytest

from prometheus.market.written import DateEvidence, DateStyle, NumberEvidence, NumberForm, NumberStyle, is_missing


def form_of(*texts: str, prefers_point: bool = True, decimal: str | None = None) -> NumberForm | str:
    evidence = NumberEvidence(prefers_point, decimal)
    evidence.add("close", texts)
    doubt = evidence.doubt()
    return evidence.form() if doubt is None else doubt.text


@pytest.mark.parametrize(
    ("texts", "form"),
    [
        (("1", "2.5"), NumberForm()),
        (("1.234", "2.345"), NumberForm()),
        (("1,5", "2,25"), NumberForm(",")),
        (("1,234.5", "2"), NumberForm(".", ",")),
        (("1,234,567",), NumberForm(".", ",")),
        (("1.234,5", "12"), NumberForm(",", ".")),
        (("1'234.5",), NumberForm(".", "'")),
        (("1\u2019234,5",), NumberForm(",", "'")),
        (("1 234,5", "1\u00a0234\u00a0567,5"), NumberForm(",", " ")),
        (("0,123", "0,456"), NumberForm(",")),
        (("1,234",), "1,234"),
        (("1500.2", "1,234"), NumberForm(".", ",")),
        (("1500,2", "1.234"), NumberForm(",", ".")),
        (("12", "n/a", ""), NumberForm()),
    ],
)
def test_the_form_of_a_table_is_the_one_that_its_numbers_fit(texts: tuple[str, ...], form: NumberForm | str) -> None:
    assert form_of(*texts) == form


def test_beside_semicolons_a_point_may_group_thousands() -> None:
    assert form_of("1.234", "2.345", prefers_point=False) == "1.234"
    assert form_of("1.234", "2.34", prefers_point=False) == NumberForm()
    assert form_of("1.234", decimal=",", prefers_point=False) == NumberForm(",", ".")


def test_a_sign_or_letter_of_one_cell_alone_is_not_taken_for_meant() -> None:
    evidence = NumberEvidence(prefers_point=True)
    evidence.add("close", ["$1.5", "2.5"])
    evidence.add("open", ["$1.5", "$2.5"])
    evidence.add("volume", ["1.2B", "3M", "-"])
    evidence.add("high", ["1.2B", "3", "4"])
    styles = evidence.styles()
    assert [styles["close"].plain(text) for text in ("$1.5", "2.5")] == ["$1.5", "2.5"]
    assert [styles["open"].plain(text) for text in ("$1.5", "-")] == ["1.5", None]
    assert [styles["volume"].plain(text) for text in ("1.2B", "3m", "12", "x")] == ["1200000000", "3000000", "12", "x"]
    assert styles["high"].plain("1.2B") == "1.2B"


def test_multiples_keep_every_digit() -> None:
    style = NumberStyle(NumberForm(), has_multiples=True)
    assert [style.plain(text) for text in ("987.65K", "0.001234T", "1e3K")] == ["987650", "1234000000", "1000000"]


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (("2024-01-02", "20240103", "01/02/2024"), "iso"),
        (("01/02/2024", "13/02/2024"), "day first"),
        (("01/02/2024", "02/13/2024"), "month first"),
        (("1.2.24", "31.1.24"), "day first"),
        (("05/05/2024",), "day first"),
        (("2024.01.02",), "YYYY.MM.DD"),
        (("Jan 2, 2024", "Tue, 02 Jan 2024"), "month by name"),
        (("1704153600",), "epoch"),
        (("soon",), "iso"),
    ],
)
def test_the_order_of_a_column_is_the_one_that_its_dates_fit(texts: tuple[str, ...], kind: str) -> None:
    evidence = DateEvidence()
    evidence.add(texts)
    assert evidence.doubt() is None
    assert evidence.style() == DateStyle(kind)


@pytest.mark.parametrize(
    ("kind", "text", "iso"),
    [
        ("day first", "31-12-69", "1969-12-31"),
        ("day first", "31-12-68", "2068-12-31"),
        ("day first", "31.02.2024", "31.02.2024"),
        ("month first", "1/2/2024 4:00:00 PM", "2024-01-02"),
        ("month by name", "2-Foo-2024", "2-Foo-2024"),
        ("epoch", "-631152000", "1950-01-01 00:00:00+00:00"),
        ("epoch", "1704204000000", "2024-01-02 14:00:00+00:00"),
        ("epoch", "1704204000000000000", "2024-01-02 14:00:00+00:00"),
    ],
)
def test_dates_become_iso_or_stay_as_they_are(kind: str, text: str, iso: str) -> None:
    assert DateStyle(kind).iso(text) == iso


def test_day_and_month_that_cannot_be_told_apart_are_a_doubt() -> None:
    evidence = DateEvidence()
    evidence.add(["05/05/2024", "01/02/2024"])
    assert str(evidence.doubt()) == (
        "'01/02/2024' may be 1 February 2024 (%d/%m/%Y) or 2 January 2024 (%m/%d/%Y), and no other date tells which, "
        "as none has a day after the 12th; say --date-format '%d/%m/%Y' or --date-format '%m/%d/%Y'"
    )


@pytest.mark.parametrize("text", ["", " ", "NULL", "#N/A N/A", ".", "-", "\u2014"])
def test_words_for_no_value(text: str) -> None:
    assert is_missing(text)
