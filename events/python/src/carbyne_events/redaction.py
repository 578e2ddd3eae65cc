"""What may be said of a request: the rules of every producer, whatever its language.

Events are kept for a year and read by many. What a client proved itself with is in no field; addresses become networks or keyed hashes,
of a query remains what a list allows, paths are told only where they may be.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from typing import Any, Optional, TypeVar

from ._event import Event

Some = TypeVar("Some", bound=Event)

LONGEST = 1024
SHORTEST_KEY = 16


@dataclass(frozen=True)
class Redaction:
    """A service's rules; the producer applies them to every event."""

    query: tuple[str, ...] = ()
    """Names of query parameters that may be told."""
    key: Optional[bytes] = dataclasses.field(default=None, repr=False)
    """Hashes addresses in place of cutting them; at least 16 bytes."""
    paths: bool = False
    """Whether paths are told as they came."""

    def __post_init__(self) -> None:
        if self.key is not None and len(self.key) < SHORTEST_KEY:
            raise ValueError(f"the key of addresses has fewer than {SHORTEST_KEY} bytes")

    def event(self, event: Some) -> Some:
        """The event with what it says of a request made fit to be told."""
        changes: dict[str, Any] = {}
        for field in event.KIND.fields:
            value = getattr(event, field.name)
            if not isinstance(value, str):
                continue
            told: Optional[str] = value
            if field.name == "client_address":
                told = self._client(value)
            elif field.name == "path":
                told = self.path_of(value)
            elif field.name == "query":
                told = self.query_of(value)
            if told != value:
                changes[field.name] = told
        return dataclasses.replace(event, **changes) if changes else event  # type: ignore[type-var]

    def address(self, address: str) -> str:
        """A client's address: its network, or a hash by which the same client is known again."""
        parsed = ipaddress.ip_address(address.split("%", 1)[0])
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        if self.key is not None:
            return "hmac:" + hmac.new(self.key, parsed.packed, hashlib.sha256).hexdigest()[:32]
        if isinstance(parsed, ipaddress.IPv4Address):
            return ".".join(str(byte) for byte in parsed.packed[:3]) + ".0/24"
        groups = [int.from_bytes(parsed.packed[start : start + 2], "big") for start in (0, 2, 4)]
        return ":".join(f"{group:x}" for group in groups) + "::/48"

    def path_of(self, target: str) -> Optional[str]:
        """A path without its query, where paths are told."""
        if not self.paths:
            return None
        end = min((at for at in (target.find("?"), target.find("#")) if at >= 0), default=len(target))
        return clipped(target[:end], LONGEST)

    def query_of(self, query: str) -> Optional[str]:
        """Of a query, the parameters that may be told; ``None`` where that is nothing."""
        told = ""
        for pair in query.split("&"):
            name = pair.split("=", 1)[0]
            if name not in self.query or len(told.encode()) + len(pair.encode()) >= LONGEST:
                continue
            told += f"&{pair}" if told else pair
        return told or None

    def _client(self, said: str) -> Optional[str]:
        if said.startswith("hmac:") or said.endswith(("/24", "/48")):
            return said
        try:
            return self.address(said)
        except ValueError:
            # Whatever it is, it is no address that was made fit.
            return None


def key_id(name: str) -> str:
    """A hash of a key's id: which key, for whoever has the key set, and nothing for others."""
    return "sha256:" + hashlib.sha256(name.encode()).hexdigest()[:32]


def clipped(text: str, most: int) -> str:
    """The beginning of a text that a client chose, of at most so many bytes."""
    return text.encode()[:most].decode(errors="ignore")
