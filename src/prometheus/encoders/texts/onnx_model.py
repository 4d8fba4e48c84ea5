"""Text embeddings on ONNX Runtime, without torch.

Every chunk of text is computed alone, unpadded, by one thread; several chunks at a time, one per core. The vector of a
chunk then depends on nothing but its own tokens: not on what else is encoded, on the order or on the number of cores.
ADR-0006 has the reasons and the price.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prometheus.arrays import Float32Matrix, Float32Vector
from prometheus.encoders.texts.bert_graph import GRAPH_VERSION
from prometheus.encoders.texts.chunks import (
    CHUNKING_VERSION,
    Chunk,
    ChunkTokenizer,
    available_cores,
    checked_long_text,
    encode_texts,
)
from prometheus.encoders.texts.documents import TextDoc, TextEncoding, no_vectors
from prometheus.encoders.texts.folders import file_sha256, read_text_folder
from prometheus.encoders.texts.graphs import TextGraph
from prometheus.encoders.texts.sources import find_text_folder
from prometheus.errors import InputRefusedError, UsageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CHUNKS_AHEAD_PER_THREAD = 8


def open_text_model(
    hf_model_name: str, *, cache_dir: Path, long_text: str = "mean", threads: int | None = None
) -> OnnxTextEmbeddingModel:
    """Return the model of a local folder or of a hub name, ready to encode.

    Parameters
    ----------
    cache_dir
        Where the graph built from a model's weights is kept.
    long_text, threads
        As in `OnnxTextEmbeddingModel`.

    Raises
    ------
    InputRefusedError, RetryableError
        As in `find_text_folder` and `OnnxTextEmbeddingModel`.
    """
    checked_long_text(long_text)
    folder = find_text_folder(hf_model_name)
    return OnnxTextEmbeddingModel(folder, long_text=long_text, cache_dir=cache_dir, threads=threads)


class OnnxTextEmbeddingModel:
    """A sentence encoder in a folder; texts of any length in, vectors of unit length out.

    Parameters
    ----------
    folder
        In the layout of sentence-transformers; see `read_text_folder`.
    long_text
        ``mean``: a text longer than the model's maximum length is the mean of all its chunks, at unit length again;
        ``truncate``: it is its first chunk.
    cache_dir
        Where to keep the graph built from the weights; None builds it each time.
    threads
        Chunks computed at once, by default one per core. It changes no vector.

    Raises
    ------
    InputRefusedError
        The folder holds no model that can be run.
    UsageError
        `long_text` or `threads` is none.
    """

    def __init__(
        self,
        folder: str | Path,
        long_text: str = "mean",
        cache_dir: str | Path | None = None,
        threads: int | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, got {threads}")
        self._long_text = checked_long_text(long_text)
        self._threads = threads or available_cores()
        self._folder = read_text_folder(Path(folder))
        self._tokenizer = ChunkTokenizer(read_tokenizer(self._folder.tokenizer), self._folder.max_length, str(folder))
        self._tokenizer_sha256 = file_sha256(self._folder.tokenizer)
        self._graph = TextGraph(self._folder, None if cache_dir is None else Path(cache_dir))
        self._dim = self._prove_usable()

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self._dim

    @property
    def config(self) -> dict[str, Any]:
        """What decides the bytes."""
        return {
            "family": "sentence-onnx" if self._folder.is_graph else "sentence-bert",
            "weights_sha256": self._graph.weights_sha256,
            "tokenizer_sha256": self._tokenizer_sha256,
            "max_length": self._folder.max_length,
            "pooling": self._folder.pooling,
            "normalize": self._folder.normalize,
            "long_text": self._long_text,
            "precision": "float32",
            "code_version": f"{GRAPH_VERSION}.{CHUNKING_VERSION}",
            "dim": self._dim,
        }

    def embed_batch(self, docs: Sequence[TextDoc]) -> Float32Matrix:
        """Return one vector per text, shape (n, dim); (0, 0) for no texts."""
        return self.encode(docs).vectors if docs else no_vectors()

    def encode(self, docs: Sequence[TextDoc]) -> TextEncoding:
        """Return vectors with what is to be known about them; identical texts are computed once."""
        if not docs:
            return TextEncoding(no_vectors(), (), ())
        texts = [doc.text for doc in docs]
        return encode_texts(
            texts, self._tokenizer, self._embed, long_text=self._long_text, normalize=self._folder.normalize
        )

    def _embed(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, Float32Vector]]:
        """Yield vectors in the order of the chunks, which are asked for a few at a time."""
        waiting: deque[tuple[Chunk, Future[Float32Vector]]] = deque()
        with ThreadPoolExecutor(self._threads, thread_name_prefix="prometheus-text") as pool:
            for chunk in chunks:
                waiting.append((chunk, pool.submit(self._graph.vector, chunk.token_ids)))
                if len(waiting) >= CHUNKS_AHEAD_PER_THREAD * self._threads:
                    first, vector = waiting.popleft()
                    yield first, vector.result()
            for chunk, vector in waiting:
                yield chunk, vector.result()

    def _prove_usable(self) -> int:
        """Compute the longest chunk of the highest token id; what can go wrong with later ones goes wrong here."""
        vector = self._graph.vector(self._tokenizer.longest_chunk().token_ids)
        if vector.ndim != 1 or not np.isfinite(vector).all():
            raise InputRefusedError(f"{self._folder.weights}: the graph gives no finite vector for a text")
        return len(vector)


def read_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer of a ``tokenizer.json``.

    Raises
    ------
    InputRefusedError
        It is none.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415 -- slow to import

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises this very class
        raise InputRefusedError(f"{path}: is no tokenizer: {error}") from error
