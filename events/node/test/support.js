import nodeTest from "node:test";
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { createEventProducer } from "../src/index.js";
import { confluent } from "../src/confluent.js";

const EVENTS = fileURLToPath(new URL("../..", import.meta.url));

/**
 * A test with a limit. The client of one that failed may be open still, which keeps the process for ever: it leaves when nothing follows.
 */
export function test(name, body) {
  nodeTest(name, async (context) => {
    clearTimeout(leave);
    let limit;
    const late = new Promise((_, reject) => {
      limit = setTimeout(() => reject(new Error(`not within ${LIMIT} ms`)), LIMIT);
    });
    try {
      await Promise.race([body(context), late]);
    } catch (error) {
      failed = true;
      throw error;
    } finally {
      clearTimeout(limit);
      if (failed) leave = setTimeout(() => process.exit(1), 2_000).unref();
    }
  });
}

const LIMIT = 120_000;
let failed = false;
let leave;

/** A real Kafka with the twelve topics: the suite `producers` of the crate starts one and runs these tests. */
export function bootstrap() {
  return wanted("CARBYNE_TEST_BOOTSTRAP");
}

/** A producer with Confluent's client, which setup put away from the checkout. */
export async function producer(options, config = {}) {
  const kafka = createRequire(`${wanted("CARBYNE_NODE")}/`)("@confluentinc/kafka-javascript");
  const client = await confluent({ brokers: [bootstrap()], config, kafka });
  return createEventProducer({ client, ...options });
}

/** What an independent consumer finds of a producer in a topic. */
export function read(topic, name) {
  const program = [join(EVENTS, "tests/consumer.py"), bootstrap(), topic];
  const lines = execFileSync(wanted("CARBYNE_TEST_PYTHON"), program, { encoding: "utf8", maxBuffer: 1 << 28 });
  const messages = lines.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  return messages.filter((message) => message.headers.producer === name);
}

/** Each schema's name with its cases, as the schemas' owner made them. */
export function vectors() {
  const folder = join(EVENTS, "schemas/vectors");
  return readdirSync(folder).sort().map((file) => {
    const { schema, fingerprint, cases } = JSON.parse(readFileSync(join(folder, file), "utf8"));
    return { name: schema.split(".").pop(), fingerprint, cases };
  });
}

export function contract(name) {
  return JSON.parse(readFileSync(join(EVENTS, `schemas/contracts/${name}.json`), "utf8"));
}

function wanted(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run \`cargo test -p carbyne-events --test producers\``);
  return value;
}
