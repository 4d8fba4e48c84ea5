"""Pictures of the page for the documents: three widths, both themes, nothing stored, and an error.

Run ``python -m tests.web.screenshots ADDRESS EMPTY_ADDRESS``: servers over the data of ``make demo``, and over none.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from tests.web.browsing import WIDTHS, launched, visit

IMAGES = Path(__file__).parents[2] / "docs" / "images"
DAY = "/regions/US_INDEX/2020-03-16"
COLOURS = 256


def main(arguments: Sequence[str]) -> None:
    """Write every picture."""
    address, empty_address = arguments
    with launched() as browser:
        for width in WIDTHS:
            for theme in ("light", "dark"):
                with visit(browser, address, width, theme) as window:
                    page = window.open(DAY)
                    page.add_style_tag(content=".later { content-visibility: visible }")
                    page.wait_for_timeout(500)
                    save(page.screenshot(full_page=True), f"page_{width}_{theme}")
        with visit(browser, address) as window:
            save(window.open("/?as_of=2020-03-16").screenshot(), "page_overview")
            save(window.open("/regions/MARS").screenshot(), "page_error")
            window.complaints.clear()
        with visit(browser, empty_address) as window:
            save(window.open("/").screenshot(), "page_empty")


def save(png: bytes, name: str) -> None:
    """Write a picture with a palette, which takes a third of the bytes."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    # rare colours, such as those of the legend, keep their own place
    picture = picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    picture.save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
