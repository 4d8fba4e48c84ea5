"""Which regions there are, and by which models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prometheus.regime.history import RegimeHistory
from prometheus.results.columns import Column, dates, texts
from prometheus.results.table import ResultTable


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Regions(ResultTable[RegimeHistory]):
    """What is stored, a row per region and regime model.

    Attributes
    ----------
    defaults
        The models that answer for their regions unless another one is named.
    """

    histories: tuple[RegimeHistory, ...]
    defaults: frozenset[tuple[str, str]]

    _index: ClassVar[None] = None

    @property
    def names(self) -> list[str]:
        """The regions."""
        return list(dict.fromkeys(each.region for each in self))

    def __len__(self) -> int:
        return len(self.histories)

    def __iter__(self) -> Iterator[RegimeHistory]:
        return iter(self.histories)

    def _columns(self) -> Sequence[Column]:
        rows = self.histories
        return (
            Column("region", texts([each.region for each in rows])),
            Column("model_id", texts([each.model_id for each in rows])),
            Column("encoder_model_id", texts([each.encoder_model_id for each in rows])),
            Column("n_dates", np.array([each.n_dates for each in rows], dtype=np.int64), ",d"),
            Column("first", dates([each.first for each in rows])),
            Column("last", dates([each.last for each in rows])),
            Column(
                "is_default", np.array([(each.region, each.model_id) in self.defaults for each in rows], dtype=bool)
            ),
        )

    def _headline(self) -> str:
        return f"Regions with regimes: {len(self.names)}"

    def _named(self) -> Mapping[str, str]:
        return {}
