"""Generated from the schemas by events/schemas/generate.py."""

from dataclasses import dataclass, field
from typing import ClassVar, Mapping, Optional, Sequence

from .._event import Event, Field, Kind, now


@dataclass(frozen=True)
class DataLineage(Event):
    """What a dataset was made of; a compacted topic keeps the last of each."""

    service: str
    """The application that says so."""
    output: str
    """The URN of the dataset that was made."""
    job: str
    """The job's id."""
    run: str
    """The run's id."""
    time: int = field(default_factory=now)
    """When it was made."""
    inputs: Sequence[str] = ()
    """The URNs of what it was made of."""
    transformation: Optional[str] = None
    """The code that made it, by name and version."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """For each column of the output, the columns that it comes from."""
    trace_id: Optional[str] = None
    """The trace that it belongs to: 32 hexadecimal digits."""

    KIND: ClassVar[Kind] = Kind(
        topic="data-lineage",
        type="carbyne.data.lineage",
        schema="carbyne.events.DataLineage",
        fingerprint="9b8fd0ec63391c70",
        key=("output",),
        fields=(
            Field("time", "long", optional=False, values=()),
            Field("service", "string", optional=False, values=()),
            Field("output", "string", optional=False, values=()),
            Field("inputs", "array", optional=False, values=()),
            Field("job", "string", optional=False, values=()),
            Field("run", "string", optional=False, values=()),
            Field("transformation", "string", optional=True, values=()),
            Field("columns", "map", optional=False, values=()),
            Field("trace_id", "string", optional=True, values=()),
        ),
    )
