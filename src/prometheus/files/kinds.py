"""What a file is, told by its first bytes: the kinds that are read, and every other by its name with the way out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prometheus.errors import FileAccessError

SNIFF_BYTES = 4_096
PACKED_SUFFIXES = frozenset({".gz", ".xz", ".lzma", ".bz2", ".zst"})
TABLE_SUFFIXES = frozenset(
    {".csv", ".tsv", ".txt", ".tab", ".json", ".jsonl", ".ndjson", ".parquet", ".pq", ".zip", ".xlsx", ".xlsm"}
)
_JSON_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json"})
_PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
UTF8_MARK = b"\xef\xbb\xbf"
_LEADING = UTF8_MARK + b" \t\r\n"

FileKind = Literal["csv", "jsonl", "parquet"]
Codec = Literal["gzip", "xz", "bzip2", "zstd"]

_CODEC_STARTS: tuple[tuple[re.Pattern[bytes], Codec], ...] = (
    (re.compile(rb"\x1f\x8b"), "gzip"),
    (re.compile(rb"\xfd7zXZ\0|\x5d\0\0"), "xz"),
    (re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), "bzip2"),
    (re.compile(rb"\x28\xb5\x2f\xfd"), "zstd"),
)
_ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06")
_PARQUET_MARK = b"PAR1"


@dataclass(frozen=True, slots=True)
class _Foreign:
    """A kind of file that is not read: what its first bytes look like, what it is called, and the way out."""

    start: re.Pattern[bytes]
    name: str
    way_out: str


def _foreign(start: bytes, name: str, way_out: str) -> _Foreign:
    return _Foreign(re.compile(start, re.DOTALL), name, way_out)


_AS_PARQUET = "write it as Parquet, in Python: pandas.{}(FILE).to_parquet(NEW)"
_AS_SHEET = "save it as .xlsx, with no password, or as CSV"
_UNPACK = "unpack it, or pack the files as .zip"
_SAVE_TABLE = "where it was made, write the frame with to_parquet(NEW) or to_csv(NEW)"
_LINES_OF_JSON = "write one object per line instead: jq -c '.[]' FILE > NEW.jsonl"

_FOREIGN = (
    _foreign(rb"(?:ARROW1|FEA1)", "a Feather (Arrow IPC) file", _AS_PARQUET.format("read_feather")),
    _foreign(rb"\xff\xff\xff\xff.{3}\0", "an Arrow IPC stream",
             "write it as Parquet, in Python: pyarrow.ipc.open_stream(FILE).read_pandas().to_parquet(NEW)"),
    _foreign(rb"\x80[\x02-\x05]|c(?:copy_reg|copyreg|builtins|__builtin__|pandas|numpy|collections)[a-z_.]*\n"
             rb"|\((?:dp|lp)\d|[}\]]q\0", "a pickle, which could run any code and is never loaded", _SAVE_TABLE),
    _foreign(rb"SQLite format 3\0", "an SQLite database",
             "write its table as CSV: sqlite3 -header -csv FILE 'SELECT * FROM TABLE' > NEW.csv"),
    _foreign(rb".{8}DUCK", "a DuckDB database", "write its table as Parquet: COPY TABLE TO 'NEW.parquet'"),
    _foreign(rb"\x89HDF\r\n", "an HDF5 file", _AS_PARQUET.format("read_hdf")),
    _foreign(rb"\xd0\xcf\x11\xe0", "an old Excel file (.xls), or one with a password", _AS_SHEET),
    _foreign(rb"ORC.{0,16}[\0-\x08]", "an ORC file", _AS_PARQUET.format("read_orc")),
    _foreign(rb"Obj\x01", "an Avro file", "write it as Parquet or CSV"),
    _foreign(rb"PARE.{0,16}\0", "a Parquet file with an encrypted footer", "write it again without encryption"),
    _foreign(rb"\x93NUMPY", "a NumPy array", "write a frame of it with to_parquet(NEW) or to_csv(NEW)"),
    _foreign(rb"RD[XA][23]\n|X\n\0", "an R data file", "in R: write.csv(frame, 'NEW.csv', row.names = FALSE)"),
    _foreign(rb"<stata_dta>", "a Stata file", _AS_PARQUET.format("read_stata")),
    _foreign(rb"%PDF-", "a PDF", "find the same figures as CSV or .xlsx; tables of a PDF are not read"),
    _foreign(rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    _foreign(rb"Rar!", "a RAR archive", _UNPACK),
    _foreign(rb".{257}ustar", "a tar archive", f"{_UNPACK}: tar -xf FILE"),
    _foreign(rb"\x04\x22\x4d\x18", "an LZ4 file", "unpack it: unlz4 FILE"),
    _foreign(rb"\x1f\x9d", "a file of compress (.Z)", "unpack it: gunzip FILE"),
    _foreign(rb"LZIP[\0\1]", "an lzip file", "unpack it: lzip -d FILE"),
    _foreign(rb"\x89PNG|\xff\xd8\xff|GIF8", "a picture", "find the same figures as CSV or .xlsx"),
    _foreign(rb"\x7fELF|MZ.{0,80}\0|\xcf\xfa\xed\xfe", "a program", "name a file of rows"),
    _foreign(rb"[\xef\xbb\xbf\s]*<(?:.*<)?(?i:!doctype html|html|head|body|script|table)\b",
             "a web page, such as a download gives in place of the file that needs a login or has moved",
             "open it in a browser to see what it says, then download the file itself"),
    _foreign(rb"[\xef\xbb\xbf\s]*<\?xml", "an XML file", _AS_PARQUET.format("read_xml")),
    _foreign(rb"[\xef\xbb\xbf\s]*\[\s*[\[{]", "one JSON array", _LINES_OF_JSON),
    _foreign(rb"[\xef\xbb\xbf\s]*\{[ \t\r]*\n[ \t]*\"", "one JSON object over many lines",
             "write one object per line instead, or CSV, in Python: pandas.DataFrame(ROWS).to_csv(NEW, index=False)"),
)  # fmt: skip


def codec_of(start: bytes) -> Codec | None:
    """Return how a file that begins so is compressed, None if it is not."""
    return next((codec for begins, codec in _CODEC_STARTS if begins.match(start)), None)


def is_archive(start: bytes) -> bool:
    """Return whether a file that begins so is a zip archive, as Excel's workbooks are."""
    return start.startswith(_ZIP_MARKS)


