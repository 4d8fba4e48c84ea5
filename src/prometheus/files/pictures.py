"""Pictures as PNG files."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus.core.files import FileKind, reason_of, require_writable, write_if_changed
from prometheus.errors import FileAccessError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 130
_EVALUATED = ("labels_*.png", "reliability*.png", "spread.png")
"""What an evaluation draws into a folder."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_END = len(_SIGNATURE) + 25
_RESOLUTION = struct.pack(">I4sIIB", 9, b"pHYs", *[int(DOTS_PER_INCH / 0.0254 + 0.5)] * 2, 1)


def is_picture_of_ours(content: bytes) -> bool:
    """Return whether a PNG begins as ours do: its size, then our resolution, and no word of who drew it."""
    return content.startswith(_SIGNATURE) and content.startswith(_RESOLUTION, _HEADER_END)


PICTURE = FileKind("a picture that Prometheus drew", is_picture_of_ours)


def save_figure(figure: Figure, path: Path, *, force: bool | None = None) -> bool:
    """Write a PNG whose bytes depend on the picture only; return False when it already held the same bytes.

    It replaces a picture of ours, others by `force`. `FileAccessError` if it cannot be written.
    """
    require_writable(path, PICTURE, force=force)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return write_if_changed(path, drawn.getvalue())


def require_picture_folder(folder: Path) -> None:
    """Make a folder for an evaluation's pictures; `FileAccessError` where it cannot be, or others have their names."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileAccessError(
            str(folder), f"cannot be made ({reason_of(error)}); choose another --output-dir"
        ) from error
    for path in sorted(each for pattern in _EVALUATED for each in folder.glob(pattern)):
        require_writable(path, PICTURE, option="--output-dir")
