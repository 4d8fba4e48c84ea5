"""Text in any encoding as a stream of UTF-8, and the encodings by which a text that is no UTF-8 makes sense."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Generator
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import IO

from prometheus.errors import FileAccessError, UsageError
from prometheus.files.containers import open_content
from prometheus.files.kinds import SNIFF_BYTES, UTF8_MARK, is_parquet
from prometheus.files.streams import CHUNK_BYTES, as_stream

_WIDE_MARKS = ((b"\xff\xfe\0\0", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_WIDE_LETTERS = (
    (re.compile(rb"(?:[\t -~]\0){4}"), "utf-16-le"), (re.compile(rb"(?:\0[\t -~]){4}"), "utf-16-be"),
)  # fmt: skip
_SCRIPTS = {
    "cp1252": ("LATIN",), "cp1250": ("LATIN",), "cp1251": ("CYRILLIC",), "shift_jis": ("CJK", "HIRAGANA", "KATAKANA"),
    "gb18030": ("CJK",), "big5": ("CJK",), "euc_kr": ("HANGUL",),
}  # fmt: skip
"""What is told apart, and how Unicode's names of the letters begin that a text in it is made of."""
_FOREIGN_WORD = re.compile(r"\w*[^\x00-\x7f]\w*")
_NO_LATIN_WORD = re.compile(r"[^\W\d_a-zA-Z]{5}|[a-z][À-ÖØ-Þ]")
_NO_OTHER_WORD = re.compile(r"[a-z][^\W\d_a-zA-Z]|[^\W\d_a-zA-Z][a-z]")
_MAX_WORDS = 1_000
_SIGNS = frozenset("LMNPSZ")
"""Unicode's kinds of characters but controls and those that mean nothing."""
_CELL_ENDS = re.compile(rb"[,;\t\n\r\"|]")


def require_encoding(name: str | None) -> None:
    """Raise `UsageError` for a name that is no encoding of text."""
    if name is not None:
        try:
            "".encode(name)
        except (LookupError, ValueError) as error:
            known = ", ".join(_SCRIPTS)
            raise UsageError(f"--encoding {name[:40]!r}: no such encoding of text; such as {known}") from error


def open_bytes(path: Path, encoding: str | None = None) -> BufferedReader:
    """Open the text that a path names as UTF-8, out of what packs it.

    A mark at its start says the encoding, UTF-16 and UTF-32 also their first letters; else it is `encoding`, or UTF-8.
    """
    content = open_content(path)
    start = content.peek(SNIFF_BYTES)
    found = _marked_encoding(start)
    if found is None and not (start.startswith(UTF8_MARK) or is_parquet(start)):
        found = encoding
    return content if found is None else as_stream(_recode(path, content, found))


def _marked_encoding(start: bytes) -> str | None:
    marked = next((name for mark, name in _WIDE_MARKS if start.startswith(mark)), None)
    return marked or next((name for letters, name in _WIDE_LETTERS if letters.match(start)), None)


def _recode(path: Path, content: IO[bytes], encoding: str) -> Generator[bytes, None, None]:
    decoder = codecs.getincrementaldecoder(encoding)()
    is_open, line = True, 1
    with content:
        while is_open:
            chunk = content.read(CHUNK_BYTES)
            is_open = bool(chunk)
            try:
                text = decoder.decode(chunk, final=not is_open).encode()
            except UnicodeError as error:
                said = f"begins as {encoding.upper()} text but not all of it is, from about line {line} on"
                raise FileAccessError(str(path), f"{said}; save it as UTF-8") from error
            line += text.count(b"\n")
            if text:
                yield text


def name_encodings(block: bytes, at: int) -> str:
    """Return a way out for whole lines of no UTF-8, whose first such byte is `at`: encodings, and how each reads it.

    >>> name_encodings("Société,1".encode("cp1252"), 4)
    "say how it is written: --encoding cp1252 ('Société')"
    """
    start = max((found.end() for found in _CELL_ENDS.finditer(block, max(at - 100, 0), at)), default=max(at - 20, 0))
    end = next((found.start() for found in _CELL_ENDS.finditer(block, at)), len(block))
    readings: dict[str, str] = {}
    for name in filter(lambda name: _makes_sense(block, name), _SCRIPTS):
        readings.setdefault(block[start : min(end, at + 40)].decode(name, errors="replace"), name)
    if not readings:
        return "name its encoding with --encoding, such as cp1252, or save it as UTF-8"
    return f"say how it is written: {' or '.join(f'--encoding {name} ({word!r})' for word, name in readings.items())}"


def _makes_sense(block: bytes, encoding: str) -> bool:
    """Return whether lines are words of the scripts that an encoding is for."""
    try:
        text = block.decode(encoding)
    except UnicodeDecodeError:
        return False
    words = [found[0] for found in islice(_FOREIGN_WORD.finditer(text), _MAX_WORDS)]
    scripts = _SCRIPTS[encoding]
    no_word = _NO_LATIN_WORD if scripts == ("LATIN",) else _NO_OTHER_WORD
    return not any(map(no_word.search, words)) and all(
        unicodedata.category(letter)[0] in _SIGNS
        and (not letter.isalpha() or unicodedata.name(letter, "").startswith(scripts))
        for letter in {letter for word in words for letter in word if not letter.isascii()}
    )
