"""Generated from the schemas by events/schemas/generate.py."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Mapping, Optional

from .._event import Event, Field, Kind, now


@dataclass(frozen=True)
class AuditUserAction(Event):
    """Something that a user of an application did."""

    service: str
    """The application that says so."""
    user: str
    """The user's id."""
    action: str
    """What was done, in the application's words."""
    outcome: Literal["success", "failure", "denied"]
    """How it ended."""
    time: int = field(default_factory=now)
    """When it was done."""
    resource_kind: Optional[str] = None
    """What it was done to."""
    resource_id: Optional[str] = None
    """The resource's id."""
    session_hash: Optional[str] = None
    """A hash of the session's id."""
    client_address: Optional[str] = None
    """The client's network (/24, /48) or its address under a key."""
    request_id: Optional[str] = None
    """The request that it was part of."""
    trace_id: Optional[str] = None
    """The trace that it belongs to: 32 hexadecimal digits."""
    reason: Optional[str] = None
    """Why it failed or was denied."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What else the application has to say."""

    KIND: ClassVar[Kind] = Kind(
        topic="audit-user-actions",
        type="carbyne.audit.user-action",
        schema="carbyne.events.AuditUserAction",
        fingerprint="34d285e4b1870ae1",
        key=("user",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("service", "string", optional=False, values=()),
            Field("user", "string", optional=False, values=()),
            Field("action", "string", optional=False, values=()),
            Field("outcome", "string", optional=False, values=("success", "failure", "denied")),
            Field("resource_kind", "string", optional=True, values=()),
            Field("resource_id", "string", optional=True, values=()),
            Field("session_hash", "string", optional=True, values=()),
            Field("client_address", "string", optional=True, values=()),
            Field("request_id", "string", optional=True, values=()),
            Field("trace_id", "string", optional=True, values=()),
            Field("reason", "string", optional=True, values=()),
            Field("attributes", "map", optional=False, values=()),
        ),
    )
