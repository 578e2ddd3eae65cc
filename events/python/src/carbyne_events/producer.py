"""The producer."""

from __future__ import annotations

import atexit
import socket
import threading
import time as clock
import uuid
import weakref
from types import TracebackType
from typing import Any, Callable, Mapping, Optional

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from . import trace
from ._errors import BufferFull, ProducerClosed, TooLarge, Undelivered
from ._event import Event
from .envelope import Form, Stamp, headers
from .events import Closing
from .redaction import Redaction

Delivered = Callable[[Optional[Undelivered], Optional[Message]], None]

DEFAULTS: Mapping[str, Any] = {
    "enable.idempotence": True,
    "compression.type": "lz4",
    "linger.ms": 10,
    "batch.num.messages": 10_000,
    "queue.buffering.max.messages": 200_000,
    "queue.buffering.max.kbytes": 65_536,
    # An event that was taken waits for the broker as long as the process lives.
    "message.timeout.ms": 0,
    "reconnect.backoff.max.ms": 2_000,
    "socket.keepalive.enable": True,
}
"""What a configuration may change."""

FIXED: Mapping[str, Any] = {
    # librdkafka's own default hashes otherwise than Java: compaction would break between languages.
    "partitioner": "murmur2_random",
}
"""What it may not."""


class EventProducer:
    """Emits events; threads may share it.

    ``config`` is librdkafka's. ``source`` names the service. ``on_full`` says what ``emit`` does when there is no room: ``"block"``
    waits up to ``block_seconds``, ``"raise"`` raises :class:`BufferFull` at once. ``on_delivery_error`` hears of each event that the
    broker refused; ``failed`` counts them.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        source: str,
        form: Optional[Form] = None,
        redaction: Optional[Redaction] = None,
        on_full: str = "block",
        block_seconds: float = 5.0,
        on_delivery_error: Optional[Callable[[Undelivered], None]] = None,
        node: Optional[str] = None,
    ) -> None:
        if on_full not in ("block", "raise"):
            raise ValueError(f"on_full is block or raise, not {on_full!r}")
        if not source or "/" in source:
            raise ValueError("source is a name without a slash")
        for name, value in FIXED.items():
            if config.get(name, value) != value:
                raise ValueError(f"{name} must be {value}: events of one key would not meet")
        self._form = form or Form.json()
        self._redaction = redaction or Redaction()
        self._wait = block_seconds if on_full == "block" else 0.0
        self._on_delivery_error = on_delivery_error
        # Nobody else has this name: it is made anew with every producer.
        self._name = f"{node or socket.gethostname()}/{source}/{uuid.uuid4().hex[:12]}"
        self._epoch = int(clock.time())
        self._sequence = 0
        self._previous: dict[str, int] = {}
        self._delivered = 0
        self._failed = 0
        self._closed = False
        self._lock = threading.Lock()
        self._counts = threading.Lock()
        self._producer = Producer({**DEFAULTS, **config, **FIXED}, logger=None)
        self._stopped = threading.Event()
        self._poller = threading.Thread(target=_poll, args=(self._producer, self._stopped), name="events", daemon=True)
        self._poller.start()
        _open.add(self)

    @property
    def name(self) -> str:
        """node/source/instance: whose sequences its events carry."""
        return self._name

    @property
    def epoch(self) -> int:
        """When it started."""
        return self._epoch

    @property
    def delivered(self) -> int:
        """How many events the broker has."""
        return self._delivered

    @property
    def failed(self) -> int:
        """How many it refused."""
        return self._failed

    def emit(self, event: Event, *, traceparent: Optional[str] = None, delivered: Optional[Delivered] = None) -> int:
        """Takes an event and returns its sequence; ``delivered`` is called, on another thread, when the broker has it or refused it.

        Raises :class:`SchemaError` when it does not fit its schema, :class:`BufferFull` when there is no room.
        """
        if traceparent is None:
            traceparent = trace.current()
        event = trace.told(self._redaction.event(event), traceparent)
        if self._closed:
            raise ProducerClosed("the producer is closed")
        return self._send(event, traceparent, delivered, self._wait)

    def emit_sync(self, event: Event, timeout: float = 30.0, *, traceparent: Optional[str] = None) -> Message:
        """Emits an event and waits until the broker has it. Raises :class:`Undelivered` where it does not."""
        done = threading.Event()
        answer: list[tuple[Optional[Undelivered], Optional[Message]]] = []

        def delivered(error: Optional[Undelivered], message: Optional[Message]) -> None:
            answer.append((error, message))
            done.set()

        self.emit(event, traceparent=traceparent, delivered=delivered)
        if not done.wait(timeout):
            raise Undelivered(f"no answer within {timeout} s; it is still sent")
        error, message = answer[0]
        if message is None:
            raise error or Undelivered("the broker said nothing")
        return message

    def flush(self, timeout: float = 30.0) -> int:
        """Waits until the broker has all that was emitted, and returns how many it has not."""
        return int(self._producer.flush(timeout))

    def close(self, timeout: float = 30.0) -> int:
        """Says how far its sequences go, waits for all, and ends. Returns how many events the broker has not."""
        with self._lock:
            if self._closed:
                return 0
            self._closed = True
        # Nobody else emits any more: the last sequence is known.
        if self._sequence > 0:
            closing = Closing(producer=self._name, epoch=self._epoch, sequence=self._sequence, lost=0, reason="stopped")
            self._send(closing, None, None, timeout)
        left = self.flush(timeout)
        self._stopped.set()
        self._poller.join()
        _open.discard(self)
        return left

    def __enter__(self) -> EventProducer:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        self.close()

    def _send(self, event: Event, traceparent: Optional[str], delivered: Optional[Delivered], wait: float) -> int:
        """Everything that may be wrong with the event is found before it has a sequence."""
        key, value, topic = event.key(), self._form.value(event), event.KIND.topic
        deadline = clock.monotonic() + wait
        while True:
            try:
                return self._produce(event, topic, key, value, traceparent, delivered)
            except BufferError:
                if clock.monotonic() >= deadline:
                    raise BufferFull(f"no room for another event of {topic}") from None
            except KafkaException as error:
                if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    raise TooLarge(f"{topic}: {len(value or b'')} bytes") from None
                raise Undelivered(f"{topic}: {error.args[0].str()}") from None
            # Delivery reports make room, on the other thread; they may emit themselves, so nothing is held here.
            clock.sleep(0.005)

    def _produce(
        self,
        event: Event,
        topic: str,
        key: Optional[bytes],
        value: Optional[bytes],
        traceparent: Optional[str],
        delivered: Optional[Delivered],
    ) -> int:
        with self._lock:
            sequence = self._sequence + 1
            stamp = Stamp(self._name, self._epoch, sequence, self._previous.get(topic))
            self._producer.produce(
                topic,
                value=value,
                key=key,
                headers=headers(event, key, stamp, self._form, traceparent),
                timestamp=getattr(event, "time") // 1_000,
                on_delivery=lambda error, message: self._report(topic, sequence, error, message, delivered),
            )
            # Only what was taken uses its sequence up.
            self._sequence = sequence
            self._previous[topic] = sequence
            return sequence

    def _report(
        self, topic: str, sequence: int, error: Optional[KafkaError], message: Message, delivered: Optional[Delivered]
    ) -> None:
        with self._counts:
            if error is None:
                self._delivered += 1
            else:
                self._failed += 1
        refused = None if error is None else Undelivered(f"{topic}: event {sequence}: {error.str()}")
        if refused is not None and self._on_delivery_error is not None:
            self._on_delivery_error(refused)
        if delivered is not None:
            delivered(refused, None if refused is not None else message)


def _poll(producer: Producer, stopped: threading.Event) -> None:
    """Hands out delivery reports."""
    while not stopped.is_set():
        producer.poll(0.1)


_open: weakref.WeakSet[EventProducer] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for producer in list(_open):
        producer.close(10.0)
