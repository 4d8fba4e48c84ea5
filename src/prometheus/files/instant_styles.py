"""How the dates of a column of instants are written, told from the whole column as for prices."""

from __future__ import annotations

import numpy as np

from prometheus.errors import DataCheckError
from prometheus.files.columns import ColumnMap, is_text, plain_type
from prometheus.files.instants import InstantReader
from prometheus.files.price_tables import distinct_texts, place_of
from prometheus.files.tables import Reason, TableFile
from prometheus.files.written_times import split_clock
from prometheus.market.written import DateEvidence, DateStyle

_UNREAD = (Reason.NOT_A_DATE, Reason.AMBIGUOUS_DATE, Reason.DATE_IN_ANOTHER_FORMAT)
_N_FIRST = 1_000
_READ_BY_ITSELF = ("iso", "epoch")


def find_instant_style(table: TableFile, field: str) -> DateStyle | None:
    """Return how the dates of a field are written, told from all of them; None where the start of the file is plain.

    Raises
    ------
    DataCheckError
        Day and month of its dates can be told apart in no row.
    """
    if field not in table.columns.source or not is_text(plain_type(table.type_of(field))):
        return None
    columns = table.columns
    alone = ColumnMap({field: columns.source[field]}, {field: columns.position[field]}, columns.ignored)
    table = table.select(alone, ())
    start = next(iter(table.batches()), None)
    if start is None or not np.isin(InstantReader().read(start.columns[field][:_N_FIRST]).reasons, _UNREAD).any():
        return None
    evidence = DateEvidence()
    for batch in table.batches():
        evidence.add(split_clock(text)[0] for text in distinct_texts(batch.columns[field]))
    if doubt := evidence.doubt():
        raise DataCheckError(f"{place_of(table, doubt.text, [field])}: {doubt}; nothing was written")
    style = evidence.style()
    return None if style.kind in _READ_BY_ITSELF else style
