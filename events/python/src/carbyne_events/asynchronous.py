"""The producer for asyncio."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Mapping, Optional

from confluent_kafka import Message

from ._errors import BufferFull, Undelivered
from ._event import Event
from .producer import EventProducer


class AsyncEventProducer:
    """Emits events from one event loop: ``await emit(event)`` is done when the broker has it.

    Awaiting each event before the next waits for each batch; emit several at once (``asyncio.gather``), or ``emit_nowait``.
    """

    def __init__(self, config: Mapping[str, Any], *, source: str, block_seconds: float = 5.0, **options: Any) -> None:
        # Waiting for room is done here, without holding up the loop.
        self._inner = EventProducer(config, source=source, on_full="raise", **options)
        self._wait = block_seconds

    @property
    def name(self) -> str:
        """node/source/instance: whose sequences its events carry."""
        return self._inner.name

    async def emit(self, event: Event, *, traceparent: Optional[str] = None) -> Message:
        """Done when the broker has it. Raises :class:`Undelivered` where it refused."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wait
        while True:
            try:
                return await self.emit_nowait(event, traceparent=traceparent)
            except BufferFull:
                if loop.time() >= deadline:
                    raise
                # Delivery reports make room, on another thread.
                await asyncio.sleep(0.01)

    def emit_nowait(self, event: Event, *, traceparent: Optional[str] = None) -> asyncio.Future[Message]:
        """Takes it, and tells by a future when the broker has it."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Message] = loop.create_future()

        def settle(error: Optional[Undelivered], message: Optional[Message]) -> None:
            if answer.cancelled():
                return
            if message is not None:
                answer.set_result(message)
            else:
                answer.set_exception(error or Undelivered("the broker said nothing"))

        def delivered(error: Optional[Undelivered], message: Optional[Message]) -> None:
            try:
                loop.call_soon_threadsafe(settle, error, message)
            except RuntimeError:
                # The loop ended before the broker answered.
                pass

        self._inner.emit(event, traceparent=traceparent, delivered=delivered)
        return answer

    async def flush(self, timeout: float = 30.0) -> int:
        """Waits until the broker has all, and returns how many it has not."""
        return await asyncio.get_running_loop().run_in_executor(None, self._inner.flush, timeout)

    async def close(self, timeout: float = 30.0) -> int:
        """Waits for all, and ends."""
        return await asyncio.get_running_loop().run_in_executor(None, self._inner.close, timeout)

    async def __aenter__(self) -> AsyncEventProducer:
        return self

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        await self.close()
