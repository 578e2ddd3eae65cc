"""Why an event was not taken, or not delivered."""


class EventError(Exception):
    """Any of the below."""


class SchemaError(EventError, ValueError):
    """An event does not fit its schema; it was not emitted."""


class BufferFull(EventError):
    """There is no room for another event, and nobody was to wait longer; it was not emitted."""


class TooLarge(EventError):
    """An event is larger than the client or the topic allows; it was not emitted."""


class ProducerClosed(EventError):
    """The producer takes no more events."""


class Undelivered(EventError):
    """The broker did not take an event."""
