"""Generated from the schemas by events/schemas/generate.py."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Optional, Sequence

from .._event import Event, Field, Kind, now


@dataclass(frozen=True)
class AuditAdminOperation(Event):
    """A change that somebody asked for through an administrative interface; each is told before it is carried out and again when it is answered."""

    node: str
    """The node that says so."""
    request_id: str
    """What both events of the operation share."""
    stage: Literal["requested", "completed"]
    """Whether it is about to be carried out, or was."""
    actor: str
    """Who asked: the principal of the client's certificate, else the client's network."""
    interface: str
    """Which way it came: admin-api, file, command."""
    method: str
    """The request's method."""
    operation: str
    """create, update, upsert, delete, load, or the endpoint's own word."""
    time: int = field(default_factory=now)
    """When the request's head was complete, in both events of an operation."""
    trace_id: Optional[str] = None
    """The trace that it belongs to: 32 hexadecimal digits."""
    client_address: Optional[str] = None
    """The client's network (/24, /48) or its address under the node's key."""
    entity_kind: Optional[str] = None
    """What is changed, as the interface names the kind."""
    entity_id: Optional[str] = None
    """The entity's id or name, as it was asked for; never a credential."""
    fields: Sequence[str] = ()
    """The names of the fields that the request has; never their values."""
    status: Optional[int] = None
    """The answer's status, once there is one."""
    error: Optional[str] = None
    """Why it was refused, in the answer's words without values."""

    KIND: ClassVar[Kind] = Kind(
        topic="audit-admin-operations",
        type="carbyne.audit.admin-operation",
        schema="carbyne.events.AuditAdminOperation",
        fingerprint="7cbafbdedc46a1c9",
        key=("actor",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("node", "string", optional=False, values=()),
            Field("request_id", "string", optional=False, values=()),
            Field("trace_id", "string", optional=True, values=()),
            Field("stage", "string", optional=False, values=("requested", "completed")),
            Field("actor", "string", optional=False, values=()),
            Field("client_address", "string", optional=True, values=()),
            Field("interface", "string", optional=False, values=()),
            Field("method", "string", optional=False, values=()),
            Field("operation", "string", optional=False, values=()),
            Field("entity_kind", "string", optional=True, values=()),
            Field("entity_id", "string", optional=True, values=()),
            Field("fields", "array", optional=False, values=()),
            Field("status", "int", optional=True, values=()),
            Field("error", "string", optional=True, values=()),
        ),
    )
