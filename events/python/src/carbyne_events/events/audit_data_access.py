"""Generated from the schemas by events/schemas/generate.py."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Optional, Sequence

from .._event import Event, Field, Kind, now


@dataclass(frozen=True)
class AuditDataAccess(Event):
    """Somebody read or changed data that is watched."""

    service: str
    """The application that says so."""
    resource: str
    """The resource's id."""
    actor: str
    """Who: a user, a workload's principal."""
    operation: Literal["read", "write", "delete", "export", "share"]
    """What was done."""
    outcome: Literal["success", "failure", "denied"]
    """How it ended."""
    time: int = field(default_factory=now)
    """When it happened."""
    purpose: Optional[str] = None
    """What for."""
    classification: Optional[str] = None
    """How the data is classified."""
    fields: Sequence[str] = ()
    """The names of the fields that were touched; never their values."""
    records: Optional[int] = None
    """How many records."""
    bytes: Optional[int] = None
    """How many bytes."""
    client_address: Optional[str] = None
    """The client's network (/24, /48) or its address under a key."""
    request_id: Optional[str] = None
    """The request that it was part of."""
    trace_id: Optional[str] = None
    """The trace that it belongs to: 32 hexadecimal digits."""
    reason: Optional[str] = None
    """Why it failed or was denied."""

    KIND: ClassVar[Kind] = Kind(
        topic="audit-data-access",
        type="carbyne.audit.data-access",
        schema="carbyne.events.AuditDataAccess",
        fingerprint="838ef21ed62f006d",
        key=("resource",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("service", "string", optional=False, values=()),
            Field("resource", "string", optional=False, values=()),
            Field("actor", "string", optional=False, values=()),
            Field("operation", "string", optional=False, values=("read", "write", "delete", "export", "share")),
            Field("outcome", "string", optional=False, values=("success", "failure", "denied")),
            Field("purpose", "string", optional=True, values=()),
            Field("classification", "string", optional=True, values=()),
            Field("fields", "array", optional=False, values=()),
            Field("records", "long", optional=True, values=()),
            Field("bytes", "long", optional=True, values=()),
            Field("client_address", "string", optional=True, values=()),
            Field("request_id", "string", optional=True, values=()),
            Field("trace_id", "string", optional=True, values=()),
            Field("reason", "string", optional=True, values=()),
        ),
    )
