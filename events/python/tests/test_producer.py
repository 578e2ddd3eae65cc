"""The producer against a real Kafka, read back by a consumer that knows nothing of it."""

import asyncio
import itertools
import threading

import pytest
from conftest import contract, vectors

from carbyne_events import (
    AsyncEventProducer,
    BufferFull,
    ConfigChange,
    ConfigRemoval,
    DataQuality,
    EventProducer,
    Form,
    ProducerClosed,
    Redaction,
    SchemaError,
    TooLarge,
    Undelivered,
    events,
)
from test_rules import call

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
# Nobody listens there: what is emitted waits.
NOBODY = {"bootstrap.servers": "127.0.0.1:1"}


def quality(dataset="d", **fields):
    return DataQuality(service="s", dataset=dataset, check="c", severity="info", passed=True, **fields)


@pytest.mark.parametrize("form", [Form.json(), Form.avro(), Form.confluent({f"carbyne.events.{name}": 7 for name in events.__all__})], ids=lambda form: form.name)
def test_every_event_is_read_back_by_its_schema(bootstrap, read, form):
    # Rules of its own: the vectors' texts are no addresses, and nobody else's.
    cases = [(name, case["json"]) for name, _, cases in vectors() for case in cases if case["name"] == "full"]
    with EventProducer({"bootstrap.servers": bootstrap}, source="vectors", form=form, redaction=Redaction(paths=True)) as producer:
        sent = {}
        for name, fields in cases:
            told = {**fields, **({"client_address": "203.0.113.9"} if "client_address" in fields else {})}
            kind = getattr(events, name).KIND
            sent[producer.emit(getattr(events, name)(**told))] = (kind, name, told)
    assert producer.failed == 0 and producer.delivered == len(sent) + 1
    topics = {kind.topic for kind, _, _ in sent.values()}
    found = {int(message["headers"]["sequence"]): message for topic in topics for message in read(topic, producer.name)}
    closing = found.pop(len(sent) + 1)
    assert closing["headers"]["ce_type"] == "carbyne.audit.closing" and closing["event"]["sequence"] == len(sent)
    assert sorted(found) == sorted(sent)
    last = {}
    for sequence, (kind, name, told) in sorted(sent.items()):
        message, headers = found[sequence], found[sequence]["headers"]
        expected = {**told, **({"client_address": "203.0.113.0/24"} if "client_address" in told else {})}
        if name == "AuditApiCall":
            expected["query"] = None
        assert message["event"] == expected, name
        assert message["topic"] == kind.topic and headers["ce_type"] == kind.type
        assert headers["ce_id"] == f"{producer.name}/{producer.epoch}/{sequence}"
        assert headers["ce_source"] == f"/{producer.name}" and headers["ce_specversion"] == "1.0"
        assert headers["ce_dataschema"] == f"urn:carbyne:schema:carbyne.events.{name}:{kind.fingerprint}"
        assert headers["content-type"] == form.name
        assert headers.get("ce_subject") == message["key"]
        assert message["timestamp"] == told["time"] // 1000
        assert headers.get("previous") == last.get(kind.topic)
        last[kind.topic] = str(sequence)


def test_keys_go_where_javas_go(bootstrap, read):
    cases = contract("partitions")["cases"]
    with EventProducer({"bootstrap.servers": bootstrap}, source="keys") as producer:
        for case in cases:
            producer.emit(events.AuditUserAction(service="s", user=case["key"], action="login", outcome="success"))
    found = {message["key"]: message["partition"] for message in read("audit-user-actions", producer.name)}
    assert found == {case["key"]: case["partition"] for case in cases}


def test_a_tombstone_is_null(bootstrap, read):
    with EventProducer({"bootstrap.servers": bootstrap}, source="config") as producer:
        producer.emit(ConfigChange(node="n", entity="routes/1", change="created"))
        producer.emit(ConfigRemoval(entity="routes/1"))
    change, removal = read("config-changes", producer.name)
    assert change["form"] == "json" and removal["form"] == "tombstone" and removal["event"] is None
    assert removal["key"] == "routes/1" and "content-type" not in removal["headers"]


