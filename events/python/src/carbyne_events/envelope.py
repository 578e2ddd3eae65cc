"""What surrounds an event: CloudEvents 1.0 in its binary mode for Kafka, and the form of the value."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import List, Mapping, Optional, Tuple, Union

from ._errors import SchemaError
from ._event import Event


Headers = List[Tuple[str, Union[str, bytes, None]]]


@dataclass(frozen=True)
class Form:
    """How values are written: ``Form.json()``, ``Form.avro()``, or ``Form.confluent(ids)``."""

    name: str
    ids: Optional[Mapping[str, int]] = None

    @staticmethod
    def json() -> Form:
        """An object with the schema's fields."""
        return Form("application/json")

    @staticmethod
    def avro() -> Form:
        """Avro's single-object encoding: the schema's fingerprint in front."""
        return Form("avro/binary")

    @staticmethod
    def confluent(ids: Mapping[str, int]) -> Form:
        """As the clients of a schema registry read it: the registry's number for the schema in front, by the schema's full name."""
        return Form("application/vnd.confluent.avro", dict(ids))

    def value(self, event: Event) -> Optional[bytes]:
        """An event's value; ``None`` for a tombstone."""
        kind = event.KIND
        if kind.schema is None:
            event.as_dict()
            return None
        if self.ids is not None:
            if kind.schema not in self.ids:
                raise SchemaError(f"the registry's number of {kind.schema} is not known")
            return b"\x00" + self.ids[kind.schema].to_bytes(4, "big") + event.avro()
        if self.name == "avro/binary":
            return b"\xc3\x01" + bytes.fromhex(kind.fingerprint)[::-1] + event.avro()
        return json.dumps(event.as_dict(), separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


@dataclass(frozen=True)
class Stamp:
    """Which event of which producer it is: what proves that none is missing."""

    producer: str
    epoch: int
    sequence: int
    previous: Optional[int]
    """The producer's sequence before this one in the same topic."""


def headers(event: Event, key: Optional[bytes], stamp: Stamp, form: Form, traceparent: Optional[str]) -> Headers:
    """All headers of an event."""
    kind = event.KIND
    pairs = {
        "epoch": str(stamp.epoch),
        "sequence": str(stamp.sequence),
        "producer": stamp.producer,
        "ce_specversion": "1.0",
        "ce_id": f"{stamp.producer}/{stamp.epoch}/{stamp.sequence}",
        "ce_source": f"/{stamp.producer}",
        "ce_type": kind.type,
        "ce_time": timestamp(getattr(event, "time")),
    }
    if stamp.previous is not None:
        pairs["previous"] = str(stamp.previous)
    if kind.schema is not None:
        pairs["ce_dataschema"] = f"urn:carbyne:schema:{kind.schema}:{kind.fingerprint}"
        pairs["content-type"] = form.name
    if traceparent is not None:
        pairs["traceparent"] = traceparent
    written: Headers = [(name, text.encode()) for name, text in pairs.items()]
    if key:
        written.append(("ce_subject", key))
    return written


def timestamp(microseconds: int) -> str:
    """RFC 3339, in UTC."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=microseconds)
    except OverflowError:
        raise SchemaError(f"{microseconds} is no time that has a date") from None
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"
