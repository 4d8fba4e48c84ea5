"""Alerts of any history: every change and crossing once, whatever pieces it comes in, and never an inner address."""

from __future__ import annotations

import ipaddress
from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prometheus.alerts.addresses import is_public, parse_address
from prometheus.regime import RegimeLabel
from prometheus.regime.alerts import MOST_DETAIL, Alert, AlertKind, Reading, alerts_in, changes_in

LABELS = [label.name for label in RegimeLabel]
PROBABILITIES = st.one_of(st.none(), st.floats(0, 1), st.sampled_from([0.25, 0.5]))
LEVELS = st.sets(st.tuples(st.sampled_from(["high_volatility", "confidence", "CRISIS"]), st.sampled_from([0.25, 0.5])))
INNER = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "0.0.0.0/8", "100.64.0.0/10"]
INNER_6 = ["::1/128", "::/128", "fe80::/10", "fc00::/7", "ff00::/8"]


@st.composite
def histories(draw: st.DrawFn) -> list[Reading]:
    rows = draw(
        st.lists(st.tuples(st.sampled_from(LABELS[:2]), st.floats(0, 1), PROBABILITIES, st.booleans()), max_size=30)
    )
    return [
        Reading(
            date(2024, 1, 1) + timedelta(days=n),
            label,
            confidence,
            high,
            {"CRISIS": confidence},
            "why" if held else None,
        )
        for n, (label, confidence, high, held) in enumerate(rows)
    ]


@given(histories(), LEVELS, st.data())
def test_a_history_in_pieces_alerts_of_the_same_as_a_whole_one(
    readings: list[Reading], levels: set[tuple[str, float]], data: st.DataObject
) -> None:
    whole = list(alerts_in("US", "m", readings, levels))
    cut = data.draw(st.integers(0, max(len(readings) - 1, 0)))
    pieces = [*alerts_in("US", "m", readings[: cut + 1], levels), *alerts_in("US", "m", readings[cut:], levels)]

    assert pieces == whole
    assert len({alert.key for alert in whole}) == len(whole)
    assert [alert.as_of_date for alert in whole] == sorted(alert.as_of_date for alert in whole)
    changes = changes_in("US", "m", readings)
    assert [alert.as_of_date for alert in whole if alert.kind == "change"] == [each.as_of_date for each in changes]


@given(histories(), LEVELS)
def test_a_level_is_told_when_it_is_crossed_and_at_no_other_time(
    readings: list[Reading], levels: set[tuple[str, float]]
) -> None:
    crossed = set()
    for then, now in pairwise(readings):
        for of, level in levels:
            before, after = then.probability(of), now.probability(of)
            if before is not None and after is not None and (before >= level) != (after >= level):
                crossed.add((now.as_of_date, f"{of} {'above' if after >= level else 'below'} {level:g}"))
    told = [each for each in alerts_in("US", "m", readings, levels) if each.kind == AlertKind.PROBABILITY]
    assert {(each.as_of_date, each.detail) for each in told} == crossed
    assert len(told) == len(crossed)


@given(st.text(max_size=600), st.text(max_size=50))
def test_whatever_a_message_holds_it_can_be_stored_and_printed(text: str, region: str) -> None:
    alert = Alert(AlertKind.FAILED, region, "", date(2024, 1, 1), text, text)
    assert alert.text.isprintable()
    assert alert.detail.isprintable()
    assert len(alert.detail) <= MOST_DETAIL
    assert alert.key == Alert(AlertKind.FAILED, region, "", date(2024, 1, 1), text, "other words").key


@given(st.sampled_from(INNER).flatmap(lambda net: st.ip_addresses(network=net)))
def test_an_inner_address_is_not_public_in_any_spelling(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    spellings = [
        str(address), f"::ffff:{address}", f"64:ff9b::{address}",
        str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80))),
    ]  # fmt: skip
    assert [is_public(each) for each in spellings] == [False] * 4


@given(st.sampled_from(INNER_6).flatmap(lambda net: st.ip_addresses(network=net)))
def test_nor_is_one_of_ipv6(address: ipaddress.IPv6Address) -> None:
    assert not is_public(str(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_others_are(address: str) -> None:
    assert is_public(address)


NAMES = st.sampled_from(
    ["token", "access_token", "api_key", "apikey", "X-Auth", "signature", "password", "Secret", "sig"]
)


@given(NAMES, st.text("abc123", max_size=8), st.sampled_from(["http", "https"]))
def test_a_secret_in_an_address_is_refused_and_not_repeated(name: str, value: str, scheme: str) -> None:
    with pytest.raises(ValueError, match="holds a secret in") as refused:
        parse_address(f"{scheme}://hooks.example/a?x=1&{name}=hunter2{value}")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ftp://hooks.example/a", "not http"),
        ("file:///etc/passwd", "not http"),
        ("hooks.example/a", "not http"),
        ("https://", "not http"),
        ("https://quant:hunter2@hooks.example/a", "a user or a password"),
        ("https://hunter2@hooks.example/a", "a user or a password"),
        ("https://hooks.example/a b", "spaces or letters"),
        ("https://hooks.example/a\r\nX: y", "spaces or letters"),
        ("https://hooks.example:99999/a", "Port out of range"),
        ("https://[::1/a", "Invalid IPv6"),
    ],
)
def test_what_is_no_webhook_is_named(address: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        parse_address(address)
    assert "hunter2" not in str(refused.value)
