"""Generated from the schemas by events/schemas/generate.py."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Optional

from .._event import Event, Field, Kind, now


@dataclass(frozen=True)
class SecurityEvent(Event):
    """A refusal, or many alike told as one: count says how many, time and last_time when the first and the last were."""

    node: str
    """The node that says so."""
    component: str
    """carbyne-gateway, carbyne-proxy."""
    reason: Literal["authentication_missing", "authentication_invalid", "access_denied", "rate_limited", "address_denied", "too_large", "guard_unavailable", "policy_denied", "token_missing", "token_invalid", "authorizer_denied", "authorizer_failed", "handshake_failed", "plaintext_refused", "malformed_request", "admin_denied", "various"]
    """Why."""
    count: int
    """How many this one stands for."""
    last_time: int
    """When the last of them was."""
    time: int = field(default_factory=now)
    """When it happened; of many, the first."""
    policy: Optional[str] = None
    """What decided: the plugin, the authorization policy, the listener's setting."""
    policy_id: Optional[str] = None
    """The id of the plugin's instance, where it has one."""
    status: Optional[int] = None
    """The answer's status, where there was one."""
    detail: Optional[str] = None
    """More of it, in words of our own."""
    source_principal: Optional[str] = None
    """The peer's identity by its certificate."""
    client_address: Optional[str] = None
    """The client's network (/24, /48) or its address under the node's key."""
    destination_principal: Optional[str] = None
    """Whom it wanted to reach, by its certificate."""
    listener: Optional[str] = None
    """The listener that it came to."""
    request_id: Optional[str] = None
    """The request's id; of many, the first's."""
    trace_id: Optional[str] = None
    """The trace that it belongs to: 32 hexadecimal digits."""
    method: Optional[str] = None
    """The request's method; of many, the first's."""
    host: Optional[str] = None
    """The host that was asked for."""
    path_template: Optional[str] = None
    """What of the route matched the path."""
    route_id: Optional[str] = None
    """The route that matched."""
    service_id: Optional[str] = None
    """The route's service."""
    consumer_id: Optional[str] = None
    """Who was authenticated."""
    credential_id: Optional[str] = None
    """The credential's id."""
    token_issuer: Optional[str] = None
    """The token's issuer, where it was read."""
    token_subject: Optional[str] = None
    """The token's subject, where its signature held."""
    token_key_hash: Optional[str] = None
    """A hash of the token's key id."""

    KIND: ClassVar[Kind] = Kind(
        topic="security-events",
        type="carbyne.security.refusal",
        schema="carbyne.events.SecurityEvent",
        fingerprint="5ccbdcd852caf49a",
        key=("source_principal", "client_address",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("node", "string", optional=False, values=()),
            Field("component", "string", optional=False, values=()),
            Field("reason", "string", optional=False, values=("authentication_missing", "authentication_invalid", "access_denied", "rate_limited", "address_denied", "too_large", "guard_unavailable", "policy_denied", "token_missing", "token_invalid", "authorizer_denied", "authorizer_failed", "handshake_failed", "plaintext_refused", "malformed_request", "admin_denied", "various")),
            Field("policy", "string", optional=True, values=()),
            Field("policy_id", "string", optional=True, values=()),
            Field("status", "int", optional=True, values=()),
            Field("detail", "string", optional=True, values=()),
            Field("source_principal", "string", optional=True, values=()),
            Field("client_address", "string", optional=True, values=()),
            Field("destination_principal", "string", optional=True, values=()),
            Field("listener", "string", optional=True, values=()),
            Field("request_id", "string", optional=True, values=()),
            Field("trace_id", "string", optional=True, values=()),
            Field("method", "string", optional=True, values=()),
            Field("host", "string", optional=True, values=()),
            Field("path_template", "string", optional=True, values=()),
            Field("route_id", "string", optional=True, values=()),
            Field("service_id", "string", optional=True, values=()),
            Field("consumer_id", "string", optional=True, values=()),
            Field("credential_id", "string", optional=True, values=()),
            Field("token_issuer", "string", optional=True, values=()),
            Field("token_subject", "string", optional=True, values=()),
            Field("token_key_hash", "string", optional=True, values=()),
            Field("count", "long", optional=False, values=()),
            Field("last_time", "long", optional=False, values=()),
        ),
    )
