// Avro's binary form.

/** An event's body. */
export function encode(event) {
  const parts = [];
  for (const field of event.kind.fields) {
    const value = event.fields[field.name];
    if (field.optional) {
      long(parts, value === null ? 0 : 1);
      if (value === null) continue;
    }
    write(parts, field.type, value);
  }
  return Buffer.concat(parts);
}

function write(parts, type, value) {
  switch (type) {
    case "string":
      return string(parts, value);
    case "long":
    case "int":
      return long(parts, value);
    case "double": {
      const bytes = Buffer.alloc(8);
      bytes.writeDoubleLE(value);
      parts.push(bytes);
      return;
    }
    case "boolean":
      parts.push(Buffer.of(value ? 1 : 0));
      return;
    case "array":
      if (value.length > 0) {
        long(parts, value.length);
        for (const item of value) string(parts, item);
      }
      return long(parts, 0);
    default: {
      // The same map has the same bytes: by code points, as the other languages sort.
      const names = Object.keys(value).sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
      if (names.length > 0) {
        long(parts, names.length);
        for (const name of names) {
          string(parts, name);
          string(parts, value[name]);
        }
      }
      return long(parts, 0);
    }
  }
}

function string(parts, text) {
  const bytes = Buffer.from(text);
  long(parts, bytes.length);
  parts.push(bytes);
}

/** Zigzag, seven bits a byte. */
function long(parts, number) {
  const bytes = [];
  if (number >= 0 && number < 2 ** 30) {
    let rest = number * 2;
    while (rest > 0x7f) {
      bytes.push((rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    bytes.push(rest);
  } else {
    const whole = BigInt(number);
    let rest = BigInt.asUintN(64, (whole << 1n) ^ (whole >> 63n));
    while (rest > 0x7fn) {
      bytes.push(Number(rest & 0x7fn) | 0x80);
      rest >>= 7n;
    }
    bytes.push(Number(rest));
  }
  parts.push(Buffer.from(bytes));
}
