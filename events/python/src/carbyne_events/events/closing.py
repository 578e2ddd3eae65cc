"""Generated from the schemas by events/schemas/generate.py."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from .._event import Event, Field, Kind, now


@dataclass(frozen=True)
class Closing(Event):
    """A producer is done: this is the last sequence of its epoch."""

    producer: str
    """node/role/worker."""
    epoch: int
    """The start that ends."""
    sequence: int
    """The last sequence before this event."""
    lost: int
    """How many events of this epoch were dropped before they had a sequence."""
    reason: Literal["stopped", "recovered"]
    """Whether the producer said so itself, or a successor that found its ring."""
    time: int = field(default_factory=now)
    """When it ended; where a successor says so, when that began."""

    KIND: ClassVar[Kind] = Kind(
        topic="security-events",
        type="carbyne.audit.closing",
        schema="carbyne.events.Closing",
        fingerprint="f77af7c55569d12d",
        key=("producer",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("producer", "string", optional=False, values=()),
            Field("epoch", "long", optional=False, values=()),
            Field("sequence", "long", optional=False, values=()),
            Field("lost", "long", optional=False, values=()),
            Field("reason", "string", optional=False, values=("stopped", "recovered")),
        ),
    )
