// The events against the schemas, and the rules: the same in every language.

import assert from "node:assert/strict";

import * as events from "../src/index.js";
import { encode } from "../src/avro.js";
import { timestamp, value } from "../src/envelope.js";
import { clipped, keyId } from "../src/redaction.js";
import { contract, test, vectors } from "./support.js";

const { AuditApiCall, ConfigRemoval, DataLineage, DataQuality, Form, Redaction, SchemaError, SecurityEvent } = events;
const QUALITY = { service: "s", dataset: "d", check: "c", severity: "info", passed: true };
const CALL = {
  node: "n", request_id: "r", method: "GET", scheme: "https", protocol: "HTTP/2", status: 200, answered_by: "service",
  latency_total_us: 1, latency_gateway_us: 1, bytes_in: 0, bytes_out: 0, tries: 1,
};

for (const { name, fingerprint, cases } of vectors()) {
  test(`vectors of ${name}`, () => {
    const kind = events[name];
    assert.equal(kind.fingerprint, fingerprint);
    assert.ok(cases.length > 0);
    for (const { avro, json } of cases) {
      const event = kind(json);
      assert.equal(encode(event).toString("hex"), avro);
      assert.deepEqual(JSON.parse(value(Form.json, event)), json);
      const single = value(Form.avro, event);
      assert.equal(single.subarray(0, 2).toString("hex"), "c301");
      assert.equal(single.readBigUInt64LE(2), BigInt(`0x${fingerprint}`));
      assert.equal(single.subarray(10).toString("hex"), avro);
      const framed = value(Form.confluent({ [kind.schema]: 258 }), event);
      assert.equal(framed.toString("hex"), `0000000102${avro}`);
    }
  });
}

test("what does not fit is refused", () => {
  for (const [change, said] of [
    [{ service: 1 }, /^DataQuality.service must be string, not 1/],
    [{ service: null }, /^DataQuality.service must be string/],
    [{ severity: "loud" }, /^DataQuality.severity must be one of/],
    [{ passed: 1 }, /^DataQuality.passed must be boolean/],
    [{ records_checked: 1.5 }, /^DataQuality.records_checked must be null or long/],
    [{ records_checked: 2 ** 53 }, /^DataQuality.records_checked must be null or long/],
    [{ observed: Number.NaN }, /^DataQuality.observed must be null or double/],
    [{ detail: "\ud800" }, /^DataQuality.detail is no Unicode text/],
    [{ detial: "x" }, /^DataQuality has no field detial/],
  ]) {
    assert.throws(() => DataQuality({ ...QUALITY, ...change }), (error) => {
      assert.ok(error instanceof SchemaError);
      assert.match(error.message, said);
      return true;
    });
  }
  const event = DataQuality(QUALITY);
  assert.throws(() => { event.fields.service = "other"; }, TypeError);
});

test("keys", () => {
  assert.equal(DataQuality(QUALITY).key(), "d");
  const refusal = { node: "n", component: "c", reason: "access_denied", count: 1, last_time: 1 };
  assert.equal(SecurityEvent(refusal).key(), null);
  assert.equal(SecurityEvent({ ...refusal, client_address: "203.0.113.0/24" }).key(), "203.0.113.0/24");
  // Kafka refuses what has no key where it compacts: so does this, before.
  assert.throws(() => ConfigRemoval({ entity: "" }).key(), /needs a key/);
  assert.throws(() => DataLineage({ service: "s", job: "j", run: "r", output: "", inputs: ["i"] }).key(), /needs a key/);
  assert.equal(value(Form.json, ConfigRemoval({ entity: "routes/1" })), null);
});

test("a registry must know the schema", () => {
  assert.throws(() => value(Form.confluent({}), DataQuality(QUALITY)), /carbyne.events.DataQuality is not known/);
});

test("times", () => {
  assert.equal(timestamp(0), "1970-01-01T00:00:00.000000Z");
  assert.equal(timestamp(1_795_762_454_000_001), "2026-11-27T06:54:14.000001Z");
  assert.throws(() => timestamp(1e18), SchemaError);
  const { time } = DataQuality(QUALITY).fields;
  assert.ok(Math.abs(time / 1000 - Date.now()) < 60_000);
});

test("partitions", () => {
  for (const { key, murmur2, partition } of contract("partitions").cases) {
    assert.equal(events.murmur2(Buffer.from(key)), murmur2, key);
    assert.equal(events.partition(Buffer.from(key), 12), partition, key);
  }
});

test("redaction", () => {
  const rules = contract("redaction");
  for (const { address, network, hashed } of rules.addresses) {
    assert.equal(new Redaction().address(address), network);
    assert.equal(new Redaction({ key: Buffer.alloc(32, "k") }).address(address), hashed);
  }
  for (const { target, path } of rules.paths) {
    assert.equal(new Redaction().path(target), null);
    assert.equal(new Redaction({ paths: true }).path(target), path);
  }
  for (const { allowed, query, told } of rules.queries) assert.equal(new Redaction({ query: allowed }).query(query), told);
  for (const { id, told } of rules.key_ids) assert.equal(keyId(id), told);
  assert.equal(clipped("añb", 2), "a");
  assert.throws(() => new Redaction({ key: Buffer.from("short") }), RangeError);
  for (const told of ["203.0.113.0/24", "2001:db8:1::/48", "hmac:e81fe06face70b52dd0c02f6ca9b44c9"]) {
    assert.equal(new Redaction().event(AuditApiCall({ ...CALL, client_address: told })).fields.client_address, told);
  }
  assert.equal(new Redaction().event(AuditApiCall({ ...CALL, client_address: "unix:/run/s" })).fields.client_address, null);
});

test("no planted secret is told", () => {
  for (let round = 0; round < 300; round += 1) {
    const secret = `s3cr3t${(round * 2654435761).toString(16)}`;
    const address = `203.0.113.${1 + (round % 254)}`;
    const query = [`token=${secret}`, `page=${round % 9}`, `apikey=${secret}`, secret].sort(() => ((round % 3) - 1)).join("&");
    const event = AuditApiCall({ ...CALL, client_address: address, path: `/reset/${secret}?${query}`, query });
    for (const rules of [{}, { query: ["page"] }, { query: ["page"], key: Buffer.alloc(32, "k") }]) {
      for (const form of [Form.json, Form.avro]) {
        const told = value(form, new Redaction(rules).event(event));
        assert.ok(!told.includes(secret) && !told.includes(address));
      }
    }
  }
});
