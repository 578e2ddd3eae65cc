#!/usr/bin/env python3
"""Makes the event types of Python and Node out of the schemas, as the crate's own generator makes Rust's.

    generate.py [--check]     --check: only say whether what is committed is what would be made

Standard library only.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parent / "python/src/carbyne_events/events"
NODE = HERE.parent / "node/src/events.js"
NODE_TYPES = HERE.parent / "node/src/events.d.ts"
MADE = "Generated from the schemas by events/schemas/generate.py."
# What Avro's canonical form keeps of a record and of a field, in its order.
CANONICAL = ("name", "type", "fields", "symbols", "items", "values", "size")


def main():
    # By module: the name of the schema's file.
    modules = {path.stem: json.loads(path.read_text()) for path in sorted(HERE.glob("*.avsc"))}
    schemas = list(modules.values())
    stale = []
    for path, text in (
        (PYTHON / "__init__.py", python_package(modules)),
        *((PYTHON / f"{module}.py", python([schema])) for module, schema in modules.items()),
        (NODE, node(schemas)),
        (NODE_TYPES, node_types(schemas)),
    ):
        if "--check" in sys.argv:
            if not path.exists() or path.read_text() != text:
                stale.append(path.name)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if stale:
        sys.exit(f"not what the schemas make: {', '.join(stale)}; run events/schemas/generate.py")


def python_package(modules):
    lines = [f"from .{module} import {', '.join(names([schema]))}" for module, schema in modules.items()]
    return "\n".join([
        f'"""The events, a module a schema. {MADE}"""', "", *lines, "",
        "__all__ = [", *(f"    {json.dumps(name)}," for name in names(modules.values())), "]",
    ]) + "\n"


def python(schemas):
    """One schema's module: its event and, where there is one, its tombstone."""
    body = python_classes(schemas)
    text = "\n".join(body)
    typing = [word for word in ("ClassVar", "Literal", "Mapping", "Optional", "Sequence") if f"{word}[" in text]
    kinds = ["Event", *(["Field"] if " Field(" in text else []), "Kind", *(["now"] if "=now)" in text else [])]
    return "\n".join([
        f'"""{MADE}"""', "",
        f"from dataclasses import dataclass{', field' if 'field(' in text else ''}",
        f"from typing import {', '.join(typing)}", "",
        f"from .._event import {', '.join(kinds)}", *body,
    ]) + "\n"


def python_classes(schemas):
    out = []
    for schema in schemas:
        own = schema["carbyne"]
        out += ["", "", "@dataclass(frozen=True)", f"class {schema['name']}(Event):", f'    """{schema["doc"]}"""', ""]
        # A field without a default may not come after one that has one: required fields first, whatever the schema's order.
        members = sorted(schema["fields"], key=lambda f: "default" in f or is_time(f))
        for f in members:
            out += [f"    {f['name']}: {python_type(f)}{python_default(f)}", f'    """{f["doc"]}"""']
        out += ["", "    KIND: ClassVar[Kind] = Kind(", *python_kind(schema, own, schema["name"], own["type"]), "    )"]
        if "tombstone" in own:
            tombstone, key = own["tombstone"], own["key"][0]
            doc = next(f["doc"] for f in schema["fields"] if f["name"] == key)
            out += [
                "", "", "@dataclass(frozen=True)", f"class {tombstone['name']}(Event):", f'    """{tombstone["doc"]}"""', "",
                f"    {key}: str", f'    """{doc}"""', "    time: int = field(default_factory=now)", '    """When it was so."""',
                "", "    KIND: ClassVar[Kind] = Kind(",
                f"        topic={json.dumps(own['topic'])},", f"        type={json.dumps(tombstone['type'])},",
                "        schema=None,", '        fingerprint="",', f"        key=({json.dumps(key)},),", "        fields=(),", "    )",
            ]
    return out


def python_type(f):
    values = f.get("carbyne", {}).get("values")
    kind, optional = inner(f["type"])
    if values:
        text = f"Literal[{', '.join(json.dumps(value) for value in values)}]"
    else:
        text = {
            "string": "str", "long": "int", "int": "int", "double": "float", "boolean": "bool",
            "array": "Sequence[str]", "map": "Mapping[str, str]",
        }[kind]
    return f"Optional[{text}]" if optional else text


def python_default(f):
    if is_time(f):
        return " = field(default_factory=now)"
    if "default" not in f:
        return ""
    return {"null": " = None", "[]": " = ()", "{}": " = field(default_factory=dict)"}[json.dumps(f["default"])]


def python_kind(schema, own, name, event_type):
    del name
    return [
        f"        topic={json.dumps(own['topic'])},",
        f"        type={json.dumps(event_type)},",
        f"        schema={json.dumps(full_name(schema))},",
        f"        fingerprint={json.dumps(fingerprint(schema))},",
        f"        key=({''.join(json.dumps(key) + ', ' for key in own.get('key', []))}),".replace(", )", ",)"),
        "        fields=(",
        *(f"            Field({json.dumps(f['name'])}, {json.dumps(inner(f['type'])[0])}, optional={inner(f['type'])[1]}, "
          f"values={tuple(f.get('carbyne', {}).get('values', ()))!r}),".replace("'", '"') for f in schema["fields"]),
        "        ),",
    ]


