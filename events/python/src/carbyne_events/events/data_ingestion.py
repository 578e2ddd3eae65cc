"""Generated from the schemas by events/schemas/generate.py."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Optional

from .._event import Event, Field, Kind, now


@dataclass(frozen=True)
class DataIngestion(Event):
    """A batch arrived, or did not."""

    service: str
    """The application that says so."""
    dataset: str
    """The dataset's id."""
    batch: str
    """The batch's id."""
    source: str
    """Where it comes from, without credentials."""
    state: Literal["started", "completed", "failed"]
    """Where it stands."""
    time: int = field(default_factory=now)
    """When its state was reached."""
    records: Optional[int] = None
    """How many records were taken."""
    rejected: Optional[int] = None
    """How many were not."""
    bytes: Optional[int] = None
    """How many bytes."""
    schema_version: Optional[str] = None
    """The version of the dataset's schema."""
    checksum: Optional[str] = None
    """The batch's checksum, with its algorithm in front."""
    duration_us: Optional[int] = None
    """How long it took, in microseconds."""
    trace_id: Optional[str] = None
    """The trace that it belongs to: 32 hexadecimal digits."""
    error: Optional[str] = None
    """Why it failed."""

    KIND: ClassVar[Kind] = Kind(
        topic="data-ingestion",
        type="carbyne.data.ingestion",
        schema="carbyne.events.DataIngestion",
        fingerprint="75e81c3dbafea9e9",
        key=("dataset",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("service", "string", optional=False, values=()),
            Field("dataset", "string", optional=False, values=()),
            Field("batch", "string", optional=False, values=()),
            Field("source", "string", optional=False, values=()),
            Field("state", "string", optional=False, values=("started", "completed", "failed")),
            Field("records", "long", optional=True, values=()),
            Field("rejected", "long", optional=True, values=()),
            Field("bytes", "long", optional=True, values=()),
            Field("schema_version", "string", optional=True, values=()),
            Field("checksum", "string", optional=True, values=()),
            Field("duration_us", "long", optional=True, values=()),
            Field("trace_id", "string", optional=True, values=()),
            Field("error", "string", optional=True, values=()),
        ),
    )
