// The client behind the producer: Confluent's, on librdkafka. Another one needs these five functions only.

import { TooLarge, Undelivered } from "./errors.js";

/** What a configuration may change. */
const DEFAULTS = {
  "enable.idempotence": true,
  "compression.codec": "lz4",
  "linger.ms": 10,
  "batch.num.messages": 10_000,
  "queue.buffering.max.messages": 100_000,
  "queue.buffering.max.kbytes": 65_536,
  // An event that was taken waits for the broker as long as the process lives.
  "message.timeout.ms": 0,
  "reconnect.backoff.max.ms": 2_000,
  "socket.keepalive.enable": true,
};

/** What it may not: librdkafka's own default hashes otherwise than Java, and reports come one by one. */
const FIXED = { partitioner: "murmur2_random", dr_cb: true };

/** librdkafka's numbers for what `produce` may refuse. */
const QUEUE_FULL = -184;
const MESSAGE_TOO_LARGE = 10;

/** A client of `@confluentinc/kafka-javascript`; `kafka` is that module, where it was loaded already. */
export async function confluent({ brokers, config = {}, kafka }) {
  for (const [name, value] of Object.entries(FIXED)) {
    if ((config[name] ?? value) !== value) throw new RangeError(`${name} must be ${value}: events of one key would not meet`);
  }
  const { Producer } = kafka ?? (await import("@confluentinc/kafka-javascript")).default;
  const producer = new Producer({ ...DEFAULTS, "metadata.broker.list": brokers.join(","), ...config, ...FIXED });
  const connected = new Promise((resolve, reject) => {
    producer.connect({ timeout: 30_000 }, (error) => (error ? reject(new Undelivered(error.message)) : resolve()));
  });
  producer.on("delivery-report", (error, report) => {
    report.opaque?.(error ? new Undelivered(`${report.topic}: ${error.message}`) : null, {
      partition: report.partition,
      offset: report.offset,
    });
  });
  // Errors of connections are librdkafka's to heal; without a listener one would end the process.
  producer.on("event.error", () => {});
  await connected;
  producer.setPollInterval(10);
  return {
    /** False where there is no room; else `settled` is called once. */
    send({ topic, key, value, headers, timestamp }, settled) {
      const list = Object.entries(headers).map(([name, text]) => ({ [name]: Buffer.from(text) }));
      try {
        producer.produce(topic, null, value, key, timestamp, settled, list);
        return true;
      } catch (error) {
        if (error.code === QUEUE_FULL) return false;
        if (error.code === MESSAGE_TOO_LARGE) throw new TooLarge(`${topic}: ${value?.length ?? 0} bytes`);
        throw new Undelivered(`${topic}: ${error.message}`, { cause: error });
      }
    },
    poll: () => producer.poll(),
    flush: (milliseconds) =>
      new Promise((resolve) => {
        producer.flush(milliseconds, () => resolve());
      }),
    close: () =>
      new Promise((resolve, reject) => {
        producer.disconnect(5_000, (error) => (error ? reject(error) : resolve()));
      }),
  };
}
