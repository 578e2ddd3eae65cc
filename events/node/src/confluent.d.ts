import type { Client } from "./index.js";

/** A client of `@confluentinc/kafka-javascript`; `kafka` is that module, where it was loaded already. */
export function confluent(options: {
  readonly brokers: readonly string[];
  /** Properties of librdkafka. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly kafka?: unknown;
}): Promise<Client>;
