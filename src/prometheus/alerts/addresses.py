"""Which addresses a webhook may have, and connections to exactly the address that was judged."""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import SplitResult, parse_qsl, urlsplit

SECRET_NAME = re.compile(
    r"token|secret|passw|bearer|signature|authorization|api.?key|(^|[^a-z])(key|auth|sig)($|[^a-z])", re.IGNORECASE
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PORTS = {"http": 80, "https": 443}


def parse_address(address: str) -> SplitResult:
    """Return the parts of a webhook's address; `ValueError` says why it cannot be one, without repeating a secret."""
    if not re.fullmatch(r"[!-~]+", address):
        raise ValueError("the address holds spaces or letters outside ASCII")
    parts = urlsplit(address)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("the address is not http:// or https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the address holds a user or a password; requests are signed, leave them away")
    named = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if SECRET_NAME.search(name)]
    if named:
        raise ValueError(f"the address holds a secret in {named[0]!r}, which ends up in logs; leave it away")
    port_of(parts)
    return parts


def port_of(parts: SplitResult) -> int:
    """Return the port of an address, that of its scheme unless it names one; `ValueError` for one that cannot be."""
    return _PORTS[parts.scheme] if parts.port is None else parts.port


def resolve(parts: SplitResult, *, allow_private: bool) -> list[str]:
    """Return the IP addresses of a host; `OSError` without any, `PermissionError` if one of them is not public."""
    host = str(parts.hostname)
    found = socket.getaddrinfo(host, port_of(parts), type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    hidden = [] if allow_private else [each for each in addresses if not is_public(each)]
    if hidden:
        reason = f"{host} is {hidden[0]}, not a public address; say allow_private = true if that is meant"
        raise PermissionError(0, reason)
    return addresses


def is_public(address: str) -> bool:
    """Return whether an IP address, or the IPv4 address inside it, can be reached from everywhere.

    Examples
    --------
    >>> [is_public(each) for each in ("8.8.8.8", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1")]
    [True, False, False, False, False]
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        found = inner or found
    return found.is_global and not found.is_multicast


def connect(parts: SplitResult, timeout_s: float, *, allow_private: bool) -> socket.socket:
    """Return a connection to the first address of a host that answers; all of them are judged first, as in `resolve`.

    The name is not asked for again in between, so a name server that changes its mind leads nowhere else.
    """
    failure: OSError = OSError(0, f"{parts.hostname} has no address")
    for address in resolve(parts, allow_private=allow_private):
        try:
            return socket.create_connection((address, port_of(parts)), timeout_s)
        except OSError as error:
            failure = error
    raise failure
