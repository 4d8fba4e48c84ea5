"""Time zones by name."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from prometheus.errors import UsageError


def load_zone(option: str, name: str) -> ZoneInfo:
    """Return an IANA time zone.

    Raises
    ------
    UsageError
        There is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:  # OSError: "America" is a directory
        raise UsageError(
            f"{option} {name[:60]!r}: no such time zone; give an IANA name such as UTC or America/New_York"
        ) from error
