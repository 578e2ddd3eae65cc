// Why an event was not taken, or not delivered.

/** Any of the below. */
export class EventError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** An event does not fit its schema; it was not emitted. */
export class SchemaError extends EventError {}

/** There is no room for another event, and nobody was to wait longer; it was not emitted. */
export class BufferFull extends EventError {}

/** An event is larger than the client allows; it was not emitted. */
export class TooLarge extends EventError {}

/** The producer takes no more events. */
export class ProducerClosed extends EventError {}

/** The broker did not take an event. */
export class Undelivered extends EventError {}
