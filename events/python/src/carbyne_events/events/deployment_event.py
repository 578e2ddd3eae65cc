"""Generated from the schemas by events/schemas/generate.py."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Optional

from .._event import Event, Field, Kind, now


@dataclass(frozen=True)
class DeploymentEvent(Event):
    """A step of a deployment."""

    node: str
    """The node that says so."""
    target: str
    """namespace/name of what is deployed."""
    deployment_id: str
    """What all steps of a deployment share."""
    phase: Literal["planned", "started", "progressing", "succeeded", "failed", "rolled_back"]
    """Where it stands."""
    time: int = field(default_factory=now)
    """When the step was taken."""
    actor: Optional[str] = None
    """Who began it."""
    component: Optional[str] = None
    """What is deployed."""
    version: Optional[str] = None
    """The version that comes."""
    previous_version: Optional[str] = None
    """The one that goes."""
    digest: Optional[str] = None
    """The digest of the image or the bundle."""
    reason: Optional[str] = None
    """Why it is in that phase."""
    duration_us: Optional[int] = None
    """How long the phase took, in microseconds."""
    trace_id: Optional[str] = None
    """The trace that it belongs to: 32 hexadecimal digits."""

    KIND: ClassVar[Kind] = Kind(
        topic="deployment-events",
        type="carbyne.deployment.step",
        schema="carbyne.events.DeploymentEvent",
        fingerprint="b89c4c7153ec3fec",
        key=("target",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("node", "string", optional=False, values=()),
            Field("target", "string", optional=False, values=()),
            Field("deployment_id", "string", optional=False, values=()),
            Field("phase", "string", optional=False, values=("planned", "started", "progressing", "succeeded", "failed", "rolled_back")),
            Field("actor", "string", optional=True, values=()),
            Field("component", "string", optional=True, values=()),
            Field("version", "string", optional=True, values=()),
            Field("previous_version", "string", optional=True, values=()),
            Field("digest", "string", optional=True, values=()),
            Field("reason", "string", optional=True, values=()),
            Field("duration_us", "long", optional=True, values=()),
            Field("trace_id", "string", optional=True, values=()),
        ),
    )
