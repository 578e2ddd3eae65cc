// What surrounds an event: CloudEvents 1.0 in its binary mode for Kafka, and the form of the value.

import { encode } from "./avro.js";
import { SchemaError } from "./errors.js";

/** How values are written. */
export const Form = Object.freeze({
  /** An object with the schema's fields. */
  json: Object.freeze({
    contentType: "application/json",
    body: (event) => Buffer.from(JSON.stringify(event.fields)),
  }),
  /** Avro's single-object encoding: the schema's fingerprint in front. */
  avro: Object.freeze({
    contentType: "avro/binary",
    body: (event) =>
      Buffer.concat([Buffer.of(0xc3, 0x01), Buffer.from(event.kind.fingerprint, "hex").reverse(), encode(event)]),
  }),
  /** As the clients of a schema registry read it: the registry's number for the schema in front, by the schema's full name. */
  confluent: (ids) =>
    Object.freeze({
      contentType: "application/vnd.confluent.avro",
      body: (event) => {
        const id = ids[event.kind.schema];
        if (id === undefined) throw new SchemaError(`the registry's number of ${event.kind.schema} is not known`);
        const frame = Buffer.alloc(5);
        frame.writeUInt32BE(id, 1);
        return Buffer.concat([frame, encode(event)]);
      },
    }),
});

/** An event's value; null for a tombstone. */
export function value(form, event) {
  return event.kind.schema === null ? null : form.body(event);
}

/** All headers of an event; `stamp` is {producer, epoch, sequence, previous}. */
export function headers(event, key, stamp, form, traceparent) {
  const { kind } = event;
  const all = {
    epoch: String(stamp.epoch),
    sequence: String(stamp.sequence),
    producer: stamp.producer,
    ce_specversion: "1.0",
    ce_id: `${stamp.producer}/${stamp.epoch}/${stamp.sequence}`,
    ce_source: `/${stamp.producer}`,
    ce_type: kind.type,
    ce_time: timestamp(event.fields.time),
  };
  if (stamp.previous !== undefined) all.previous = String(stamp.previous);
  if (kind.schema !== null) {
    all.ce_dataschema = `urn:carbyne:schema:${kind.schema}:${kind.fingerprint}`;
    all["content-type"] = form.contentType;
  }
  if (traceparent !== undefined) all.traceparent = traceparent;
  if (key !== null) all.ce_subject = key;
  return all;
}

/** RFC 3339, in UTC. */
export function timestamp(microseconds) {
  const rest = ((microseconds % 1000) + 1000) % 1000;
  const date = new Date((microseconds - rest) / 1000);
  // RFC 3339 has years of four digits.
  if (!(date.getUTCFullYear() >= 0 && date.getUTCFullYear() <= 9999)) throw new SchemaError(`${microseconds} is no time that has a date`);
  return date.toISOString().replace("Z", `${String(rest).padStart(3, "0")}Z`);
}
