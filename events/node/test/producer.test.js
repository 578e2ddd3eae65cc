// The producer against a real Kafka, read back by a consumer that knows nothing of it.

import assert from "node:assert/strict";

import * as events from "../src/index.js";
import { contract, producer, read, test, vectors } from "./support.js";

const { AuditUserAction, BufferFull, ConfigChange, ConfigRemoval, DataQuality, Form, ProducerClosed, Redaction, SchemaError } = events;
const TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const quality = (fields = {}) => DataQuality({ service: "s", dataset: "d", check: "c", severity: "info", passed: true, ...fields });
const ids = Object.fromEntries(vectors().map(({ name }) => [`carbyne.events.${name}`, 7]));

for (const [label, form] of Object.entries({ json: Form.json, avro: Form.avro, confluent: Form.confluent(ids) })) {
  test(`every event is read back by its schema: ${label}`, async () => {
    const emitter = await producer({ source: "vectors", form, redaction: new Redaction({ paths: true }) });
    const sent = new Map();
    const waiting = [];
    for (const { name, cases } of vectors()) {
      const { json } = cases.find((one) => one.name === "full");
      const told = "client_address" in json ? { ...json, client_address: "203.0.113.9" } : json;
      waiting.push(
        emitter.emit(events[name](told)).then(({ sequence, partition }) => sent.set(sequence, { name, told, partition })),
      );
    }
    await Promise.all(waiting);
    assert.equal(await emitter.close(), 0);
    assert.equal(emitter.failed, 0);
    const topics = new Set([...sent.values()].map(({ name }) => events[name].topic));
    const found = new Map();
    for (const topic of topics) {
      for (const message of read(topic, emitter.name)) found.set(Number(message.headers.sequence), message);
    }
    const closing = found.get(sent.size + 1);
    assert.equal(closing.headers.ce_type, "carbyne.audit.closing");
    assert.equal(closing.event.sequence, sent.size);
    assert.equal(found.size, sent.size + 1);
    const last = new Map();
    for (let sequence = 1; sequence <= sent.size; sequence += 1) {
      const { name, told, partition } = sent.get(sequence);
      const { topic, type, fingerprint, schema } = events[name];
      const { headers, ...message } = found.get(sequence);
      const expected = { ...told };
      if ("client_address" in told) expected.client_address = "203.0.113.0/24";
      if (name === "AuditApiCall") expected.query = null;
      assert.deepEqual(message.event, expected, name);
      assert.equal(message.partition, partition);
      assert.equal(headers.ce_id, `${emitter.name}/${emitter.epoch}/${sequence}`);
      assert.equal(headers.ce_source, `/${emitter.name}`);
      assert.equal(headers.ce_type, type);
      assert.equal(headers.ce_dataschema, `urn:carbyne:schema:${schema}:${fingerprint}`);
      assert.equal(headers["content-type"], form.contentType);
      assert.equal(headers.ce_subject ?? null, message.key);
      assert.equal(message.timestamp, Math.floor(told.time / 1000));
      assert.equal(headers.previous, last.get(topic));
      last.set(topic, String(sequence));
    }
  });
}

test("keys go where Java's go", async () => {
  const emitter = await producer({ source: "keys" });
  const { cases } = contract("partitions");
  for (const { key } of cases) emitter.emitNoWait(AuditUserAction({ service: "s", user: key, action: "login", outcome: "success" }));
  assert.equal(await emitter.close(), 0);
  const found = Object.fromEntries(read("audit-user-actions", emitter.name).map(({ key, partition }) => [key, partition]));
  assert.deepEqual(found, Object.fromEntries(cases.map(({ key, partition }) => [key, partition])));
});

test("a tombstone is null", async () => {
  const emitter = await producer({ source: "config" });
  emitter.emitNoWait(ConfigChange({ node: "n", entity: "routes/1", change: "created" }));
  emitter.emitNoWait(ConfigRemoval({ entity: "routes/1" }));
  await emitter.close();
  const [change, removal] = read("config-changes", emitter.name);
  assert.deepEqual([change.form, removal.form, removal.key, removal.event], ["json", "tombstone", "routes/1", null]);
});

