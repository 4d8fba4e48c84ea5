from pathlib import Path

import pytest

from prometheus.encoders.texts.direction import Ask, agreement, asked_direction, main_way, told_directions

PAIRS = [
    tuple(part.strip() for part in line.split("|"))
    for line in (Path(__file__).parent / "direction_pairs.txt").read_text(encoding="utf-8").splitlines()
]


def asked(question: str) -> Ask:
    found = asked_direction(question)
    assert found is not None
    return found


def agreed(question: str, text: str) -> int:
    return agreement(told_directions(text, asked(question)), asked(question))


def test_minimal_pairs_are_told_apart() -> None:
    found = [[agreed(question, text) for text in pair] for question, *pair in PAIRS]
    n_wrong = sum(right < 0 or wrong > 0 for right, wrong in found)
    n_right = sum(right > wrong for right, wrong in found)

    assert len(set(PAIRS)) == len(PAIRS) >= 200
    assert n_wrong <= 0.01 * len(PAIRS)
    assert n_right >= 0.98 * len(PAIRS)


@pytest.mark.parametrize(
    ("question", "way", "head"),
    [
        ("spreads of high-yield bonds widened", "up", "spread"),
        ("the Bank cut rates", "down", "rate"),
        ("the Fed\u2019s rates were not raised", "unchanged", "rate"),
        ("falling house prices", "down", "price"),
        ("CREDIT SPREADS TIGHTEN", "down", "spread"),
        ("banks tightened standards", "up", "standard"),
        ("no rate cut", "unchanged", "rate"),
    ],
)
def test_a_question_asks_for_a_way_of_a_head(question: str, way: str, head: str) -> None:
    assert (asked(question).way, asked(question).head) == (way, head)


@pytest.mark.parametrize(
    "question",
    [
        "",
        "rose",
        "credit spreads",
        "Zinsen sind gestiegen",
        "les taux montent",
        "interest on reserves",
        "deflation risk and the zero lower bound",
        "credit to lower-income families",
        "?!",
        "x" * 50_000,
    ],
)
def test_a_question_without_a_way_asks_for_none(question: str) -> None:
    assert asked_direction(question) is None


@pytest.mark.parametrize(
    ("question", "text", "told"),
    [
        ("spreads widened", "Yields fell and spreads of corporate bonds, on balance, widened.", ["up"]),
        ("spreads widened", "Spreads tightened sharply after widening in March.", ["down"]),
        ("rates fell", "Lower rates lifted prices.", ["down"]),
        ("prices rose", "Lower rates lifted prices.", ["up"]),
        ("exports fell", "Exports remained weak.", []),
        ("unemployment rose", "Unemployment was low, with gains in real income.", []),
        ("the dollar fell", "The peso strengthened against the dollar.", []),
        ("inflation rose", "Trimmed mean inflation was 1.8 percent.", []),
        ("oil prices rose", "Prices of shares rose.", ["up"]),
        ("oil prices rose", "Prices of shares rose. Oil prices fell.", ["down"]),
        ("oil prices rose", "Oil prices rose. Oil prices then fell.\n\nOil demand fell.", ["up", "down"]),
        ("oil prices fell", "Prices of clothes rose while prices of heating oil fell.", ["down"]),
        ("house prices rose", "House prices were discussed. Share prices rose.", []),
        ("house prices rose", "House prices were discussed. Prices rose.", ["up"]),
        ("the dollar rose", "The strengthening of the shekel against the dollar went on.", []),
        ("rates fell", "", []),
    ],
)
def test_what_a_text_tells_is_read_near_the_subject(question: str, text: str, told: list[str]) -> None:
    assert told_directions(text, asked(question)) == told


def test_what_most_sentences_tell_counts() -> None:
    ask = asked("rates fell")

    assert (main_way(["down", "up", "down"]), main_way(["up", "down"]), main_way([])) == ("down", None, None)
    assert agreement(["down", "up", "down"], ask) == 1
    assert agreement(["up", "unchanged", "up"], ask) == -2
    assert agreement(["up", "down"], ask) == 0
    assert agreement([], ask) == 0


@pytest.mark.parametrize(
    ("text", "way"),
    [
        ("The credit spread of high-yield bonds is narrow at 3.95 percentage points, up slightly.", "up"),
        ("The credit spread of high-yield bonds is narrow at 3.90 percentage points, down half a point.", "down"),
        ("Spreads of high-yield bonds were very narrow.", None),
        ("Spreads of high-yield bonds narrow.", "down"),
    ],
)
def test_a_level_is_no_direction(text: str, way: str | None) -> None:
    assert main_way(told_directions(text, asked("high-yield spreads narrowed"))) == way
