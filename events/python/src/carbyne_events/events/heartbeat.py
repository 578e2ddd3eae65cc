"""Generated from the schemas by events/schemas/generate.py."""

from dataclasses import dataclass, field
from typing import ClassVar

from .._event import Event, Field, Kind, now


@dataclass(frozen=True)
class Heartbeat(Event):
    """How far a producer is: what has a higher sequence than is found was lost."""

    stream: str
    """producer/epoch: whose sequences."""
    producer: str
    """node/role/worker."""
    epoch: int
    """The producer's start."""
    sequence: int
    """The last sequence before this event."""
    lost: int
    """How many events of this epoch were dropped before they had a sequence."""
    time: int = field(default_factory=now)
    """When it was so."""

    KIND: ClassVar[Kind] = Kind(
        topic="system-health",
        type="carbyne.audit.heartbeat",
        schema="carbyne.events.Heartbeat",
        fingerprint="dfcf7a2bd4538193",
        key=("stream",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("stream", "string", optional=False, values=()),
            Field("producer", "string", optional=False, values=()),
            Field("epoch", "long", optional=False, values=()),
            Field("sequence", "long", optional=False, values=()),
            Field("lost", "long", optional=False, values=()),
        ),
    )
