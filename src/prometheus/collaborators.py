"""What an object that somebody hands over must offer, asked before it is worked with."""

from __future__ import annotations

from prometheus.errors import UsageError


def offers(collaborator: object, *methods: str) -> bool:
    """Return whether an object has all these methods."""
    return all(callable(getattr(collaborator, name, None)) for name in methods)


def require_methods(collaborator: object, user: str, role: str, *methods: str) -> None:
    """Raise `UsageError` with the first of the methods that an object lacks, before `user` works with it as `role`."""
    for name in methods:
        if not offers(collaborator, name):
            owner = type(collaborator).__qualname__
            raise UsageError(f"{owner} has no method {name!r}, which {user} needs of its {role}")