test("ten thousand at once, in batches, none missing", async () => {
  const emitter = await producer({ source: "many" }, { "queue.buffering.max.messages": 1000 });
  const count = 10_000;
  const all = Array.from({ length: count }, (_, number) => emitter.emit(quality({ dataset: String(number % 4), records_checked: number })));
  const places = await Promise.all(all);
  assert.deepEqual(places.map(({ sequence }) => sequence), Array.from({ length: count }, (_, number) => number + 1));
  assert.equal(await emitter.close(), 0);
  assert.equal(emitter.delivered, count + 1);
  const found = read("data-quality", emitter.name);
  assert.equal(new Set(found.map(({ headers }) => headers.sequence)).size, count);
  for (const dataset of ["0", "1", "2", "3"]) {
    const own = found.filter(({ key }) => key === dataset).sort((one, other) => one.offset - other.offset);
    const numbers = own.map(({ event }) => event.records_checked);
    assert.deepEqual(numbers, [...numbers].sort((one, other) => one - other));
  }
});

test("traces, given and around the caller", async () => {
  const emitter = await producer({ source: "traces" });
  await emitter.emit(quality(), { traceparent: TRACEPARENT });
  await events.withTraceparent(TRACEPARENT, async () => {
    await new Promise((resolve) => setImmediate(resolve));
    await emitter.emit(quality({ trace_id: "a".repeat(32) }));
  });
  await assert.rejects(emitter.emit(quality(), { traceparent: "00-0-0-01" }), SchemaError);
  await emitter.close();
  const [first, second] = read("data-quality", emitter.name);
  assert.deepEqual([first.headers.traceparent, second.headers.traceparent], [TRACEPARENT, TRACEPARENT]);
  assert.equal(first.event.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
  assert.equal(second.event.trace_id, "a".repeat(32));
});

test("what is refused is told and uses no sequence", async () => {
  const emitter = await producer({ source: "refused" }, { "message.max.bytes": 4_000_000, "compression.codec": "none" });
  const told = [];
  emitter.on("deliveryError", (error) => told.push(error));
  await assert.rejects(emitter.emit(quality({ detail: "x".repeat(5_000_000) })), events.TooLarge);
  assert.equal((await emitter.emit(quality())).sequence, 1);
  // The topic takes a million bytes.
  await assert.rejects(emitter.emit(quality({ detail: "x".repeat(3_000_000) })), events.Undelivered);
  assert.equal((await emitter.emit(quality())).sequence, 3);
  assert.equal(told.length, 1);
  assert.equal(emitter.failed, 1);
  await emitter.close();
  await assert.rejects(emitter.emit(quality()), ProducerClosed);
  assert.equal(await emitter.close(), 0);
});

test("no room, waiting for it, and giving up", async () => {
  const taken = [];
  let room = 2;
  // A client that anybody may write: it takes what the test lets it take.
  const client = {
    send(message, settled) {
      if (room === 0) return false;
      room -= 1;
      taken.push({ message, settled });
      return true;
    },
    async flush() {
      for (const { settled } of taken.splice(0)) {
        room += 1;
        settled(null, { partition: 0, offset: 0 });
      }
    },
    async close() {},
  };
  const emitter = await events.createEventProducer({ source: "room", client, blockMilliseconds: 50 });
  emitter.emitNoWait(quality());
  emitter.emitNoWait(quality());
  assert.throws(() => emitter.emitNoWait(quality()), BufferFull);
  await assert.rejects(emitter.emit(quality()), BufferFull);
  const stop = new AbortController();
  const aborted = emitter.emit(quality(), { signal: stop.signal });
  stop.abort(new Error("enough"));
  await assert.rejects(aborted, /enough/);
  const waits = emitter.emit(quality());
  assert.equal(await emitter.flush(), 0);
  assert.deepEqual(await waits, { sequence: 3, partition: 0, offset: 0 });
  await emitter[Symbol.asyncDispose ?? Symbol.for("nodejs.asyncDispose")]();
  assert.equal(emitter.delivered, 4);
});

test("options that make no sense", async () => {
  await assert.rejects(events.createEventProducer({ source: "" }), RangeError);
  await assert.rejects(events.createEventProducer({ source: "a/b" }), RangeError);
  await assert.rejects(producer({ source: "a" }, { partitioner: "random" }), /murmur2_random/);
});
