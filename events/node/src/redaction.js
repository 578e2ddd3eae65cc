// What may be said of a request: the rules of every producer, whatever its language.
//
// Events are kept for a year and read by many. What a client proved itself with is in no field; addresses become networks or keyed
// hashes, of a query remains what a list allows, paths are told only where they may be.

import { createHash, createHmac } from "node:crypto";
import { isIPv4, isIPv6 } from "node:net";

const LONGEST = 1024;
const SHORTEST_KEY = 16;

/** A service's rules; the producer applies them to every event. */
export class Redaction {
  #query;
  #key;
  #paths;

  /**
   * `query`: names of parameters that may be told; `key`: hashes addresses in place of cutting them; `paths`: whether paths are told.
   */
  constructor({ query = [], key = null, paths = false } = {}) {
    if (key !== null && key.length < SHORTEST_KEY) {
      throw new RangeError(`the key of addresses has fewer than ${SHORTEST_KEY} bytes`);
    }
    this.#query = new Set(query);
    this.#key = key;
    this.#paths = paths;
  }

  /** The event with what it says of a request made fit to be told. */
  event(event) {
    const changes = {};
    for (const [name, rule] of [
      ["client_address", (said) => this.#client(said)],
      ["path", (said) => this.path(said)],
      ["query", (said) => this.query(said)],
    ]) {
      const said = event.fields[name];
      if (typeof said !== "string") continue;
      const told = rule(said);
      if (told !== said) changes[name] = told;
    }
    return Object.keys(changes).length === 0 ? event : event.with(changes);
  }

  /** A client's address: its network, or a hash by which the same client is known again. */
  address(address) {
    const bytes = bytesOf(address);
    if (bytes === null) throw new RangeError("no address");
    if (this.#key !== null) {
      return `hmac:${createHmac("sha256", this.#key).update(bytes).digest("hex").slice(0, 32)}`;
    }
    if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.0/24`;
    return `${[0, 2, 4].map((at) => bytes.readUInt16BE(at).toString(16)).join(":")}::/48`;
  }

  /** A path without its query, where paths are told; else null. */
  path(target) {
    return this.#paths ? clipped(target.split(/[?#]/, 1)[0], LONGEST) : null;
  }

  /** Of a query, the parameters that may be told; null where that is nothing. */
  query(query) {
    let told = "";
    for (const pair of query.split("&")) {
      const fits = Buffer.byteLength(told) + Buffer.byteLength(pair) < LONGEST;
      if (this.#query.has(pair.split("=", 1)[0]) && fits) told += told === "" ? pair : `&${pair}`;
    }
    return told === "" ? null : told;
  }

  #client(said) {
    if (said.startsWith("hmac:") || said.endsWith("/24") || said.endsWith("/48")) return said;
    // Whatever else it is, it is no address that was made fit.
    return bytesOf(said) === null ? null : this.address(said);
  }
}

/** A hash of a key's id: which key, for whoever has the key set, and nothing for others. */
export function keyId(id) {
  return `sha256:${createHash("sha256").update(id).digest("hex").slice(0, 32)}`;
}

/** The beginning of a text that a client chose, of at most so many bytes. */
export function clipped(text, most) {
  const bytes = Buffer.from(text);
  if (bytes.length <= most) return text;
  let end = most;
  while (end > 0 && (bytes[end] & 0xc0) === 0x80) end -= 1;
  return bytes.toString("utf8", 0, end);
}

/** An address's four or sixteen bytes; an IPv4 address in IPv6's clothes is one of four. */
function bytesOf(text) {
  const address = text.split("%", 1)[0];
  if (isIPv4(address)) return Buffer.from(address.split(".").map(Number));
  if (!isIPv6(address)) return null;
  const spelled = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) => {
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  });
  const [head, tail] = spelled.split("::");
  const groups = (part) => (part ? part.split(":") : []);
  const [first, last] = [groups(head), groups(tail)];
  const zeros = tail === undefined ? [] : Array(8 - first.length - last.length).fill("0");
  const bytes = Buffer.alloc(16);
  [...first, ...zeros, ...last].forEach((group, at) => bytes.writeUInt16BE(Number.parseInt(group, 16), at * 2));
  const mapped = bytes.subarray(0, 10).every((byte) => byte === 0) && bytes.readUInt16BE(10) === 0xffff;
  return mapped ? bytes.subarray(12) : bytes;
}
