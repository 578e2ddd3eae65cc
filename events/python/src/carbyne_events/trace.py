"""The trace that an event belongs to: W3C's traceparent of OpenTelemetry's current span, where that is installed."""

from __future__ import annotations

import dataclasses
import re
from typing import Optional, TypeVar

from ._errors import SchemaError
from ._event import Event

Some = TypeVar("Some", bound=Event)

_TRACEPARENT = re.compile(r"^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$")


def current() -> Optional[str]:
    """That of the span around the caller."""
    try:
        from opentelemetry import trace
    except ImportError:
        return None
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def told(event: Some, traceparent: Optional[str]) -> Some:
    """The event with its trace in its body, too, where it has a place for it and says nothing of its own."""
    if traceparent is None:
        return event
    match = _TRACEPARENT.match(traceparent)
    if match is None:
        raise SchemaError(f"{traceparent!r} is no traceparent")
    if getattr(event, "trace_id", "") is not None:
        return event
    return dataclasses.replace(event, trace_id=match.group(1))  # type: ignore[type-var]
