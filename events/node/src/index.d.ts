import type { Event } from "./event.js";

export type { Event, Kind } from "./event.js";
export { now } from "./event.js";
export * from "./events.js";

/** Any reason for which an event was not taken, or not delivered. */
export class EventError extends Error {}
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

/** How values are written. */
export interface Form {
  readonly contentType: string;
}
export const Form: {
  /** An object with the schema's fields. */
  readonly json: Form;
  /** Avro's single-object encoding: the schema's fingerprint in front. */
  readonly avro: Form;
  /** As the clients of a schema registry read it: the registry's number for each schema, by the schema's full name. */
  confluent(ids: Readonly<Record<string, number>>): Form;
};

/** A service's rules; the producer applies them to every event. */
export class Redaction {
  constructor(rules?: {
    /** Names of query parameters that may be told. */
    readonly query?: readonly string[];
    /** Hashes addresses in place of cutting them; at least 16 bytes. */
    readonly key?: Uint8Array | null;
    /** Whether paths are told as they came. */
    readonly paths?: boolean;
  });
  event(event: Event): Event;
  address(address: string): string;
  path(target: string): string | null;
  query(query: string): string | null;
}

/** A message as a client takes it. */
export interface Message {
  readonly topic: string;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers: Readonly<Record<string, string>>;
  /** Milliseconds since 1970. */
  readonly timestamp: number;
}

/** Where an event is. */
export interface Place {
  readonly partition: number;
  readonly offset: number;
}

/** What the producer needs of a Kafka client. It must partition as Java's does (murmur2) and be idempotent. */
export interface Client {
  /** False where there is no room; else `settled` is called once, never before this returns. */
  send(message: Message, settled: (error: Error | null, place?: Place) => void): boolean;
  /** Hands out reports that are there. */
  poll?(): void;
  flush(milliseconds: number): Promise<void>;
  close(): Promise<void>;
}

export interface Options {
  /** The service. */
  readonly source: string;
  /** `host:port` of brokers, for Confluent's client. */
  readonly brokers?: readonly string[];
  /** Properties of librdkafka, for Confluent's client. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Another client. */
  readonly client?: Client;
  readonly form?: Form;
  readonly redaction?: Redaction;
  /** Says which span is around the caller, such as OpenTelemetry's. */
  readonly traceparent?: () => string | undefined;
  /** How long `emit` waits for room. */
  readonly blockMilliseconds?: number;
  /** The machine [default: its host name]. */
  readonly node?: string;
}

export interface EventProducer {
  /** node/source/instance: whose sequences its events carry. */
  readonly name: string;
  readonly epoch: number;
  readonly delivered: number;
  readonly failed: number;
  on(name: "deliveryError", listener: (error: Undelivered) => void): this;
  off(name: "deliveryError", listener: (error: Undelivered) => void): this;
  /** Resolves when the broker has it. Events that are emitted before that share batches: do not await each before the next. */
  emit(
    event: Event,
    options?: { readonly traceparent?: string; readonly signal?: AbortSignal },
  ): Promise<Place & { readonly sequence: number }>;
  /** Takes it and returns its sequence; throws BufferFull where there is no room. */
  emitNoWait(event: Event, options?: { readonly traceparent?: string }): number;
  /** Waits until the broker has all; returns how many it has not. */
  flush(milliseconds?: number): Promise<number>;
  /** Waits for all, and ends; returns how many events the broker has not. */
  close(milliseconds?: number): Promise<number>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Connects, and makes a producer of events. */
export function createEventProducer(options: Options): Promise<EventProducer>;
/** Everything that `work` emits, at once or later, belongs to this span. */
export function withTraceparent<T>(traceparent: string, work: () => T): T;
/** MurmurHash2 as Kafka seeds it, as 32 bits with a sign. */
export function murmur2(key: Uint8Array): number;
/** The partition of a key's bytes. */
export function partition(key: Uint8Array, partitions: number): number;
