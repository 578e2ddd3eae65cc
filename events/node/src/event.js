// What all events have in common: their schema, their check, their key.

import { SchemaError } from "./errors.js";

/** The topics that keep the last event of each key, by events/topics.yaml. */
export const COMPACTED = new Set(["config-changes", "data-lineage", "system-health"]);

/** Microseconds since 1970. */
export function now() {
  return Math.floor((performance.timeOrigin + performance.now()) * 1000);
}

/** Makes the function that makes a kind's events. */
export function define(schema) {
  const name = schema.schema?.split(".").pop() ?? schema.type;
  const known = new Set(schema.fields.map((field) => field.name));
  const kind = (fields) => {
    for (const given of Object.keys(fields)) {
      if (!known.has(given)) throw new SchemaError(`${name} has no field ${given}`);
    }
    const whole = {};
    for (const field of schema.fields) whole[field.name] = checked(name, field, fields[field.name]);
    return new Event(kind, whole);
  };
  Object.defineProperty(kind, "name", { value: name });
  return Object.freeze(Object.assign(kind, schema));
}

/** Something that happened: a kind, and fields that fit its schema. */
export class Event {
  constructor(kind, fields) {
    this.kind = kind;
    this.fields = Object.freeze(fields);
    Object.freeze(this);
  }

  /** The same with some fields changed. */
  with(changes) {
    return this.kind({ ...this.fields, ...changes });
  }

  /** What the topic keeps it under, or null. */
  key() {
    const named = this.kind.key.find((field) => this.fields[field] !== null);
    const key = named === undefined ? null : this.fields[named];
    if (key === "" || (key === null && COMPACTED.has(this.kind.topic))) {
      throw new SchemaError(`${this.kind.name} needs a key: ${this.kind.key.join(" or ")} is empty`);
    }
    return key;
  }
}

const FITS = {
  string: (value) => typeof value === "string",
  // Larger ones are not exact in this language.
  long: (value) => Number.isSafeInteger(value),
  int: (value) => Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 31,
  double: (value) => Number.isFinite(value),
  boolean: (value) => typeof value === "boolean",
  array: (value) => Array.isArray(value) && value.every((item) => typeof item === "string"),
  map: (value) =>
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((item) => typeof item === "string"),
};

function checked(name, field, given) {
  let value = given;
  if (value === undefined) value = field.name === "time" ? now() : (field.default ?? null);
  if (value === null && field.optional) return null;
  if (!FITS[field.type](value)) {
    throw new SchemaError(
      `${name}.${field.name} must be ${field.optional ? "null or " : ""}${field.type}, not ${shown(value)}`,
    );
  }
  if (field.values && !field.values.includes(value)) {
    throw new SchemaError(`${name}.${field.name} must be one of ${field.values.join(", ")}, not ${shown(value)}`);
  }
  for (const text of texts(field.type, value)) {
    // Half of a pair of surrogates has no bytes in UTF-8.
    if (/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text)) {
      throw new SchemaError(`${name}.${field.name} is no Unicode text`);
    }
  }
  if (field.type === "array") return Object.freeze([...value]);
  if (field.type === "map") return Object.freeze({ ...value });
  return value;
}

function texts(type, value) {
  if (type === "string") return [value];
  if (type === "array") return value;
  return type === "map" ? Object.entries(value).flat() : [];
}

function shown(value) {
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}