def test_threads_share_a_producer_and_nothing_is_missing(bootstrap, read):
    with EventProducer({"bootstrap.servers": bootstrap}, source="threads") as producer:
        def work(number):
            for count in range(500):
                producer.emit(quality(dataset=f"{number}", records_checked=count))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert producer.flush() == 0 and producer.delivered == 2000
    found = read("data-quality", producer.name)
    assert sorted(int(message["headers"]["sequence"]) for message in found) == list(range(1, 2001))
    # In each partition what was emitted first comes first.
    for _, messages in itertools.groupby(sorted(found, key=lambda m: (m["key"], m["offset"])), key=lambda m: m["key"]):
        assert [message["event"]["records_checked"] for message in messages] == list(range(500))


def test_traces(bootstrap, read):
    with EventProducer({"bootstrap.servers": bootstrap}, source="traces") as producer:
        producer.emit(quality(), traceparent=TRACEPARENT)
        producer.emit(quality(trace_id="a" * 32), traceparent=TRACEPARENT)
        with pytest.raises(SchemaError, match="is no traceparent"):
            producer.emit(quality(), traceparent="00-0-0-01")
    first, second = read("data-quality", producer.name)
    assert first["headers"]["traceparent"] == second["headers"]["traceparent"] == TRACEPARENT
    assert first["event"]["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert second["event"]["trace_id"] == "a" * 32


def test_what_is_refused_uses_no_sequence(bootstrap, read):
    with EventProducer({"bootstrap.servers": bootstrap, "message.max.bytes": 10_000}, source="refused") as producer:
        assert producer.emit(quality()) == 1
        with pytest.raises(SchemaError):
            producer.emit(quality(detail=7))
        with pytest.raises(TooLarge):
            producer.emit(quality(detail="x" * 20_000))
        assert producer.emit(quality()) == 2
    assert [message["headers"]["sequence"] for message in read("data-quality", producer.name)] == ["1", "2"]
    with pytest.raises(ProducerClosed):
        producer.emit(quality())
    assert producer.close() == 0


def test_what_the_broker_refuses_is_told(bootstrap):
    told = []
    # The topic takes a million bytes, the client is told to send more.
    with EventProducer({"bootstrap.servers": bootstrap, "message.max.bytes": 4_000_000, "compression.type": "none"}, source="large", on_delivery_error=told.append) as producer:
        with pytest.raises(Undelivered, match="data-quality: event 1: "):
            producer.emit_sync(quality(detail="x" * 3_000_000))
        assert producer.emit_sync(quality()).partition() >= 0
    assert len(told) == 1 and producer.failed == 1


def test_no_room():
    config = {**NOBODY, "queue.buffering.max.messages": 10, "message.timeout.ms": 100}
    producer = EventProducer(config, source="full", on_full="raise")
    with pytest.raises(BufferFull):
        for _ in range(1000):
            producer.emit(quality())
    assert producer.close(5.0) == 0 and producer.failed > 0
    # One that waits has room when others are given up.
    waiting = EventProducer(config, source="waits", on_full="block", block_seconds=30.0)
    for _ in range(25):
        waiting.emit(quality())
    assert waiting.close(30.0) == 0 and waiting.failed == 26


def test_options_that_make_no_sense():
    for options in ({"source": ""}, {"source": "a/b"}, {"source": "a", "on_full": "drop"}):
        with pytest.raises(ValueError):
            EventProducer(NOBODY, **options)
    with pytest.raises(ValueError, match="murmur2_random"):
        EventProducer({**NOBODY, "partitioner": "random"}, source="a")


def test_asyncio(bootstrap, read):
    async def main():
        async with AsyncEventProducer({"bootstrap.servers": bootstrap}, source="loop") as producer:
            messages = await asyncio.gather(*(producer.emit(call(request_id=str(number))) for number in range(200)))
            assert all(message.error() is None for message in messages)
            with pytest.raises(SchemaError):
                await producer.emit(quality(detail=1))
            await producer.flush()
            return producer.name

    name = asyncio.run(main())
    found = read("audit-api-calls", name)
    assert sorted(int(message["event"]["request_id"]) for message in found) == list(range(200))
    # Without a key they spread, in batches.
    assert all(message["key"] is None for message in found)


def test_asyncio_hears_of_refusals(bootstrap):
    async def main():
        async with AsyncEventProducer({"bootstrap.servers": bootstrap, "message.max.bytes": 4_000_000, "compression.type": "none"}, source="loop") as producer:
            with pytest.raises(Undelivered):
                await producer.emit(quality(detail="x" * 3_000_000))

    asyncio.run(main())
