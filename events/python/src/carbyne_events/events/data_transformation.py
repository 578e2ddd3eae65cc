"""Generated from the schemas by events/schemas/generate.py."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Optional, Sequence

from .._event import Event, Field, Kind, now


@dataclass(frozen=True)
class DataTransformation(Event):
    """A run of a job over data."""

    service: str
    """The application that says so."""
    job: str
    """The job's id."""
    run: str
    """The run's id."""
    state: Literal["started", "completed", "failed", "cancelled"]
    """Where it stands."""
    time: int = field(default_factory=now)
    """When its state was reached."""
    inputs: Sequence[str] = ()
    """The datasets that it reads."""
    outputs: Sequence[str] = ()
    """The datasets that it writes."""
    records_in: Optional[int] = None
    """How many records it read."""
    records_out: Optional[int] = None
    """How many it wrote."""
    duration_us: Optional[int] = None
    """How long it took, in microseconds."""
    code_version: Optional[str] = None
    """The version of the code."""
    trace_id: Optional[str] = None
    """The trace that it belongs to: 32 hexadecimal digits."""
    error: Optional[str] = None
    """Why it failed."""

    KIND: ClassVar[Kind] = Kind(
        topic="data-transformation",
        type="carbyne.data.transformation",
        schema="carbyne.events.DataTransformation",
        fingerprint="9c0ef587b28697fc",
        key=("job",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("service", "string", optional=False, values=()),
            Field("job", "string", optional=False, values=()),
            Field("run", "string", optional=False, values=()),
            Field("state", "string", optional=False, values=("started", "completed", "failed", "cancelled")),
            Field("inputs", "array", optional=False, values=()),
            Field("outputs", "array", optional=False, values=()),
            Field("records_in", "long", optional=True, values=()),
            Field("records_out", "long", optional=True, values=()),
            Field("duration_us", "long", optional=True, values=()),
            Field("code_version", "string", optional=True, values=()),
            Field("trace_id", "string", optional=True, values=()),
            Field("error", "string", optional=True, values=()),
        ),
    )
