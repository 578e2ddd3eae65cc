"""What all events have in common: their schema, their check, their Avro body."""

from __future__ import annotations

import math
import struct
import time as clock
from dataclasses import dataclass
from typing import Any, ClassVar, Optional

from ._errors import SchemaError


def now() -> int:
    """Microseconds since 1970."""
    return clock.time_ns() // 1_000


@dataclass(frozen=True)
class Field:
    """A field of a schema."""

    name: str
    type: str
    optional: bool
    values: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """A schema, and where its events go."""

    topic: str
    type: str
    """CloudEvents' type."""
    schema: Optional[str]
    """Its full name; ``None``: a tombstone, which has no value."""
    fingerprint: str
    key: tuple[str, ...]
    """The fields of which the first that is there is the key."""
    fields: tuple[Field, ...]

    @property
    def compacted(self) -> bool:
        """Whether the topic keeps the last event of each key, so that each must have one."""
        return self.topic in COMPACTED


class Event:
    """Something that happened; its classes are in :mod:`carbyne_events.events`."""

    KIND: ClassVar[Kind]

    def key(self) -> Optional[bytes]:
        """What the topic keeps it under. Raises :class:`SchemaError` where it must have a key and has none."""
        named = (getattr(self, name) for name in self.KIND.key)
        key = next((value for value in named if value is not None), None)
        if key == "" or key is None and self.KIND.compacted:
            raise SchemaError(f"{type(self).__name__} needs a key: {' or '.join(self.KIND.key)} is empty")
        return None if key is None else _utf8(self, self.KIND.key[0], key)

    def as_dict(self) -> dict[str, Any]:
        """Its fields in the schema's order, checked against it."""
        checked = {}
        for field in self.KIND.fields:
            value = getattr(self, field.name)
            _check(self, field, value)
            checked[field.name] = list(value) if field.type == "array" else dict(value) if field.type == "map" else value
        return checked

    def avro(self) -> bytes:
        """Its body in Avro's binary form."""
        body = bytearray()
        for field in self.KIND.fields:
            value = getattr(self, field.name)
            _check(self, field, value)
            if field.optional:
                _long(body, 0 if value is None else 1)
                if value is None:
                    continue
            _write(body, field.type, value)
        return bytes(body)


def _check(event: Event, field: Field, value: Any) -> None:
    if value is None and field.optional:
        return
    fits = {
        "string": lambda: isinstance(value, str),
        # A bool is an int to Python, not to a schema.
        "long": lambda: type(value) is int and -(1 << 63) <= value < 1 << 63,
        "int": lambda: type(value) is int and -(1 << 31) <= value < 1 << 31,
        "double": lambda: type(value) in (int, float) and math.isfinite(value),
        "boolean": lambda: isinstance(value, bool),
        "array": lambda: isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value),
        "map": lambda: isinstance(value, dict) and all(isinstance(part, str) for pair in value.items() for part in pair),
    }
    if not fits[field.type]():
        raise SchemaError(f"{type(event).__name__}.{field.name} must be {'null or ' if field.optional else ''}{field.type}, not {value!r}")
    if field.values and value not in field.values:
        raise SchemaError(f"{type(event).__name__}.{field.name} must be one of {', '.join(field.values)}, not {value!r}")
    if field.type == "string":
        _utf8(event, field.name, value)


def _utf8(event: Event, name: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise SchemaError(f"{type(event).__name__}.{name} is no Unicode text") from None


def _write(body: bytearray, kind: str, value: Any) -> None:
    if kind == "string":
        _string(body, value)
    elif kind in ("long", "int"):
        _long(body, value)
    elif kind == "double":
        body += struct.pack("<d", value)
    elif kind == "boolean":
        body.append(value)
    elif kind == "array":
        if value:
            _long(body, len(value))
            for item in value:
                _string(body, item)
        _long(body, 0)
    else:
        if value:
            _long(body, len(value))
            # The same map has the same bytes.
            for name in sorted(value):
                _string(body, name)
                _string(body, value[name])
        _long(body, 0)


def _string(body: bytearray, text: str) -> None:
    encoded = text.encode()
    _long(body, len(encoded))
    body += encoded


def _long(body: bytearray, number: int) -> None:
    """Zigzag, seven bits a byte."""
    rest = (number << 1) ^ (number >> 63)
    while rest > 0x7F:
        body.append(rest & 0x7F | 0x80)
        rest >>= 7
    body.append(rest)


COMPACTED = frozenset({"config-changes", "data-lineage", "system-health"})
"""The topics that keep the last event of each key, by ``events/topics.yaml``."""
