"""The vectors behind the regimes of a region."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from prometheus.app.regimes import RegimeEmbeddings
from prometheus.arrays import DateVector, Float32Matrix, Float32Vector
from prometheus.results.columns import Column
from prometheus.results.figures import draw_components, require_rows
from prometheus.results.table import ResultTable, describe_span

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class EmbeddingRow(NamedTuple):
    """The vector of one date, shape (dim,), float32, read-only."""

    as_of_date: date
    embedding: Float32Vector


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Embeddings(ResultTable[EmbeddingRow]):
    """Vectors of one region and encoder, all made of the same source, oldest first."""

    found: RegimeEmbeddings

    @property
    def region(self) -> str:
        """The region."""
        return self.found.region

    @property
    def encoder_model_id(self) -> str:
        """Whose vectors they are."""
        return self.found.encoder_model_id

    @property
    def dates(self) -> DateVector:
        """Shape (n,), ascending."""
        return self.found.rows.dates

    def __len__(self) -> int:
        return len(self.found.rows.dates)

    def __iter__(self) -> Iterator[EmbeddingRow]:
        for day, vector in zip(self.dates.tolist(), self.to_numpy(), strict=True):
            yield EmbeddingRow(day, vector)

    def to_numpy(self) -> Float32Matrix:
        """Return the vectors, shape (n, dim), float32, C-contiguous.

        Nothing is copied, so the array is read-only; ``to_numpy().copy()`` may be written to.
        """
        vectors = self.found.rows.vectors.view()
        vectors.flags.writeable = False
        return vectors

    def to_pandas(self) -> pd.DataFrame:
        """Return a frame of one column per value, named 0 to dim - 1, indexed by date."""
        import pandas as pd  # noqa: PLC0415 -- slow to import

        index = pd.DatetimeIndex(self.dates.astype("M8[ms]"), name="as_of_date")  # as Arrow's dates become
        frame = pd.DataFrame(self.to_numpy().copy(), index=index)
        frame.attrs.update(self._named())
        return frame

    def plot(self) -> Figure:
        """Return the first two principal components, coloured by date.

        Raises
        ------
        MissingExtraError
            matplotlib is not installed.
        UsageError
            There are no vectors in the span.
        """
        require_rows(len(self), "embeddings")
        return draw_components(f"{self.region}, {self.encoder_model_id}", self.dates, self.to_numpy())

    def _columns(self) -> Sequence[Column]:
        return Column("as_of_date", self.dates), Column("embedding", self.found.rows.vectors)

    def _headline(self) -> str:
        days = self.dates
        span = describe_span(len(self), "sessions", *(days[[0, -1]] if len(days) else ("", "")))
        return f"Embeddings of {self.region} by {self.encoder_model_id}, {self.found.source.dim} values each: {span}"

    def _named(self) -> Mapping[str, str]:
        return {"region": self.region, "encoder_model_id": self.encoder_model_id}
