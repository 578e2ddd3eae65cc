"""Emits Carbyne's audit and domain events to Kafka.

>>> with EventProducer({"bootstrap.servers": "localhost:9092"}, source="billing") as producer:
...     producer.emit(DataQuality(service="billing", dataset="invoices", check="not-null", severity="error", passed=False))

``emit`` copies and returns; delivery is idempotent, compressed by LZ4 and partitioned as Java and Rust do. Each event carries its
producer's sequence, so that ``carbyne events verify`` can say whether any is missing.
"""

from . import events
from ._errors import BufferFull, EventError, ProducerClosed, SchemaError, TooLarge, Undelivered
from ._event import Event, Field, Kind, now
from .asynchronous import AsyncEventProducer
from .envelope import Form
from .events import *  # noqa: F403
from .partition import murmur2, partition
from .producer import EventProducer
from .redaction import Redaction

__all__ = [
    "AsyncEventProducer",
    "BufferFull",
    "Event",
    "EventError",
    "EventProducer",
    "Field",
    "Form",
    "Kind",
    "ProducerClosed",
    "Redaction",
    "SchemaError",
    "TooLarge",
    "Undelivered",
    "murmur2",
    "now",
    "partition",
    *events.__all__,
]
