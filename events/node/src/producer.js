// The producer.

import { AsyncLocalStorage } from "node:async_hooks";
import { randomUUID } from "node:crypto";
import { EventEmitter } from "node:events";
import { hostname } from "node:os";

import { confluent } from "./confluent.js";
import { Form, headers, value } from "./envelope.js";
import { BufferFull, ProducerClosed, SchemaError, Undelivered } from "./errors.js";
import { Closing } from "./events.js";
import { Redaction } from "./redaction.js";

const ASYNC_DISPOSE = Symbol.asyncDispose ?? Symbol.for("nodejs.asyncDispose");
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;
const trace = new AsyncLocalStorage();

/** Everything that `work` emits, at once or later, belongs to this span. */
export function withTraceparent(traceparent, work) {
  return trace.run(traceparent, work);
}

/** Connects, and makes a producer of events. */
export async function createEventProducer(options) {
  const { source, brokers, config, client } = options;
  if (!source || source.includes("/")) throw new RangeError("source is a name without a slash");
  return new EventProducer(client ?? (await confluent({ brokers, config })), options);
}

/** Emits events. 'deliveryError' is told of each event that the broker refused. */
class EventProducer {
  #listeners = new EventEmitter();
  #client;
  #form;
  #redaction;
  #traceparent;
  #blockMilliseconds;
  #sequence = 0;
  #previous = new Map();
  #waiting = [];
  #pending = new Set();
  #closing = null;

  constructor(client, options) {
    this.#client = client;
    this.#form = options.form ?? Form.json;
    this.#redaction = options.redaction ?? new Redaction();
    this.#traceparent = options.traceparent ?? (() => undefined);
    this.#blockMilliseconds = options.blockMilliseconds ?? 5_000;
    // Nobody else has this name: it is made anew with every producer.
    this.name = `${options.node ?? hostname()}/${options.source}/${randomUUID().replaceAll("-", "").slice(0, 12)}`;
    this.epoch = Math.floor(Date.now() / 1000);
    this.delivered = 0;
    this.failed = 0;
  }

  /** Calls a listener of 'deliveryError'. */
  on(name, listener) {
    this.#listeners.on(name, listener);
    return this;
  }

  /** Calls it no more. */
  off(name, listener) {
    this.#listeners.off(name, listener);
    return this;
  }

