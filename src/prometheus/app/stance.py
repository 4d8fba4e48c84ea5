"""The stance of policy texts: a head fitted on the user's labels, its readings stored, and what they say by a date."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from prometheus.app.backfills import BackfillCase, noting
from prometheus.app.text_models import MEAN, open_text_model
from prometheus.app.wiring import Wiring
from prometheus.arrays import Float32Matrix
from prometheus.backfill.plan import text_chunks
from prometheus.backfill.stance import StanceBackfill, StanceReport
from prometheus.backfill.work import BackfillRun, run_of_nothing
from prometheus.data.settled import EVERY_PERIOD, Settled, SettledWork, digest_of, load_marks
from prometheus.data.stance import StanceTable
from prometheus.encoders.identity import fingerprint, model_config
from prometheus.encoders.stance.head import KIND, StanceHead, fit_heads, head_config
from prometheus.encoders.stance.judged import judge
from prometheus.encoders.stance.labels import LabelledSentences, checked_meanings, sentences_of
from prometheus.encoders.stance.shares import DESCRIBES, DocumentStance, StanceCounts
from prometheus.encoders.texts.documents import ANY_TEXT, TEXT_TABLES, TextDoc, TextFilters, TextSourceType
from prometheus.errors import ModelFingerprintError, NotFoundError, UsageError
from prometheus.protocols import TextEmbeddingModel

logger = logging.getLogger(__name__)

YEAR_BEFORE = timedelta(days=365)
SENTENCES_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class FitRequest:
    """Labelled files, and the id that the head is to be stored under.

    `columns` say which column holds a field, `meanings` what a label means. Without a `sureness` half of the labelled
    sentences are sure.
    """

    files: tuple[Path, ...]
    model_id: str
    columns: Mapping[str, str] = field(default_factory=dict)
    meanings: Mapping[str, str] = field(default_factory=dict)
    sureness: float | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        if not self.model_id.strip() or not self.model_id.isprintable():
            raise UsageError(f"--model-id {self.model_id[:40]!r} names nothing; give a name such as stance-v1")
        if self.sureness is not None and not 1 / 3 < self.sureness < 1:
            raise UsageError(f"--sureness {self.sureness}: choose a probability above 1/3 and below 1")
        checked_meanings(self.meanings)


@dataclass(frozen=True, slots=True)
class FitReport:
    """A stored head: whether it `is_new`, what it was fitted on, and the figures of its cross-validation."""

    model_id: str
    is_new: bool
    labels_until: date | None
    sureness: float
    temperature: float
    figures: Mapping[str, Any]
    read: str
    warning: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        until = None if self.labels_until is None else str(self.labels_until)
        return {
            "model_id": self.model_id, "new": self.is_new, "labels_until": until, "sureness": self.sureness,
            "temperature": self.temperature, "read": self.read, "warning": self.warning or None, **self.figures,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class StanceSeries:
    """The stance of texts known on a date, by date; those up to `labels_until` are in-sample, all of them if None."""

    model_id: str
    as_of_date: date
    labels_until: date | None
    rows: tuple[DocumentStance, ...]

    def is_in_sample(self, row: DocumentStance) -> bool:
        """Return whether a text lies in the span of the labels."""
        return self.labels_until is None or row.day <= self.labels_until

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "model_id": self.model_id, "as_of_date": str(self.as_of_date),
            "labels_until": None if self.labels_until is None else str(self.labels_until), "note": DESCRIBES,
            "items": [{**row.to_dict(), "in_sample": self.is_in_sample(row)} for row in self.rows],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class DayStance:
    """The stance of all macro texts of a day, and the median net of the dates of the year before it, if any."""

    model_id: str
    day: date
    counts: StanceCounts
    n_texts: int
    median_before: float | None
    n_before: int
    is_in_sample: bool

    def describe(self) -> str:
        """Return it in words."""
        net = "" if self.counts.net is None else f"; net {self.counts.net:+.2f}"
        before = ""
        if self.median_before is not None:
            before = f", median of the year before {self.median_before:+.2f} ({self.n_before} with a stance)"
        mark = " (in-sample)" if self.is_in_sample else ""
        return f"Stance of the texts of {self.day}{mark}: {self.counts.describe()}{net}{before}. {DESCRIBES}"


@dataclass(frozen=True, slots=True)
class StanceNight:
    """What a nightly run read of one kind of text with one head."""

    source_type: TextSourceType
    model_id: str
    n_written: int
    failures: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "source_type": self.source_type, "model_id": self.model_id, "written": self.n_written,
            "failures": list(self.failures),
        }  # fmt: skip


class TellStance(BackfillCase):
    """Fits heads, keeps the stance of stored texts, and tells it."""

    kind = KIND

    def __init__(self, wired: Wiring) -> None:
        super().__init__(wired)
        self._table = StanceTable(wired.db_manager)

    def fit(self, request: FitRequest) -> FitReport:
        """Fit and store a head; the same files under the same id change nothing.

        ModelFingerprintError where the id means another head; InputRefusedError where a label, a date or a column
        cannot be read, or a stance has too few sentences.
        """
        from prometheus.files.labelled import read_labelled  # noqa: PLC0415 -- pyarrow is slow to import

        rows = read_labelled(request.files, request.columns, request.encoding)
        sentences = sentences_of(rows, request.meanings)
        name = self._wired.config.hf_model_name
        encoder = self._open(name)
        dim = int(encoder.embed_batch([TextDoc("SENTENCE", "0", "Rates.")]).shape[1])
        config = head_config(sentences, model_config(encoder), name, dim, request.sureness)
        self._table.registry.require_same(request.model_id, KIND, config)
        stored = self._table.load_head(request.model_id)
        if stored is not None:
            return _reported(request.model_id, stored, sentences, is_new=False)
        vectors = self._embed(encoder, sentences.texts)
        judged = judge(sentences, vectors, request.sureness)
        head = StanceHead(
            fit_heads(sentences.texts, vectors, sentences.stances), judged.temperature, judged.figures.sureness,
            sentences.until, config, judged.figures.to_dict(),
        )  # fmt: skip
        is_new = self._table.add_head(request.model_id, head)
        return _reported(request.model_id, head, sentences, is_new=is_new)

    def backfill(
        self, source_type: TextSourceType, model_id: str | None, start: date, end: date, *, dry_run: bool = False
    ) -> BackfillRun[StanceReport]:
        """Read the stored texts dated `start` to `end` (UTC) that a head, the newest without a name, has not read."""
        if end < start:
            raise UsageError(f"the range ends ({end}) before it starts ({start})")
        chosen = self._chosen(model_id)
        n_read = self._all_read(source_type, chosen, start, end, dry_run=dry_run)
        if n_read is not None:
            return self._record(chosen, run_of_nothing(StanceReport(planned=n_read), is_dry=dry_run))
        chosen, head = self._head(chosen)
        keys = list(chain.from_iterable(self._table.iter_missing(source_type, chosen, start, end)))
        n_texts = self._table.n_texts(source_type, start, end)
        nothing = StanceReport(planned=n_texts - len(keys))
        encoder = self._encoder_of(chosen, head) if keys and not dry_run else _NOTHING
        work = StanceBackfill(self._table, chosen, head, encoder)
        chunks = list(text_chunks(source_type, keys, chosen))
        return self._run_here(chosen, work, chunks, nothing, dry_run=dry_run)

    def _all_read(
        self, source_type: TextSourceType, model_id: str, start: date, end: date, *, dry_run: bool
    ) -> int | None:
        """Return how many texts of a span a head has read, if all of them; None where any is left."""
        work, key = SettledWork(self._wired.db_manager), (f"{source_type} {model_id}", EVERY_PERIOD)
        marks = load_marks(self._wired.db_manager, ())
        rows = (marks.of(TEXT_TABLES[source_type].name), marks.of("text_stances", key[0]), marks.of("stance_heads"))
        digest = digest_of(str(start), str(end), rows)
        known = work.load(KIND, [key[0]]).get(key)
        if known is not None and known.sources == digest:
            return int(known.account["texts"])
        if any(self._table.iter_missing(source_type, model_id, start, end)):
            return None
        n_texts = self._table.n_texts(source_type, start, end)
        if not dry_run:
            work.save(KIND, {key: Settled(digest, {"texts": n_texts})})
        return n_texts

    def nightly(self, end: date, *, dry_run: bool) -> tuple[StanceNight, ...]:
        """Bring what a backfill has begun up to date: each head, and each kind of text that it has read some of."""
        nights = []
        for model_id, source_type in self._table.begun():
            n_written, failures = 0, list[str]()
            with noting(failures):
                run = self.backfill(source_type, model_id, date.min, end, dry_run=dry_run)
                n_written = run.report.written
                failures.extend(map(str, run.failures))
            nights.append(StanceNight(source_type, model_id, n_written, tuple(failures)))
        return tuple(nights)

    def series(
        self,
        as_of: date,
        source_type: TextSourceType = "MACRO",
        filters: TextFilters = ANY_TEXT,
        model_id: str | None = None,
        *,
        is_strict: bool = False,
    ) -> StanceSeries:
        """Return the stance of texts dated up to a date and known on it; NotFoundError without a head or a text.

        If it `is_strict`, heads count whose labels all lie before the date.
        """
        if is_strict:
            model_id = self.head_known_on(as_of, model_id)
        chosen, head = self._head(model_id)
        rows = self._table.known(source_type, chosen, as_of, filters)
        if not rows:
            passing = f" that pass {filters}" if str(filters) else ""
            raise NotFoundError(
                f"{chosen} has read no {source_type} texts known on {as_of}{passing}; read them with: "
                f"python -m prometheus backfill_stance --model-id {chosen}",
                code="no_stance",
            )
        return StanceSeries(chosen, as_of, head.labels_until, tuple(rows))

    def head_known_on(self, as_of: date, model_id: str | None = None) -> str:
        """Return the newest head, or the one named, whose labels all lie before a date; NotFoundError without one."""
        for each in self._table.heads():
            until = self._table.labels_until(each)
            if until is not None and until < as_of and model_id in (None, each):
                return each
        raise NotFoundError(
            f"no head was fitted on labels that all lie before {as_of}; ask for a later date, or fit one with: "
            "python -m prometheus fit_stance FILE --model-id stance-v1",
            code="no_stance_head",
        )

    def newest_head(self) -> str | None:
        """Return the head that filters go by; None without any."""
        return next(iter(self._table.heads()), None)

    def remark(self, filters: TextFilters) -> str:
        """Return what to know of a search that filters by stance, empty for another one or without a head."""
        heads = self._table.heads()
        if filters.stance is None or not heads:
            return ""
        until = self._table.labels_until(heads[0])
        span = "all texts are in-sample" if until is None else f"texts up to {until} are in-sample"
        return f"stance by {heads[0]}, {span}; {DESCRIBES}"

    def of_day(self, day: date, as_of: date) -> DayStance | None:
        """Return the stance of the macro texts of a day known on a date, by the newest head; None without any."""
        heads = self._table.heads()
        if not heads:
            return None
        span = TextFilters(start=day - YEAR_BEFORE, end=day)
        rows = self._table.known("MACRO", heads[0], as_of, span)
        by_day: dict[date, StanceCounts] = {}
        for row in rows:
            by_day[row.day] = by_day.get(row.day, StanceCounts()) + row.counts
        counts = by_day.pop(day, None)
        if counts is None:
            return None
        nets = [each.net for each in by_day.values() if each.net is not None]
        until = self._table.labels_until(heads[0])
        return DayStance(
            heads[0], day, counts, sum(row.day == day for row in rows), float(np.median(nets)) if nets else None,
            len(nets), until is None or day <= until,
        )  # fmt: skip

    def _head(self, model_id: str | None) -> tuple[str, StanceHead]:
        chosen = self._chosen(model_id)
        head = self._table.load_head(chosen)
        if head is None:  # removed a moment ago
            raise NotFoundError(f"there is no head {chosen!r}", code="no_stance_head")
        return chosen, head

    def _chosen(self, model_id: str | None) -> str:
        """Return the head of a name, or the newest; NotFoundError without it."""
        known = self._table.heads()
        chosen = model_id or (known[0] if known else None)
        if chosen is None or chosen not in known:
            there = f"; there are {', '.join(known)}" if known else ""
            fault = f"there is no head {model_id!r}{there}" if model_id else "there is no head"
            raise NotFoundError(
                f"{fault}; fit one on labelled sentences: python -m prometheus fit_stance FILE --model-id stance-v1",
                code="no_stance_head",
            )
        return chosen

    def _encoder_of(self, model_id: str, head: StanceHead) -> TextEmbeddingModel:
        """Return the text model that a head was fitted with; `ModelFingerprintError` where it is another one now."""
        encoder = self._open(str(head.config["encoder"]))
        found, wanted = fingerprint(model_config(encoder)), head.config["encoder_fingerprint"]
        if found != wanted:
            raise ModelFingerprintError(model_id, [f"text model: fitted with {wanted}, now {found}"])
        return encoder

    def _open(self, name: str) -> TextEmbeddingModel:
        from prometheus.encoders.texts.chunks import available_cores  # noqa: PLC0415 -- the runtime is slow to import

        return open_text_model(name, "onnx", MEAN, self._wired.config.home / "models", available_cores())

    def _embed(self, encoder: TextEmbeddingModel, texts: Sequence[str]) -> Float32Matrix:
        docs = [TextDoc("SENTENCE", str(at), text) for at, text in enumerate(texts)]
        found = []
        for first in range(0, len(docs), SENTENCES_AT_ONCE):
            found.append(encoder.embed_batch(docs[first : first + SENTENCES_AT_ONCE]))
            self._wired.progress(min(first + SENTENCES_AT_ONCE, len(docs)), len(docs))
        return np.concatenate(found)


class _Nothing:
    def embed_batch(self, docs: Sequence[TextDoc]) -> Float32Matrix:
        raise UsageError(f"{len(docs)} sentences, and no model was opened")


_NOTHING = _Nothing()


def _reported(model_id: str, head: StanceHead, sentences: LabelledSentences, *, is_new: bool) -> FitReport:
    return FitReport(
        model_id, is_new, head.labels_until, head.sureness, head.temperature, head.figures, sentences.describe(),
        sentences.doubt_of_dates(),
    )  # fmt: skip
