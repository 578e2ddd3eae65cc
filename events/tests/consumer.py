#!/usr/bin/env python3
"""Reads a topic as somebody else would: confluent-kafka and fastavro, nothing of this project but its schemas.

    consumer.py BOOTSTRAP TOPIC [--count N] [--seconds S] [-X NAME=VALUE]...

Reads what the topic holds when it begins (with --count, until N events are there), and prints one JSON object a line:
topic, partition, offset, timestamp, key, headers, form and event. Whatever does not decode by its schema ends it with exit code 1.
"""

import argparse
import io
import json
import sys
import time
from pathlib import Path

import fastavro
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

SCHEMAS = Path(__file__).resolve().parent.parent / "schemas"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("--count", type=int)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("-X", dest="properties", action="append", default=[])
    arguments = parser.parse_args()
    schemas = known_schemas()
    consumer = Consumer({
        "bootstrap.servers": arguments.bootstrap,
        "group.id": "an-independent-consumer",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        # A message of a record batch that was aborted or cut would be told, not skipped.
        "check.crcs": True,
        **dict(pair.split("=", 1) for pair in arguments.properties),
    })
    try:
        for message in read(consumer, arguments):
            print(json.dumps(describe(message, schemas), ensure_ascii=False))
    finally:
        consumer.close()


def read(consumer, arguments):
    topic = consumer.list_topics(arguments.topic, timeout=30).topics[arguments.topic]
    if topic.error is not None:
        raise KafkaException(topic.error)
    ends, left = {}, 0
    for partition in topic.partitions:
        first, end = watermarks(consumer, TopicPartition(arguments.topic, partition), time.monotonic() + 30)
        if first < end:
            ends[partition] = end
            left += 1
    consumer.assign([TopicPartition(arguments.topic, partition, 0) for partition in topic.partitions])
    deadline, found = time.monotonic() + arguments.seconds, 0
    while (found < arguments.count) if arguments.count is not None else ends:
        if time.monotonic() > deadline:
            sys.exit(f"{found} events within {arguments.seconds} s; partitions not read to their end: {ends}")
        for message in consumer.consume(1000, timeout=0.2):
            if message.error():
                # Offsets begin later than 0 where the topic has deleted some.
                if message.error().code() == KafkaError._PARTITION_EOF:
                    continue
                raise KafkaException(message.error())
            found += 1
            yield message
            # Compaction and transactions leave offsets out: a position says how far it is.
            if message.offset() + 1 >= ends.get(message.partition(), sys.maxsize):
                del ends[message.partition()]
        for position in consumer.position([TopicPartition(arguments.topic, partition) for partition in ends]):
            if position.offset >= ends[position.partition]:
                del ends[position.partition]


def watermarks(consumer, partition, deadline):
    """A busy broker may have lost the lead to nobody for a moment."""
    while True:
        try:
            return consumer.get_watermark_offsets(partition, timeout=30)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def describe(message, schemas):
    headers = {name: value.decode() for name, value in message.headers() or []}
    form, event = decode(message.value(), headers, schemas)
    return {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": message.timestamp()[1],
        "key": message.key().decode() if message.key() is not None else None,
        "headers": headers,
        "form": form,
        "event": event,
    }


def decode(value, headers, schemas):
    if value is None:
        return "tombstone", None
    named = headers["ce_dataschema"].rsplit(":", 1)[1]
    schema = schemas[named]
    if value[:2] == b"\xc3\x01":
        if value[2:10][::-1].hex() != named:
            sys.exit(f"the value is of schema {value[2:10][::-1].hex()}, the header says {named}")
        return "avro", whole(value[10:], schema)
    if value[:1] == b"\x00":
        return "confluent", whole(value[5:], schema)
    event = json.loads(value)
    fastavro.validation.validate(event, schema, strict=True)
    return "json", event


def whole(body, schema):
    stream = io.BytesIO(body)
    # Times stay numbers: the events' JSON has them so.
    event = fastavro.schemaless_reader(stream, without_logical_types(schema), None)
    if stream.read(1):
        sys.exit("bytes are left behind the event")
    return event


def without_logical_types(schema):
    if isinstance(schema, dict):
        return {name: without_logical_types(part) for name, part in schema.items() if name != "logicalType"}
    return [without_logical_types(part) for part in schema] if isinstance(schema, list) else schema


def known_schemas():
    """By fingerprint, as fastavro computes it; those of earlier versions too."""
    schemas = {}
    for path in [*SCHEMAS.glob("*.avsc"), *(SCHEMAS / "history").glob("*.avsc")]:
        raw = json.loads(path.read_text())
        canonical = fastavro.schema.to_parsing_canonical_form(raw)
        little_endian = fastavro.schema.fingerprint(canonical, "CRC-64-AVRO")
        # fastavro prints the bytes as they stand in a single object.
        schemas[bytes.fromhex(little_endian)[::-1].hex()] = without_logical_types(raw)
    return schemas


if __name__ == "__main__":
    main()