  /** Resolves when the broker has it. Events that are emitted before that share batches: do not await each before the next. */
  emit(event, { traceparent, signal } = {}) {
    return this.#settled((resolve, reject) => {
      const order = this.#order(event, traceparent, { resolve, reject });
      if (signal?.aborted) throw signal.reason;
      if (this.#waiting.length > 0 || !this.#send(order)) this.#wait(order, signal);
    });
  }

  /** Takes it and returns its sequence; throws BufferFull where there is no room. What the broker says is told by 'deliveryError'. */
  emitNoWait(event, { traceparent } = {}) {
    const order = this.#order(event, traceparent, { resolve() {}, reject() {} });
    if (this.#waiting.length > 0 || !this.#send(order)) throw new BufferFull(`no room for another event of ${order.topic}`);
    return this.#sequence;
  }

  /** Waits until the broker has all that was emitted before; returns how many it has not. */
  async flush(milliseconds = 30_000) {
    const deadline = Date.now() + milliseconds;
    while (this.#waiting.length + this.#pending.size > 0 && Date.now() < deadline) {
      await this.#client.flush(Math.max(1, Math.min(500, deadline - Date.now())));
      this.#client.poll?.();
      // Reports are handed out on the event loop.
      await new Promise((resolve) => setImmediate(resolve));
      this.#drain();
    }
    return this.#waiting.length + this.#pending.size;
  }

  /** Says how far its sequences go, waits for all, and ends. Returns how many events the broker has not. */
  close(milliseconds = 30_000) {
    this.#closing ??= this.#close(milliseconds);
    return this.#closing;
  }

  async [ASYNC_DISPOSE]() {
    await this.close();
  }

  async #close(milliseconds) {
    let left = await this.flush(milliseconds);
    for (const order of this.#waiting.splice(0)) order.reject(new ProducerClosed("the producer is closed"));
    if (this.#sequence > 0) {
      const closing = Closing({ producer: this.name, epoch: this.epoch, sequence: this.#sequence, lost: 0, reason: "stopped" });
      const order = this.#make(closing, undefined, { resolve() {}, reject() {} });
      if (this.#send(order)) left = await this.flush(milliseconds);
    }
    await this.#client.close();
    return left;
  }

  #settled(start) {
    return new Promise((resolve, reject) => {
      try {
        start(resolve, reject);
      } catch (error) {
        reject(error);
      }
    });
  }

  #order(event, given, settle) {
    if (this.#closing !== null) throw new ProducerClosed("the producer is closed");
    const traceparent = given ?? trace.getStore() ?? this.#traceparent();
    return this.#make(told(this.#redaction.event(event), traceparent), traceparent, settle);
  }

  /** Everything that may be wrong with the event is found before it has a sequence. */
  #make(event, traceparent, { resolve, reject }) {
    const key = event.key();
    return { event, topic: event.kind.topic, key, value: value(this.#form, event), traceparent, resolve, reject };
  }

  #send(order) {
    const { event, topic, key, traceparent } = order;
    const sequence = this.#sequence + 1;
    const stamp = { producer: this.name, epoch: this.epoch, sequence, previous: this.#previous.get(topic) };
    const message = {
      topic,
      key: key === null ? null : Buffer.from(key),
      value: order.value,
      headers: headers(event, key, stamp, this.#form, traceparent),
      timestamp: Math.floor(event.fields.time / 1000),
    };
    const taken = this.#client.send(message, (error, place) => this.#report(order, sequence, error, place));
    if (!taken) return false;
    // Only what was taken uses its sequence up.
    this.#sequence = sequence;
    this.#previous.set(topic, sequence);
    this.#pending.add(sequence);
    return true;
  }

  #report(order, sequence, error, place) {
    this.#pending.delete(sequence);
    if (error === null) {
      this.delivered += 1;
      order.resolve({ sequence, ...place });
    } else {
      this.failed += 1;
      const refused = error instanceof Undelivered ? error : new Undelivered(error.message, { cause: error });
      order.reject(refused);
      this.#listeners.emit("deliveryError", refused);
    }
    this.#drain();
  }

  #wait(order, signal) {
    const giveUp = (error) => {
      const at = this.#waiting.indexOf(order);
      if (at < 0) return;
      this.#waiting.splice(at, 1);
      order.reject(error);
    };
    const late = setTimeout(
      () => giveUp(new BufferFull(`no room for another event of ${order.topic}`)),
      this.#blockMilliseconds,
    );
    const aborted = () => giveUp(signal.reason);
    signal?.addEventListener("abort", aborted, { once: true });
    order.stop = () => {
      clearTimeout(late);
      signal?.removeEventListener("abort", aborted);
    };
    this.#waiting.push(order);
  }

  /** Those that wait are sent in their order, as far as there is room. */
  #drain() {
    while (this.#waiting.length > 0) {
      const [order] = this.#waiting;
      try {
        if (!this.#send(order)) return;
      } catch (error) {
        order.reject(error);
      }
      order.stop();
      this.#waiting.shift();
    }
  }
}

/** The event with its trace in its body, too, where it has a place for it and says nothing of its own. */
function told(event, traceparent) {
  if (traceparent === undefined) return event;
  const match = TRACEPARENT.exec(traceparent);
  if (match === null) throw new SchemaError(`${JSON.stringify(traceparent)} is no traceparent`);
  return event.fields.trace_id === null ? event.with({ trace_id: match[1] }) : event;
}
