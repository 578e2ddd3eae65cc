"""The events against the schemas: the same bytes in every language."""

import io
import json
import subprocess
import sys

import fastavro
import pytest
from conftest import SCHEMAS, vectors

import carbyne_events
from carbyne_events import AuditApiCall, ConfigRemoval, DataLineage, DataQuality, Form, SchemaError, SecurityEvent, events
from carbyne_events.envelope import timestamp

CASES = [(name, case) for name, _, cases in vectors() for case in cases]


def test_the_generated_code_is_what_the_schemas_make():
    subprocess.run([sys.executable, str(SCHEMAS / "generate.py"), "--check"], check=True)


def test_every_schema_has_a_class_and_its_fingerprint():
    known = {getattr(events, name).KIND.fingerprint for name in events.__all__} - {""}
    assert known == {fingerprint for _, fingerprint, _ in vectors()}


@pytest.mark.parametrize("name, case", CASES, ids=lambda part: part if isinstance(part, str) else part["name"])
def test_vectors(name, case):
    event = getattr(events, name)(**case["json"])
    assert event.avro().hex() == case["avro"]
    assert json.loads(Form.json().value(event)) == case["json"]
    # And as somebody else reads it.
    schema = json.loads(next(path for path in SCHEMAS.glob("*.avsc") if f'"name": "{name}"' in path.read_text()).read_text())
    for field in schema["fields"]:
        if field["name"] == "time" or "logicalType" in json.dumps(field["type"]):
            field["type"] = json.loads(json.dumps(field["type"]).replace('"logicalType": "timestamp-micros"', '"doc": ""'))
    assert fastavro.schemaless_reader(io.BytesIO(event.avro()), schema, None) == case["json"]
    single = Form.avro().value(event)
    assert single[:2] == b"\xc3\x01" and single[10:] == event.avro()
    assert Form.confluent({event.KIND.schema: 258}).value(event) == b"\x00\x00\x00\x01\x02" + event.avro()


QUALITY = {"service": "s", "dataset": "d", "check": "c", "severity": "info", "passed": True}


@pytest.mark.parametrize(
    "change, said",
    [
        ({"service": 1}, "service must be string, not 1"),
        ({"service": None}, "service must be string, not None"),
        ({"severity": "loud"}, "severity must be one of"),
        ({"passed": 1}, "passed must be boolean"),
        ({"records_checked": True}, "records_checked must be null or long"),
        ({"records_checked": 1 << 63}, "records_checked must be null or long"),
        ({"observed": float("nan")}, "observed must be null or double"),
        ({"detail": "\ud800"}, "detail is no Unicode text"),
        ({"time": "now"}, "time must be long"),
    ],
)
def test_what_does_not_fit_is_refused(change, said):
    event = DataQuality(**{**QUALITY, **change})
    for form in (Form.json(), Form.avro()):
        with pytest.raises(SchemaError, match=f"^DataQuality.{said}"):
            form.value(event)


def test_keys():
    assert DataQuality(**QUALITY).key() == b"d"
    assert SecurityEvent(node="n", component="c", reason="access_denied", count=1, last_time=1).key() is None
    told = SecurityEvent(node="n", component="c", reason="access_denied", count=1, last_time=1, client_address="203.0.113.0/24")
    assert told.key() == b"203.0.113.0/24"
    # Kafka refuses what has no key where it compacts: so does this, before.
    for empty in (DataLineage(service="s", job="j", run="r", output="", inputs=["i"]), ConfigRemoval(entity="")):
        with pytest.raises(SchemaError, match="needs a key"):
            empty.key()
    with pytest.raises(TypeError):
        DataLineage(service="s")


def test_a_tombstone_has_no_value():
    assert Form.json().value(ConfigRemoval(entity="routes/1")) is None
    assert ConfigRemoval(entity="routes/1").key() == b"routes/1"


def test_a_registry_must_know_the_schema():
    with pytest.raises(SchemaError, match="carbyne.events.DataQuality is not known"):
        Form.confluent({}).value(DataQuality(**QUALITY))


def test_times():
    assert timestamp(0) == "1970-01-01T00:00:00.000000Z"
    assert timestamp(1_795_762_454_000_001) == "2026-11-27T06:54:14.000001Z"
    with pytest.raises(SchemaError):
        timestamp(1 << 62)


def test_the_old_name_is_the_same():
    import event_producer

    assert event_producer.EventProducer is carbyne_events.EventProducer
    assert event_producer.AuditApiCall is AuditApiCall
