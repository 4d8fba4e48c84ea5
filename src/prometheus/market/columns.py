"""The fields of daily prices, and the names that files and frames give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

UNNAMED = "prices"
"""What an instrument is called that no column, and no user, gives a name."""
FieldKind = Literal["text", "date", "number", "instant", "scalar"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of our own, and the names others give it (lower case, without spaces, underscores and hyphens).

    `fallbacks` are names that count only where no column has one of the `aliases`.
    """

    name: str
    kind: FieldKind
    aliases: frozenset[str]
    fallbacks: frozenset[str] = frozenset()

    @classmethod
    def of(cls, name: str, kind: FieldKind, *aliases: str, fallbacks: tuple[str, ...] = ()) -> Field:
        """Return a field that is known by its own name, too."""
        return cls(name, kind, frozenset({normalize_name(name), *aliases}), frozenset(fallbacks))

    def find(self, names: list[str]) -> list[int]:
        """Return the positions of the columns that may be this field."""
        plain = [normalize_name(name) for name in names]
        strong = [at for at, name in enumerate(plain) if name in self.aliases]
        return strong or [at for at, name in enumerate(plain) if name in self.fallbacks]


def normalize_name(name: str) -> str:
    """Return a column name without what authors vary: case, spaces, underscores, hyphens.

    >>> normalize_name(" Adj_Close ")
    'adjclose'
    """
    return "".join(name.split()).replace("_", "").replace("-", "").casefold()


PRICE_FIELDS = (
    Field.of("instrument_id", "text", "ticker", "symbol", "instrument"),
    Field.of("trade_date", "date", "date", "datetime", "timestamp"),
    Field.of("open", "number"),
    Field.of("high", "number"),
    Field.of("low", "number"),
    Field.of("close", "number", fallbacks=("price", "closingprice", "closeprice")),
    Field.of("adjusted_close", "number", "adjclose"),
    Field.of("volume", "number", "vol"),
    Field.of("currency", "text", "ccy"),
)
