"""Stored vectors of texts and of their passages compared with what the model makes of the texts again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, get_args

import numpy as np

from prometheus.app.text_models import TextModels
from prometheus.app.verified import Sample, TableReport, WrongRow, describe_vectors, is_otherwise_rounded, is_sound
from prometheus.app.verified_windows import NO_WAY
from prometheus.arrays import VECTOR_DTYPE
from prometheus.core import MINILM
from prometheus.data.vectors.texts import TextEmbeddingStore
from prometheus.data.verification import StoredTexts, TextRow
from prometheus.encoders.texts.documents import StoredText, TextDoc, TextSourceType
from prometheus.encoders.texts.portions import portions_of
from prometheus.encoders.texts.service import TextEmbeddingService
from prometheus.errors import ModelFingerprintError, PrometheusError, UsageError

if TYPE_CHECKING:
    from prometheus.app.wiring import Wiring

TABLE, PASSAGES = "text_embeddings", "text_passages"
TEXTS_AT_ONCE = 4_096


class VerifyTexts:
    """Embeds stored texts again by the recorded models; with `repair` it stores what they should be.

    Another runtime or processor rounds otherwise: a vector of which most values differ, all of them in the last digits,
    is no edit. One that differs in few values is wrong, however little.
    """

    def __init__(self, wired: Wiring, sample: Sample, *, repair: bool) -> None:
        self._wired, self._sample, self._repair = wired, sample, repair
        self._stored = StoredTexts(wired.db_manager)
        self._store = TextEmbeddingStore(db_manager=wired.db_manager)
        self._models = TextModels(wired)
        self.wrong_texts: set[tuple[str, str, str]] = set()
        """Source type, id and model of vectors that were found wrong."""

    def verify(self, told: Callable[[int], None]) -> list[TableReport]:
        """Return the sums over texts and over passages; a passage is told by its text."""
        series = self._stored.series()
        reports = [TableReport(TABLE, sum(n_rows for *_, n_rows in series)), TableReport(PASSAGES)]
        chosen = self._sample.choose(TABLE, [n_rows for *_, n_rows in series])
        for (source_type, model_id, _), places in zip(series, chosen, strict=True):
            ids = [] if places == [] else self._stored.ids(source_type, model_id)
            ids = ids if places is None else [ids[place] for place in places]
            try:
                service = self._service(source_type, model_id) if ids else None
            except PrometheusError as error:
                reports[0].unread.append(f"{source_type} texts by {model_id}: {error}")
                self._tell_unsound(source_type, model_id, ids, reports)
                continue
            for begin in range(0, len(ids), TEXTS_AT_ONCE):
                part = ids[begin : begin + TEXTS_AT_ONCE]
                if service is not None:
                    self._compare(service, source_type, self._stored.rows(source_type, model_id, part), reports)
                told(len(part))
        return reports

    def _service(self, source_type: str, model_id: str) -> TextEmbeddingService:
        if source_type not in get_args(TextSourceType):
            raise UsageError("its texts are not stored")
        names = dict.fromkeys((self._wired.config.hf_model_name, MINILM))
        for name in names:
            try:
                model = self._models.open(model_id, name)
            except ModelFingerprintError:
                if name == list(names)[-1]:
                    raise
                continue
            return TextEmbeddingService(model=model, store=self._store, model_id=model_id)
        raise AssertionError("there is a name")

    def _compare(
        self, service: TextEmbeddingService, source_type: str, rows: Sequence[TextRow], reports: list[TableReport]
    ) -> None:
        """Compare rows of texts that still are what they were; others are embedded anew by the next run."""
        asked = [int(row.source_id) for row in rows if row.source_id.isdigit()]
        found = self._wired.texts.load_texts("NEWS" if source_type == "NEWS" else "MACRO", asked)
        docs = {each.source_id: TextDoc(source_type, each.source_id, each.text) for each in found if each.text.strip()}
        report = reports[0]
        same = [row for row in rows if row.source_id in docs and docs[row.source_id].text_hash == row.text_hash]
        report.n_stale += sum(row.text_hash is not None for row in rows) - len(same)
        report.n_unknown += sum(row.text_hash is None for row in rows)
        row_of = {row.source_id: row for row in same}
        for portion in portions_of([docs[row.source_id] for row in same], lambda doc: len(doc.text)):
            made = service.encode({doc.text_hash: doc for doc in portion})
            self._judge(service, [(doc, row_of[doc.source_id], made[doc.text_hash]) for doc in portion], reports)

    def _judge(
        self, service: TextEmbeddingService, texts: Sequence[tuple[TextDoc, TextRow, StoredText]],
        reports: list[TableReport],
    ) -> None:  # fmt: skip
        heal: dict[str, tuple[TextDoc, StoredText]] = {}
        for doc, row, made in texts:
            key = f"{doc.source_type} {doc.source_id} ({service.model_id})"
            of_text, of_passages = _difference(key, row, made), _difference_of_passages(key, row, made)
            for report, wrong, is_there in zip(reports, (of_text, of_passages), (True, row.passages), strict=True):
                report.n_compared += bool(is_there)
                report.found([wrong] if wrong else [], are_healed=self._repair)
            reports[1].n_rows += len(row.firsts or ())
            if of_text or of_passages:
                heal[doc.source_id] = doc, made
            if of_text:
                self.wrong_texts.add((doc.source_type, doc.source_id, service.model_id))
        if heal and self._repair:
            self._heal(service, list(heal.values()))

    def _heal(self, service: TextEmbeddingService, texts: Sequence[tuple[TextDoc, StoredText]]) -> None:
        docs, made = zip(*texts, strict=True)
        self._store.save_embeddings(
            docs, service.model_id, np.stack([each.vector for each in made]),
            n_chunks=[each.n_chunks for each in made], flags=[each.flags for each in made],
            passages=[each.passages for each in made],
        )  # fmt: skip

    def _tell_unsound(
        self, source_type: str, model_id: str, ids: Sequence[str], reports: Sequence[TableReport]
    ) -> None:
        for begin in range(0, len(ids), TEXTS_AT_ONCE):
            rows = self._stored.rows(source_type, model_id, ids[begin : begin + TEXTS_AT_ONCE])
            reports[0].n_unread += len(rows)
            broken = [row.source_id for row in rows if not is_sound(row.vector)]
            reports[0].found(
                [WrongRow(TABLE, f"{source_type} {name} ({model_id})", "vector", "not finite", "a vector",
                          "not_finite", NO_WAY) for name in broken],
                are_healed=False,
            )  # fmt: skip


def _difference(key: str, row: TextRow, made: StoredText) -> WrongRow | None:
    wanted = made.vector.astype(VECTOR_DTYPE).tobytes()
    if row.vector != wanted and not is_otherwise_rounded(row.vector, wanted):
        stored, should = describe_vectors(row.vector, wanted)
        return WrongRow(TABLE, key, "vector", stored, should, "row_differs" if is_sound(row.vector) else "not_finite")
    said = {"n_chunks": (row.n_chunks, made.n_chunks), "flags": (sorted(row.flags), sorted(made.flags))}
    for name, (stored_value, wanted_value) in said.items():
        if stored_value is not None and stored_value != wanted_value:
            return WrongRow(TABLE, key, name, str(stored_value), str(wanted_value))
    return None


def _difference_of_passages(key: str, row: TextRow, made: StoredText) -> WrongRow | None:
    if row.passages is None or made.passages is None:  # a model that keeps none, or a run that has yet to store them
        return None
    spans = np.array([row.firsts, row.lasts]).T.tolist()
    wanted = made.passages.vectors.astype(VECTOR_DTYPE).tobytes()
    if spans != made.passages.spans.tolist():
        return WrongRow(PASSAGES, key, "characters", f"{len(spans)} spans", f"{len(made.passages)} others")
    if row.passages == wanted or is_otherwise_rounded(row.passages, wanted):
        return None
    stored, should = describe_vectors(row.passages, wanted)
    return WrongRow(PASSAGES, key, "vector", stored, should, "row_differs" if is_sound(row.passages) else "not_finite")
