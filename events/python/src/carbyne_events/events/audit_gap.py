"""Generated from the schemas by events/schemas/generate.py."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Optional

from .._event import Event, Field, Kind, now


@dataclass(frozen=True)
class AuditGap(Event):
    """Events were lost, and this says how many: loss is never silent."""

    producer: str
    """Whose events: node/role/worker."""
    epoch: int
    """The producer's start that they were of."""
    topic: str
    """The topic that lacks them."""
    reason: Literal["spool_full", "ring_full", "disk_failed", "block_corrupt", "too_large"]
    """Why they were lost."""
    count: int
    """How many."""
    first_time: int
    """When the first was lost."""
    last_time: int
    """When the last was lost."""
    time: int = field(default_factory=now)
    """When it was told."""
    first_sequence: Optional[int] = None
    """The first sequence that is missing; none where they were dropped before they had one."""
    last_sequence: Optional[int] = None
    """The last that is missing."""

    KIND: ClassVar[Kind] = Kind(
        topic="security-events",
        type="carbyne.audit.gap",
        schema="carbyne.events.AuditGap",
        fingerprint="2b240b310623364a",
        key=("producer",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("producer", "string", optional=False, values=()),
            Field("epoch", "long", optional=False, values=()),
            Field("topic", "string", optional=False, values=()),
            Field("reason", "string", optional=False, values=("spool_full", "ring_full", "disk_failed", "block_corrupt", "too_large")),
            Field("count", "long", optional=False, values=()),
            Field("first_time", "long", optional=False, values=()),
            Field("last_time", "long", optional=False, values=()),
            Field("first_sequence", "long", optional=True, values=()),
            Field("last_sequence", "long", optional=True, values=()),
        ),
    )