def node(schemas):
    out = [
        "// The events. Generated from the schemas by events/schemas/generate.py.",
        "",
        'import { define } from "./event.js";',
    ]
    for schema in schemas:
        own = schema["carbyne"]
        fields = [
            {"name": f["name"], "type": inner(f["type"])[0], **({"optional": True} if inner(f["type"])[1] else {}),
             **({"values": f["carbyne"]["values"]} if "values" in f.get("carbyne", {}) else {}),
             **({"default": f["default"]} if "default" in f else {})}
            for f in schema["fields"]
        ]
        out += [
            "", f"/** {schema['doc']} */", f"export const {schema['name']} = define({{",
            f"  topic: {json.dumps(own['topic'])},", f"  type: {json.dumps(own['type'])},",
            f"  schema: {json.dumps(full_name(schema))},", f"  fingerprint: {json.dumps(fingerprint(schema))},",
            f"  key: {json.dumps(own.get('key', []))},", "  fields: [",
            *(f"    {json.dumps(f)}," for f in fields), "  ],", "});",
        ]
        if "tombstone" in own:
            tombstone, key = own["tombstone"], own["key"][0]
            out += [
                "", f"/** {tombstone['doc']} */", f"export const {tombstone['name']} = define({{",
                f"  topic: {json.dumps(own['topic'])},", f"  type: {json.dumps(tombstone['type'])},",
                "  schema: null,", '  fingerprint: "",', f"  key: [{json.dumps(key)}],", "  fields: [",
                f'    {{"name": {json.dumps(key)}, "type": "string"}},', '    {"name": "time", "type": "long"},', "  ],", "});",
            ]
    return "\n".join(out) + "\n"


def node_types(schemas):
    out = [
        "// The events. Generated from the schemas by events/schemas/generate.py.",
        "",
        'import type { Kind } from "./event.js";',
    ]
    for schema in schemas:
        own, name = schema["carbyne"], schema["name"]
        out += ["", f"/** {schema['doc']} */", f"export interface {name}Fields {{"]
        for f in schema["fields"]:
            mark = "?" if "default" in f or is_time(f) else ""
            out += [f"  /** {f['doc']} */", f"  {f['name']}{mark}: {node_type(f)};"]
        out += ["}", f"export const {name}: Kind<{name}Fields>;"]
        if "tombstone" in own:
            tombstone, key = own["tombstone"], own["key"][0]
            out += [
                "", f"/** {tombstone['doc']} */", f"export interface {tombstone['name']}Fields {{",
                f"  {key}: string;", "  time?: number;", "}", f"export const {tombstone['name']}: Kind<{tombstone['name']}Fields>;",
            ]
    return "\n".join(out) + "\n"


def node_type(f):
    values = f.get("carbyne", {}).get("values")
    kind, optional = inner(f["type"])
    text = " | ".join(json.dumps(value) for value in values) if values else {
        "string": "string", "long": "number", "int": "number", "double": "number", "boolean": "boolean",
        "array": "readonly string[]", "map": "Readonly<Record<string, string>>",
    }[kind]
    return f"{text} | null" if optional else text


def names(schemas):
    return [name for schema in schemas for name in
            (schema["name"], *([schema["carbyne"]["tombstone"]["name"]] if "tombstone" in schema["carbyne"] else []))]


def inner(kind):
    """The type under a union with null and a logical type, and whether it may be null."""
    if isinstance(kind, list):
        assert len(kind) == 2 and kind[0] == "null", kind
        return inner(kind[1])[0], True
    if isinstance(kind, dict):
        assert kind.get("items", "string") == "string" and kind.get("values", "string") == "string", kind
        return kind["type"], False
    return kind, False


def is_time(f):
    return f["name"] == "time"


def full_name(schema):
    return f"{schema['namespace']}.{schema['name']}"


def canonical(schema):
    """Avro's Parsing Canonical Form, of what these schemas use."""
    if isinstance(schema, list):
        return [canonical(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    form = {}
    for name in CANONICAL:
        if name in schema:
            value = schema[name]
            form[name] = [canonical(part) for part in value] if name == "fields" else canonical(value)
    if schema.get("type") == "record":
        form["name"] = full_name(schema)
    return form["type"] if list(form) == ["type"] else form


def fingerprint(schema):
    """CRC-64-AVRO, as hexadecimal digits."""
    empty = 0xC15D213AA4D7A795
    code = empty
    for byte in json.dumps(canonical(schema), separators=(",", ":"), ensure_ascii=False).encode():
        index = (code ^ byte) & 0xFF
        for _ in range(8):
            index = (index >> 1) ^ (empty & -(index & 1))
        code = (code >> 8) ^ index
    return f"{code:016x}"


if __name__ == "__main__":
    main()
