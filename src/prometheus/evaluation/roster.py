"""Which labellers are compared by default, and which of them this installation lacks."""

from __future__ import annotations

from importlib.util import find_spec

from prometheus.evaluation.labeller import DEFAULT_SPAN, Labeller
from prometheus.evaluation.peers import GaussianHmm, MarkovSwitching, StatisticalJump
from prometheus.evaluation.rules import (
    V1Labeller,
    ewma_volatility_rule,
    holding,
    moving_average_rule,
    realized_volatility_rule,
)


def rule_labellers(span: int = DEFAULT_SPAN) -> list[Labeller]:
    """Return holding, the three rules and ``num-regime-core-v1``; they need no extra."""
    return [
        holding(span),
        realized_volatility_rule(span),
        ewma_volatility_rule(span),
        moving_average_rule(span),
        V1Labeller(span=span),
    ]


def peer_labellers(span: int = DEFAULT_SPAN) -> list[Labeller]:
    """Return the models of other libraries that are installed."""
    peers: tuple[Labeller, ...] = (GaussianHmm(span=span), MarkovSwitching(span=span), StatisticalJump(span=span))
    return [peer for peer in peers if find_spec(peer.name) is not None]


def missing_peers() -> list[str]:
    """Return the libraries of the extra ``evaluation`` that are not installed.

    hmmlearn has no wheels for Linux on ARM nor for Python 3.14, and is not asked for there.
    """
    return [name for name in ("hmmlearn", "statsmodels", "jumpmodels") if find_spec(name) is None]
