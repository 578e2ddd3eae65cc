// Where a key goes: Java's clients, and librdkafka's murmur2_random, agree on it. The client chooses; this says what it chooses.

/** The partition of a key's bytes. */
export function partition(key, partitions) {
  return (murmur2(key) & 0x7fffffff) % partitions;
}

/** MurmurHash2 as Kafka seeds it, as 32 bits with a sign. */
export function murmur2(given) {
  const key = Buffer.from(given.buffer, given.byteOffset, given.length);
  const multiplier = 0x5bd1e995;
  let code = 0x9747b28c ^ key.length;
  const whole = key.length - (key.length % 4);
  for (let start = 0; start < whole; start += 4) {
    let word = Math.imul(key.readInt32LE(start), multiplier);
    word = Math.imul(word ^ (word >>> 24), multiplier);
    code = Math.imul(code, multiplier) ^ word;
  }
  if (whole < key.length) {
    code = Math.imul(code ^ key.readUIntLE(whole, key.length - whole), multiplier);
  }
  code = Math.imul(code ^ (code >>> 13), multiplier);
  return code ^ (code >>> 15);
}
