"""What feeds do to letters: HTML entities, and UTF-8 read as Windows-1252; texts without either stay as they are."""

from __future__ import annotations

import html
import re
from html.entities import html5

_ENTITY = r"&(?:#\d{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"


def _shown_as(byte: int) -> str:
    """Return the letter that Windows-1252 shows for a byte, or Latin-1 where it has none."""
    try:
        return bytes([byte]).decode("cp1252")
    except UnicodeDecodeError:
        return chr(byte)


_BYTES = {letter: byte for byte in range(0x80, 0x100) for letter in {_shown_as(byte), chr(byte)}}
_NEXT = "".join(re.escape(letter) for letter, byte in _BYTES.items() if byte < 0xC0)
_CLOSING = "".join(map(_shown_as, (0x85, 0x92, 0x94, 0x96, 0x97, 0x9B, 0xBB)))
# an upper-case Portuguese word before a closing mark, as in IRMÃ”, is no fault
_GARBLED = (
    rf"(?<![^\W\d_])[ÂÃ][{_NEXT}]|[ÂÃ](?:(?![{_CLOSING}])[{_NEXT}]|[{_CLOSING}](?=[^\W\d_]))"
    rf"|â[{_NEXT}]{{2}}|ð[{_NEXT}]{{3}}"
)
_FAULT = re.compile(f"{_ENTITY}|{_GARBLED}")


def mend(text: str) -> str:
    """Return a text with the letters that were meant; one without a fault is returned as it is.

    Examples
    --------
    >>> mend("Procter &amp; Gamble &#8364;5"), mend("MÃ¼nchen, 5 Â£"), mend("AT&T; &nothing; IRMÃ”")
    ('Procter & Gamble €5', 'München, 5 £', 'AT&T; &nothing; IRMÃ”')
    """
    if "&" not in text and text.isascii():  # most texts: an entity has the one, garbled letters are not ASCII
        return text
    return _FAULT.sub(_meant, text)


def _meant(fault: re.Match[str]) -> str:
    text = fault[0]
    if text.startswith("&"):
        is_known = text.startswith("&#") or text[1:] in html5
        return html.unescape(text) if is_known else text
    try:
        return bytes(_BYTES[letter] for letter in text).decode()
    except UnicodeDecodeError:
        return text
