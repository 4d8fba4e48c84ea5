"""Blocks of texts that a model has embedded all of: a backfill counts them, and reads none of them again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus.backfill.plan import DateSpan
from prometheus.data.models import ModelRegistry
from prometheus.data.settled import Settled, SettledWork, digest_of
from prometheus.data.text_blocks import BlockDigests, EmbeddedBlock, TextBlocks
from prometheus.encoders.texts.documents import TextSourceType
from prometheus.encoders.texts.languages import count_unread
from prometheus.encoders.texts.service import TextCounts

if TYPE_CHECKING:
    from prometheus.app.databases import DatabaseManager
    from prometheus.app.texts import TextRequest

KIND = "text"


class EmbeddedBlocks:
    """The blocks of one source and request as they were before a run: those settled then, and after it the others.

    A block is settled once a run has read each of its texts, without a failure, and a vector of each is stored: for as
    long as its texts, vectors and passages are the same. `counts` are those of the settled blocks of the dates wanted.
    """

    def __init__(self, databases: DatabaseManager, source_type: TextSourceType, request: TextRequest) -> None:
        self._blocks, self._work = TextBlocks(databases), SettledWork(databases)
        self._registry = ModelRegistry(databases)
        self._source_type, self._model_id, self._span = source_type, request.model_id, request.span
        self._key = f"{source_type} {request.model_id} {_naming(request)}"
        self._writes = self._blocks.outside_writes()
        self._before = self._blocks.digests(source_type, request.model_id)
        known = self._work.load(KIND, [self._key])
        spans = {
            block: DateSpan.of_range(*(date.fromisoformat(each.account[name]) for name in ("first", "last")))
            for (_, block), each in known.items() if self._is_as_before(block, each)
        }  # fmt: skip
        counted = [block for block, span in spans.items() if _holds(request.span, span)]
        outside = [block for block, span in spans.items() if _are_apart(request.span, span)]
        self.done = frozenset((*counted, *outside))
        self.counts = sum((_counts_of(known[self._key, block].account) for block in counted), start=TextCounts())

    @property
    def is_all(self) -> bool:
        """Whether blocks are settled, and none is left to read."""
        return bool(self.done) and self.done.issuperset(self._before)

    def settle(self) -> None:
        """Note the blocks that a run has read to their ends, unless someone else has written vectors meanwhile."""
        left = self._before.keys() - self.done
        if not left:
            return
        after = self._blocks.digests(self._source_type, self._model_id)
        held = self._blocks.embedded(self._source_type, self._model_id, left)
        if self._blocks.outside_writes() != self._writes:
            return
        again = self._blocks.digests(self._source_type, self._model_id)
        config = self._registry.load_config(self._model_id) or {}
        self._work.save(KIND, {
            (self._key, block): Settled(_digest(after[block]), _account(found, config))
            for block, found in held.items()
            if found.n_texts == found.n_embedded and _holds(self._span, DateSpan.of_range(found.first, found.last))
            and block in after and after[block] == again.get(block)
            and after[block].texts == self._before[block].texts
        })  # fmt: skip

    def _is_as_before(self, block: int, settled: Settled) -> bool:
        found = self._before.get(block)
        return found is not None and settled.sources == _digest(found)


def are_kept(request: TextRequest) -> bool:
    """Return whether blocks of a request can be settled: of whole dates, by a model that its name tells all of."""
    from prometheus.app.text_models import MODEL_ID_OF, is_own  # noqa: PLC0415 -- as `app.texts` is read before

    is_whole = request.limit is None and request.timezone == "UTC" and not any(request.filters.values())
    return is_whole and (
        request.runtime in MODEL_ID_OF or (request.runtime == "onnx" and not is_own(request.hf_model_name))
    )


def _naming(request: TextRequest) -> str:
    """Return how a model was named; of a folder with the state of its files, as these may be exchanged."""
    folder = Path(request.hf_model_name)
    found = sorted(folder.rglob("*")) if folder.is_dir() else []
    files = [(str(each), (state := each.stat()).st_size, state.st_mtime_ns) for each in found]
    return digest_of(request.hf_model_name, request.runtime, request.long_text, request.precision, files).hex()


def _digest(found: BlockDigests) -> bytes:
    return digest_of(found.texts.hex(), found.made.hex())


def _holds(span: DateSpan, inner: DateSpan) -> bool:
    return span.start <= inner.start and inner.end <= span.end


def _are_apart(span: DateSpan, other: DateSpan) -> bool:
    return other.end < span.start or span.end < other.start


def _account(found: EmbeddedBlock, config: Mapping[str, Any]) -> dict[str, Any]:
    unread = count_unread(found.languages.elements(), config)
    flags = [[list(names), n_texts] for names, n_texts in sorted(found.flags.items())]
    return {
        "first": str(found.first),
        "last": str(found.last),
        "texts": found.n_texts,
        "flags": flags,
        "unread": unread,
    }


def _counts_of(account: Mapping[str, Any]) -> TextCounts:
    """Return what a run reports of a block whose vectors are all stored."""
    flags = Counter[str]()
    for names, n_texts in account["flags"]:
        flags.update(dict.fromkeys(names, n_texts))
    flagged = sum(n_texts for names, n_texts in account["flags"] if names)
    return TextCounts(texts=account["texts"], flags=flags, flagged=flagged, unread=Counter(account["unread"]))
