// Emits Carbyne's audit and domain events to Kafka.

export { Form } from "./envelope.js";
export { BufferFull, EventError, ProducerClosed, SchemaError, TooLarge, Undelivered } from "./errors.js";
export { now } from "./event.js";
export * from "./events.js";
export { murmur2, partition } from "./partition.js";
export { createEventProducer, withTraceparent } from "./producer.js";
export { Redaction } from "./redaction.js";
