"""Generated from the schemas by events/schemas/generate.py."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Optional

from .._event import Event, Field, Kind, now


@dataclass(frozen=True)
class AuditApiCall(Event):
    """A request that the gateway answered."""

    node: str
    """The gateway's node."""
    request_id: str
    """What the gateway answers with in X-Kong-Request-Id."""
    method: str
    """The request's method as it came."""
    scheme: str
    """http or https, as the client came."""
    protocol: str
    """HTTP/1.0, HTTP/1.1 or HTTP/2."""
    status: int
    """The answer's status; 499 where the client left before it."""
    answered_by: Literal["gateway", "plugin", "service"]
    """Who made the answer."""
    latency_total_us: int
    """From the head to the end of the answer, in microseconds."""
    latency_gateway_us: int
    """What of that was spent in the gateway."""
    bytes_in: int
    """Bytes of the request's body."""
    bytes_out: int
    """Bytes of the answer's body."""
    tries: int
    """How many hosts of the service were asked."""
    time: int = field(default_factory=now)
    """When the request's head was complete."""
    trace_id: Optional[str] = None
    """The trace that the request belongs to: 32 hexadecimal digits."""
    consumer_id: Optional[str] = None
    """Who was authenticated."""
    consumer_name: Optional[str] = None
    """The consumer's username, else its custom_id."""
    credential_id: Optional[str] = None
    """The credential's id; the credential itself is in no event."""
    route_id: Optional[str] = None
    """The route that matched."""
    route_name: Optional[str] = None
    """Its name."""
    service_id: Optional[str] = None
    """The route's service."""
    service_name: Optional[str] = None
    """Its name."""
    host: Optional[str] = None
    """The host that was asked for, in its canonical form."""
    path_template: Optional[str] = None
    """What of the route matched the path."""
    path: Optional[str] = None
    """The path as it came, without its query; only where the node is told to keep it."""
    query: Optional[str] = None
    """The query's parameters that the node's list allows; the names of the others."""
    latency_upstream_us: Optional[int] = None
    """From the last try's start to the head of its response."""
    client_address: Optional[str] = None
    """The client's network (/24, /48) or its address under the node's key."""
    tls_version: Optional[str] = None
    """TLSv1.2 or TLSv1.3, where the client came by TLS."""
    source_principal: Optional[str] = None
    """The identity in the client's certificate."""
    destination_principal: Optional[str] = None
    """The identity in the service's certificate."""

    KIND: ClassVar[Kind] = Kind(
        topic="audit-api-calls",
        type="carbyne.audit.api-call",
        schema="carbyne.events.AuditApiCall",
        fingerprint="20d9d8ffda377fa1",
        key=(),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("node", "string", optional=False, values=()),
            Field("request_id", "string", optional=False, values=()),
            Field("trace_id", "string", optional=True, values=()),
            Field("consumer_id", "string", optional=True, values=()),
            Field("consumer_name", "string", optional=True, values=()),
            Field("credential_id", "string", optional=True, values=()),
            Field("route_id", "string", optional=True, values=()),
            Field("route_name", "string", optional=True, values=()),
            Field("service_id", "string", optional=True, values=()),
            Field("service_name", "string", optional=True, values=()),
            Field("method", "string", optional=False, values=()),
            Field("scheme", "string", optional=False, values=()),
            Field("protocol", "string", optional=False, values=()),
            Field("host", "string", optional=True, values=()),
            Field("path_template", "string", optional=True, values=()),
            Field("path", "string", optional=True, values=()),
            Field("query", "string", optional=True, values=()),
            Field("status", "int", optional=False, values=()),
            Field("answered_by", "string", optional=False, values=("gateway", "plugin", "service")),
            Field("latency_total_us", "long", optional=False, values=()),
            Field("latency_gateway_us", "long", optional=False, values=()),
            Field("latency_upstream_us", "long", optional=True, values=()),
            Field("bytes_in", "long", optional=False, values=()),
            Field("bytes_out", "long", optional=False, values=()),
            Field("tries", "int", optional=False, values=()),
            Field("client_address", "string", optional=True, values=()),
            Field("tls_version", "string", optional=True, values=()),
            Field("source_principal", "string", optional=True, values=()),
            Field("destination_principal", "string", optional=True, values=()),
        ),
    )