def is_parquet(start: bytes) -> bool:
    """Return whether a file that begins so is Parquet."""
    return start.startswith(_PARQUET_MARK)


def kind_of(path: Path, start: bytes) -> FileKind:
    """Return what a file is by its first unpacked bytes, and where they leave it open, by its name.

    Raises
    ------
    FileAccessError
        Nothing that is read: it says what it is, and the way out.
    """
    if not start:
        raise FileAccessError(str(path), "is empty")
    for foreign in _FOREIGN:
        if foreign.start.match(start):
            raise FileAccessError(str(path), f"is {foreign.name}; {foreign.way_out}")
    if is_parquet(start):
        return "parquet"
    suffix = content_suffix(path)
    if suffix in _PARQUET_SUFFIXES:
        raise FileAccessError(str(path), "is not a Parquet file, though its name says so")
    first = start.lstrip(_LEADING)[:1]
    if suffix in _JSON_SUFFIXES and first == b"[":
        raise FileAccessError(str(path), f"is one JSON array; {_LINES_OF_JSON}")
    return "jsonl" if suffix in _JSON_SUFFIXES or first == b"{" else "csv"


def content_suffix(path: Path) -> str:
    """Return the suffix of a name less that of a compression, in small letters.

    Examples
    --------
    >>> content_suffix(Path("a.JSONL.gz")), content_suffix(Path("a.zip:b.csv")), content_suffix(Path("a.xz"))
    ('.jsonl', '.csv', '')
    """
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in PACKED_SUFFIXES else suffix


def is_table_name(name: str) -> bool:
    """Return whether a name is one that files of rows have, packed or not."""
    suffixes = Path(name).suffixes
    return bool(suffixes) and (content_suffix(Path(name)) in TABLE_SUFFIXES or suffixes[-1].lower() in PACKED_SUFFIXES)
