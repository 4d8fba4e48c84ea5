"""What texts add to forecasts of volatility, on stored prices and stored texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from prometheus.app.judged_markets import SetAside, load_judged_market
from prometheus.app.text_models import TextModels
from prometheus.app.wiring import UseCase
from prometheus.encoders.texts.documents import INSTRUMENT, TEXT_TABLES, TextSelection, TextSourceType
from prometheus.errors import UsageError, no_text_embeddings
from prometheus.evaluation.stories import Stories
from prometheus.evaluation.text_gains import LEVEL, N_PLACEBOS, Gain, gains_of, judge_texts
from prometheus.evaluation.text_volatility import FIRST_FIT, JudgedSpan


@dataclass(frozen=True, slots=True)
class TextEvaluationRequest:
    """Instruments with linked texts of one source; a model of None is the newest that has vectors of them.

    A text counts from the date on which it became known, in `timezone`.
    """

    instrument_ids: tuple[str, ...]
    source: TextSourceType = "NEWS"
    model_id: str | None = None
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if not self.instrument_ids:
            raise UsageError("name an instrument: --instrument-id ID")


@dataclass(frozen=True, slots=True)
class JudgedTextSpan:
    """The sessions of one instrument that forecasts were made on, and its texts."""

    instrument_id: str
    first: date
    last: date
    n_sessions: int
    n_texts: int
    n_without_vector: int
    set_aside: SetAside

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "instrument_id": self.instrument_id, "first": str(self.first), "last": str(self.last),
            "n_sessions": self.n_sessions, "n_texts": self.n_texts, "n_without_vector": self.n_without_vector,
            **self.set_aside.to_dict(),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class TextEvaluationReport:
    """What each set of text features added to HAR, instrument by instrument, and what it was tried on."""

    request: TextEvaluationRequest
    model_id: str
    spans: tuple[JudgedTextSpan, ...]
    gains: tuple[Gain, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "source": self.request.source, "model_id": self.model_id, "timezone": self.request.timezone,
            "spans": [each.to_dict() for each in self.spans], "gains": [each.to_dict() for each in self.gains],
        }  # fmt: skip

    def found(self) -> tuple[Gain, ...]:
        """Return the gains that are sure."""
        return tuple(each for each in self.gains if each.is_found)

    def lines(self) -> Iterator[str]:
        """Yield what is said before the table, and after it."""
        for each in self.spans:
            without = f", {each.n_without_vector:,} without a vector" if each.n_without_vector else ""
            yield (
                f"{each.instrument_id}: {each.n_sessions:,} sessions judged from {each.first} to {each.last}, "
                f"{each.n_texts:,} {self.request.source} texts by {self.model_id}{without}"
            )
            if each.set_aside.left_out:
                yield f"{each.instrument_id}: bars left out as wrong: {', '.join(map(str, each.set_aside.left_out))}"

    def verdict(self) -> str:
        """Return what comes out, in words."""
        found = self.found()
        if found:
            named = ", ".join(f"{each.features} of {each.instrument_id}, {each.horizon} ahead" for each in found)
            return f"texts help: {named}"
        seen = sorted(each.least_seen for each in self.gains)
        return (
            f"no set of features is found to help, at {LEVEL:.0%} over {len(self.gains)} tests and {N_PLACEBOS} "
            f"placebos; the smallest true R2 gain that would have been seen is {seen[0]:.4f} to {seen[-1]:.4f}, by test"
        )


class EvaluateTexts(UseCase):
    """Judges texts as a further source of forecasts; nothing is written."""

    def evaluate(self, request: TextEvaluationRequest) -> TextEvaluationReport:
        """Walk the declared grid on each instrument.

        InputRefusedError: no text concerns an instrument, or its texts span too few sessions. NotFoundError: it has no
        prices, or its texts have no vectors.
        """
        model_id = request.model_id or TextModels(self._wired).newest(request.source)
        if model_id is None:
            raise no_text_embeddings([request.source])
        spans, judged = [], []
        names = tuple(dict.fromkeys(request.instrument_ids))
        loaded = [self._load(name, request, model_id) for name in names]
        for n_done, (span, of_span) in enumerate(loaded):
            self._wired.progress(n_done, len(loaded))
            judged.append(judge_texts(span))
            spans.append(of_span)
        return TextEvaluationReport(request, model_id, tuple(spans), gains_of(judged))

    def _load(self, name: str, request: TextEvaluationRequest, model_id: str) -> tuple[JudgedSpan, JudgedTextSpan]:
        market = load_judged_market(self._wired, name)
        stories = self._stories(name, request, model_id)
        span = JudgedSpan.of(market.known_on(market.bars.dates[-1]), stories)
        first, last = span.dates[[FIRST_FIT, -1]].tolist()
        n_without = int(np.isnan(stories.vectors).any(axis=1).sum())
        set_aside = SetAside.of(market, span.dates[0].item(), last)
        n_judged = len(span) - FIRST_FIT
        return span, JudgedTextSpan(name, first, last, n_judged, len(stories.days), n_without, set_aside)

    def _stories(self, name: str, request: TextEvaluationRequest, model_id: str) -> Stories:
        source = request.source
        self._wired.texts.require_known(TEXT_TABLES[source].name, {INSTRUMENT: name})
        days = self._wired.concerned_texts.known_days(source, name, request.timezone)
        wanted = TextSelection(
            source, model_id, {INSTRUMENT: name}, request.timezone, known_by=date.max, every_version=True
        )
        pages = list(self._wired.daily_texts.iter_rows(wanted, date.min, date.max))
        if not pages:
            raise no_text_embeddings([source], model_id)
        rows = np.concatenate(pages)
        found = np.ascontiguousarray(rows["vector"]).view("<f4").reshape(len(rows), -1)
        ids = sorted(days, key=lambda each: (days[each], each))
        place = {text_id: at for at, text_id in enumerate(ids)}
        vectors = np.full((len(ids), found.shape[1]), np.nan, dtype=np.float32)
        vectors[[place[text_id] for text_id in rows["text_id"].tolist()]] = found
        return Stories(np.array([days[each] for each in ids], dtype="M8[D]"), vectors)
