"""Secrets that settings name and never hold: the text of a private file, or an environment variable."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pydantic import BaseModel, ConfigDict, PrivateAttr, SecretStr, ValidationInfo, field_validator, model_validator

from prometheus.core.files import absolute_path, open_regular
from prometheus.errors import FileAccessError

MAX_SECRET_BYTES = 4_096


def read_private_file(path: Path) -> bytes:
    """Return the first bytes of a file, one more than `MAX_SECRET_BYTES` at most.

    `FileAccessError` for one that cannot be read, or that others may use.
    """
    with open_regular(path) as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        content = file.read(MAX_SECRET_BYTES + 1)
    if mode & 0o077:
        raise FileAccessError(str(path), f"others may use it (mode {mode:04o}); run: chmod 600 {path}")
    return content


class SecretSource(BaseModel):
    """Where a secret is: a file that only its owner may read, or an environment variable; read once, when it is named.

    A relative path starts at the folder of the file that names it, else at the current one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    file: Path | None = None
    variable: str | None = None
    _value: SecretStr = PrivateAttr()

    @field_validator("file")
    @classmethod
    def _start_at_the_folder(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return None if path is None else absolute_path(path, (info.context or {}).get("folder", Path()))

    @model_validator(mode="after")
    def _read(self) -> SecretSource:
        if (self.file is None) == (self.variable is None):
            raise ValueError('name one place: {file = "…"} or {variable = "…"}')
        if self.file is not None:
            text = read_private_file(self.file).decode("utf-8", "replace")
        else:
            text = os.environ.get(str(self.variable), "")
        text = text.strip()
        if not text or len(text.encode()) > MAX_SECRET_BYTES or not text.isprintable():
            raise ValueError(f"{self.file or self.variable} holds no secret: one line of text is wanted")
        self._value = SecretStr(text)
        return self

    def reveal(self) -> str:
        """Return the secret."""
        return self._value.get_secret_value()
