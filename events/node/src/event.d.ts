/** Something that happened. */
export interface Event {
  readonly kind: Kind<never>;
  readonly fields: Readonly<Record<string, unknown>>;
  /** What the topic keeps it under, or null. */
  key(): string | null;
}

/** Makes events of one schema; throws SchemaError where the fields do not fit it. */
export interface Kind<Fields> {
  (fields: Fields): Event;
  readonly topic: string;
  /** CloudEvents' type. */
  readonly type: string;
  /** The schema's full name; null: a tombstone, which has no value. */
  readonly schema: string | null;
  readonly fingerprint: string;
  /** The fields of which the first that is there is the key. */
  readonly key: readonly string[];
}

/** Microseconds since 1970. */
export function now(): number;
