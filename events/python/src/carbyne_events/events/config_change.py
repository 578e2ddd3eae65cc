"""Generated from the schemas by events/schemas/generate.py."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Optional, Sequence

from .._event import Event, Field, Kind, now


@dataclass(frozen=True)
class ConfigChange(Event):
    """What an entity of the configuration is now: a compacted topic keeps the last of each."""

    node: str
    """The node that says so."""
    entity: str
    """kind/id: what changed."""
    change: Literal["created", "updated", "loaded"]
    """What happened to it."""
    time: int = field(default_factory=now)
    """When it was committed."""
    name: Optional[str] = None
    """The entity's own name."""
    request_id: Optional[str] = None
    """The administrative operation that did it."""
    trace_id: Optional[str] = None
    """The trace that it belongs to: 32 hexadecimal digits."""
    actor: Optional[str] = None
    """Who asked for it."""
    version: Optional[int] = None
    """The configuration's version that has it."""
    fields: Sequence[str] = ()
    """The names of the fields that have a value; never their values."""

    KIND: ClassVar[Kind] = Kind(
        topic="config-changes",
        type="carbyne.config.changed",
        schema="carbyne.events.ConfigChange",
        fingerprint="dece3bb95963bc3e",
        key=("entity",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("node", "string", optional=False, values=()),
            Field("entity", "string", optional=False, values=()),
            Field("name", "string", optional=True, values=()),
            Field("change", "string", optional=False, values=("created", "updated", "loaded")),
            Field("request_id", "string", optional=True, values=()),
            Field("trace_id", "string", optional=True, values=()),
            Field("actor", "string", optional=True, values=()),
            Field("version", "long", optional=True, values=()),
            Field("fields", "array", optional=False, values=()),
        ),
    )


@dataclass(frozen=True)
class ConfigRemoval(Event):
    """An entity is gone: the topic forgets it."""

    entity: str
    """kind/id: what changed."""
    time: int = field(default_factory=now)
    """When it was so."""

    KIND: ClassVar[Kind] = Kind(
        topic="config-changes",
        type="carbyne.config.removed",
        schema=None,
        fingerprint="",
        key=("entity",),
        fields=(),
    )
