// Compiled, never run: that the types say what the code does.

import { AuditApiCall, ConfigRemoval, createEventProducer, DataQuality, Form, type Event } from "../src/index.js";

export async function main(): Promise<void> {
  const producer = await createEventProducer({ source: "billing", brokers: ["localhost:9092"], form: Form.avro });
  const event: Event = DataQuality({ service: "s", dataset: "d", check: "c", severity: "info", passed: true });
  const { sequence, partition }: { sequence: number; partition: number } = await producer.emit(event);
  producer.on("deliveryError", (error) => error.message.length + sequence + partition);
  producer.emitNoWait(ConfigRemoval({ entity: "routes/1" }));
  // @ts-expect-error a compacted topic needs its key
  ConfigRemoval({});
  // @ts-expect-error not one of the schema's words
  DataQuality({ service: "s", dataset: "d", check: "c", severity: "loud", passed: true });
  // @ts-expect-error what a request needs is missing
  AuditApiCall({ node: "n" });
  await producer.close();
}
