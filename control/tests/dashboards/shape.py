"""Reads dashboards with Grafana's own types and writes them again: nothing may be refused, and nothing lost."""

import json
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard


def lost(before, after, path):
    """What was in a document and is not in the other."""
    if isinstance(before, dict):
        if not isinstance(after, dict):
            yield f"{path}: {before!r} became {after!r}"
            return
        for key, value in before.items():
            if key not in after:
                # What is empty may be left out.
                if value not in (None, [], {}, "", False, 0):
                    yield f"{path}.{key}: {value!r} is lost"
                continue
            yield from lost(value, after[key], f"{path}.{key}")
    elif isinstance(before, list):
        if not isinstance(after, list) or len(before) != len(after):
            yield f"{path}: {before!r} became {after!r}"
            return
        for index, (left, right) in enumerate(zip(before, after)):
            yield from lost(left, right, f"{path}[{index}]")
    elif before != after:
        yield f"{path}: {before!r} became {after!r}"


bad = 0
for name in sys.argv[1:]:
    with open(name, encoding="utf-8") as file:
        before = json.load(file)
    text = JSONEncoder(sort_keys=True).encode(Dashboard.from_json(before))
    faults = list(lost(before, json.loads(text), ""))
    for fault in faults:
        print(f"{name}{fault}")
    bad += len(faults)
    if not faults:
        print(f"{name}: ok")
sys.exit(1 if bad else 0)
