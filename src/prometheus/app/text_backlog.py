"""What a model has still to embed of the texts up to a date."""

from __future__ import annotations

from datetime import date

from prometheus.app.databases import DatabaseManager
from prometheus.data.settled import EVERY_PERIOD, Marks, Settled, SettledWork, digest_of
from prometheus.data.text_reader import TextBacklog, load_text_backlog
from prometheus.encoders.texts.documents import TEXT_TABLES, TextSourceType

KIND = "text backlog"


def find_backlog(
    databases: DatabaseManager, source_type: TextSourceType, model_id: str, until: date, marks: Marks, *, dry_run: bool
) -> TextBacklog:
    """Return what is left of the texts dated up to a date in UTC; if nothing is, they are not looked at again.

    `marks` were taken before. A dry run settles nothing.
    """
    work, key = SettledWork(databases), (f"{source_type} {model_id}", EVERY_PERIOD)
    rows = (marks.of(TEXT_TABLES[source_type].name), marks.of("text_embeddings", key[0]))
    digest = digest_of(str(until), rows)
    known = work.load(KIND, [key[0]]).get(key)
    if known is not None and known.sources == digest:
        return TextBacklog(known.account["texts"], 0, None)
    found = load_text_backlog(databases, source_type, model_id, until)
    if found.first_missing is None and not dry_run:
        work.save(KIND, {key: Settled(digest, {"texts": found.n_texts})})
    return found
