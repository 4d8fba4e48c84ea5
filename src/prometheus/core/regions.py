"""Regions of several instruments, as a user writes them down: members with weights, and the one that sets the dates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, ValidationInfo, field_validator

from prometheus.core.files import reason_of

Name = Annotated[str, Field(min_length=1, strict=True)]
Weight = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False, strict=True)]


class RegionDefinition(BaseModel):
    """Which instruments make a region, and how much each counts; frozen.

    Attributes
    ----------
    members
        Positive weight by instrument id; at least one. Only their ratios matter.
    anchor
        The member whose sessions are the region's dates; the heaviest unless given, of equal ones the first named.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    members: Annotated[dict[Name, Weight], Field(min_length=1)]
    anchor: Annotated[str, Field(validate_default=True)] = ""

    @field_validator("anchor")
    @classmethod
    def _is_a_member(cls, anchor: str, info: ValidationInfo) -> str:
        members: Mapping[str, float] = info.data.get("members", {})
        if not anchor:
            return max(members, key=lambda member: members[member], default="")
        if members and anchor not in members:
            raise ValueError(f"{anchor!r} is no member; choose one of {', '.join(members)}")
        return anchor


Regions = dict[Name, RegionDefinition]
"""Regions by name."""


def parse_regions(text: str) -> Regions:
    """Return the regions of a JSON object.

    Raises
    ------
    ValueError
        One line that names what is wrong.
    """
    try:
        document = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON object of regions ({error})") from error
    return _checked(document)


def read_regions(path: Path) -> Regions:
    """Return the regions of a file: TOML if its name ends in ``.toml``, else JSON.

    Raises
    ------
    ValueError
        One line that names the file and what is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read ({reason_of(error)})") from error
    try:
        return _parse_toml(text) if path.suffix.lower() == ".toml" else parse_regions(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _parse_toml(text: str) -> Regions:
    import tomllib  # noqa: PLC0415 -- only for those who keep regions in TOML

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"is no TOML table of regions ({error})") from error
    return _checked(document)


def _checked(document: object) -> Regions:
    try:
        return TypeAdapter(Regions).validate_python(document)
    except ValidationError as error:
        mistakes = [
            ": ".join([".".join(str(part) for part in item["loc"]), item["msg"].removeprefix("Value error, ")])
            for item in error.errors(include_url=False)
        ]
        raise ValueError("; ".join(mistake.removeprefix(": ") for mistake in mistakes)) from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse what `json` would silently drop: a region or a member named twice."""
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"{max(names, key=names.count)!r} stands there twice")
    return dict(pairs)
