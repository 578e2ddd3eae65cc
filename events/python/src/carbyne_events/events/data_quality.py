"""Generated from the schemas by events/schemas/generate.py."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Optional

from .._event import Event, Field, Kind, now


@dataclass(frozen=True)
class DataQuality(Event):
    """What a check of a dataset found."""

    service: str
    """The application that says so."""
    dataset: str
    """The dataset's id."""
    check: str
    """The check's name."""
    passed: bool
    """Whether it held."""
    severity: Literal["info", "warning", "error"]
    """How bad it is if it does not."""
    time: int = field(default_factory=now)
    """When it was checked."""
    column: Optional[str] = None
    """The column that was checked."""
    observed: Optional[float] = None
    """What was measured."""
    expected: Optional[float] = None
    """What should have been."""
    records_checked: Optional[int] = None
    """How many records were looked at."""
    records_failed: Optional[int] = None
    """How many of them failed."""
    batch: Optional[str] = None
    """The batch that was checked."""
    trace_id: Optional[str] = None
    """The trace that it belongs to: 32 hexadecimal digits."""
    detail: Optional[str] = None
    """More of it; no values of the data."""

    KIND: ClassVar[Kind] = Kind(
        topic="data-quality",
        type="carbyne.data.quality",
        schema="carbyne.events.DataQuality",
        fingerprint="179da09e13b922ec",
        key=("dataset",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("service", "string", optional=False, values=()),
            Field("dataset", "string", optional=False, values=()),
            Field("check", "string", optional=False, values=()),
            Field("column", "string", optional=True, values=()),
            Field("passed", "boolean", optional=False, values=()),
            Field("severity", "string", optional=False, values=("info", "warning", "error")),
            Field("observed", "double", optional=True, values=()),
            Field("expected", "double", optional=True, values=()),
            Field("records_checked", "long", optional=True, values=()),
            Field("records_failed", "long", optional=True, values=()),
            Field("batch", "string", optional=True, values=()),
            Field("trace_id", "string", optional=True, values=()),
            Field("detail", "string", optional=True, values=()),
        ),
    )
