"""Regions as a user writes them down: members with weights, or one instrument, and what a night does with them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from prometheus.core.files import reason_of

Name = Annotated[str, Field(min_length=1, strict=True)]
Weight = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False, strict=True)]


class RegionDefinition(BaseModel):
    """What a region is made of: members, each with a weight, or one instrument; frozen.

    Members, weights and anchor are its identity and part of the id of its embeddings; what stands below them only says
    what `nightly` does with it.

    Attributes
    ----------
    members
        Positive weight by instrument id; at least one. Only their ratios matter. The instrument alone, where it is one.
    anchor
        The member whose sessions are the region's dates; the heaviest unless given, of equal ones the first named.
    instrument_id
        Stands for the region by itself, embedded as an instrument; given instead of `members`.
    prototypes
        File that labels the region, absolute; None for the seed model. A relative path starts at the folder of the
        file the region is written in, or at the current one.
    country
        Whose macro events are joined with the region; None for all.
    language
        In which articles are joined with the region; None for all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    members: Annotated[dict[Name, Weight], Field(min_length=1)]
    anchor: Annotated[str, Field(validate_default=True)] = ""
    instrument_id: Name | None = None
    prototypes: Path | None = None
    country: Name | None = None
    language: Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_instrument_is_the_only_member(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not isinstance(given.get("instrument_id"), str):
            return given
        alone = {given["instrument_id"]: 1.0}
        if given.get("members", alone) != alone:
            raise ValueError("has members and an instrument_id; keep one of them")
        return {**given, "members": alone}

    @field_validator("anchor")
    @classmethod
    def _is_a_member(cls, anchor: str, info: ValidationInfo) -> str:
        members: Mapping[str, float] = info.data.get("members", {})
        if not anchor:
            return max(members, key=lambda member: members[member], default="")
        if members and anchor not in members:
            raise ValueError(f"{anchor!r} is no member; choose one of {', '.join(members)}")
        return anchor

    @field_validator("prototypes")
    @classmethod
    def _start_at_the_folder(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is None:
            return None
        folder = (info.context or {}).get("folder", Path())
        try:
            return Path(os.path.abspath(folder / path.expanduser()))  # noqa: PTH100 -- resolve() would follow links
        except (RuntimeError, OSError) as error:  # ~name of an account, or a current folder, that does not exist
            raise ValueError(str(error)) from error


Regions = dict[Name, RegionDefinition]
"""Regions by name."""


def parse_regions(text: str, folder: Path | None = None) -> Regions:
    """Return the regions of a JSON object.

    Parameters
    ----------
    folder
        Where relative paths start; None for the current one.

    Raises
    ------
    ValueError
        One line that names what is wrong.
    """
    try:
        document = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON object of regions ({error})") from error
    return _checked(document, folder)


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
        parse = _parse_toml if path.suffix.lower() == ".toml" else parse_regions
        return parse(text, path.parent)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _parse_toml(text: str, folder: Path | None) -> Regions:
    import tomllib  # noqa: PLC0415 -- only for those who keep regions in TOML

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"is no TOML table of regions ({error})") from error
    return _checked(document, folder)


def _checked(document: object, folder: Path | None) -> Regions:
    try:
        return TypeAdapter(Regions).validate_python(document, context={"folder": folder or Path()})
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
