"""Generated from the schemas by events/schemas/generate.py."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Optional

from .._event import Event, Field, Kind, now


@dataclass(frozen=True)
class SystemHealth(Event):
    """How a process is; a compacted topic keeps the last of each."""

    instance: str
    """component/node: whose state it is."""
    component: str
    """carbyne-gateway, carbyne-proxy, carbyne."""
    node: str
    """The node that says so."""
    state: Literal["starting", "ready", "degraded", "draining", "stopped"]
    """How it is."""
    version: str
    """The program's version."""
    started: int
    """When the process began: microseconds since 1970."""
    time: int = field(default_factory=now)
    """When it was so."""
    reason: Optional[str] = None
    """Why it is not ready."""
    config_version: Optional[str] = None
    """The configuration that it serves."""
    config_error: Optional[str] = None
    """Why a newer one was not taken."""
    config_age_seconds: Optional[int] = None
    """How long it has served that."""
    workers: Optional[int] = None
    """How many workers it has."""
    memory_bytes: Optional[int] = None
    """What it holds in memory."""
    connections: Optional[int] = None
    """Connections that are open."""
    requests: Optional[int] = None
    """Requests since it began."""

    KIND: ClassVar[Kind] = Kind(
        topic="system-health",
        type="carbyne.system.health",
        schema="carbyne.events.SystemHealth",
        fingerprint="430773a1c19badaf",
        key=("instance",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("instance", "string", optional=False, values=()),
            Field("component", "string", optional=False, values=()),
            Field("node", "string", optional=False, values=()),
            Field("state", "string", optional=False, values=("starting", "ready", "degraded", "draining", "stopped")),
            Field("reason", "string", optional=True, values=()),
            Field("version", "string", optional=False, values=()),
            Field("started", "long", optional=False, values=()),
            Field("config_version", "string", optional=True, values=()),
            Field("config_error", "string", optional=True, values=()),
            Field("config_age_seconds", "long", optional=True, values=()),
            Field("workers", "int", optional=True, values=()),
            Field("memory_bytes", "long", optional=True, values=()),
            Field("connections", "long", optional=True, values=()),
            Field("requests", "long", optional=True, values=()),
        ),
    )
