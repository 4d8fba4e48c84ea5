"""Which stored instruments a text concerns, by what its file calls them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from prometheus.data.instruments import StoredInstrument
from prometheus.files.rejects import shorten
from prometheus.market.written import is_missing

N_NAMED = 8
"""Names that a note lists."""
_BETWEEN = re.compile(r"[,;|\s]+")
_AROUND = "[](){}<>\"'$"


def names_in(cell: str) -> tuple[str, ...]:
    """Return the names that a cell lists: between commas, semicolons, bars or spaces, or as a JSON list.

    Examples
    --------
    >>> names_in("AAPL.US; $MSFT"), names_in('["BRK B", "NYSE:IBM"]'), names_in("<IBM>"), names_in(" ")
    (('AAPL.US', 'MSFT'), ('BRK B', 'NYSE:IBM'), ('IBM',), ())
    """
    listed: list[object] | None = None
    if cell.lstrip().startswith("["):
        try:
            listed = json.loads(cell)
        except ValueError:  # as Python writes a list, or cut
            listed = None
    names: Iterable[str] = _BETWEEN.split(cell) if listed is None else map(str, listed)
    stripped = (name.strip().strip(_AROUND) for name in names)
    return tuple(dict.fromkeys(name for name in stripped if not is_missing(name)))


class ConcernedInstruments:
    """Finds stored instruments by id, by symbol, or by the id without what follows its last point (AAPL for AAPL.US).

    Case does not count. A name that fits several instruments, or none, finds nothing; `notes` name it.
    """

    def __init__(self, instruments: Iterable[StoredInstrument]) -> None:
        stored = tuple(instruments)
        self._ids = {each.instrument_id for each in stored}
        self._levels = (
            _by_name((each.instrument_id, each.instrument_id) for each in stored),
            _by_name((each.symbol, each.instrument_id) for each in stored),
            _by_name((each.instrument_id.rpartition(".")[0], each.instrument_id) for each in stored),
        )
        self._unknown: Counter[str] = Counter()
        self._several: dict[str, tuple[str, ...]] = {}
        self._read_as: dict[str, str] = {}

    def find(self, cell: str, n_texts: int) -> tuple[str, ...]:
        """Return the instruments that a cell names, in its order; what is not known counts for `n_texts` texts."""
        whole = cell.strip()
        names = (whole,) if whole in self._ids else names_in(cell)
        found = [self._find(name, n_texts) for name in names]
        return tuple(dict.fromkeys(each for each in found if each is not None))

    def notes(self) -> Iterator[str]:
        """Yield what a user should know of the names met."""
        if self._read_as:
            yield f"{_listed([f'{name} as {found}' for name, found in sorted(self._read_as.items())])}: names read so"
        if self._several:
            fits = [f"{name} ({' or '.join(ids)})" for name, ids in sorted(self._several.items())]
            yield f"{_listed(fits)}: names that fit several instruments, so nothing is linked; write the instrument_id"
        if self._unknown:
            counted = sorted(self._unknown.items(), key=_most_first)
            most = [f"{shorten(name)} ({n:,} text{'' if n == 1 else 's'})" for name, n in counted]
            fault = f"{len(most):,} name{'' if len(most) == 1 else 's'} of no stored instrument: {_listed(most)}"
            way_out = "load their prices (ingest prices FILE) or rows (ingest instruments FILE), then this file again"
            yield f"{fault}; their texts are stored and not linked: {way_out}"

    def _find(self, name: str, n_texts: int) -> str | None:
        if name in self._ids:
            return name
        listing = name.rpartition(":")[2]  # NYSE:IBM
        for folded in dict.fromkeys((name.casefold(), listing.casefold())):
            for level in self._levels:
                fitting = level.get(folded, ())
                if len(fitting) > 1:
                    self._several[name] = fitting
                    return None
                if fitting:
                    self._read_as[name] = fitting[0]
                    return fitting[0]
        self._unknown[name] += n_texts
        return None


def _by_name(pairs: Iterable[tuple[str, str]]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for name, instrument_id in pairs:
        if name:
            found.setdefault(name.casefold(), []).append(instrument_id)
    return {name: tuple(sorted(ids)) for name, ids in found.items()}


def _listed(names: list[str]) -> str:
    return ", ".join(names[:N_NAMED]) + (f" and {len(names) - N_NAMED:,} more" if len(names) > N_NAMED else "")


def _most_first(counted: tuple[str, int]) -> tuple[int, str]:
    return -counted[1], counted[0]
