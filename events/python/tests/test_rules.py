"""The rules that producers of all languages share."""

import dataclasses
import random

import pytest
from conftest import contract

from carbyne_events import AuditApiCall, AuditUserAction, Form, Redaction, SecurityEvent, events, murmur2, partition
from carbyne_events.redaction import clipped, key_id

RULES = contract("redaction")


@pytest.mark.parametrize("case", contract("partitions")["cases"], ids=lambda case: case["key"])
def test_partitions(case):
    key = case["key"].encode()
    assert murmur2(key) == case["murmur2"] & 0xFFFF_FFFF
    assert partition(key, 12) == case["partition"]


@pytest.mark.parametrize("case", RULES["addresses"], ids=lambda case: case["address"])
def test_addresses(case):
    assert Redaction().address(case["address"]) == case["network"]
    assert Redaction(key=b"k" * 32).address(case["address"]) == case["hashed"]


@pytest.mark.parametrize("case", RULES["paths"], ids=lambda case: case["target"])
def test_paths(case):
    assert Redaction().path_of(case["target"]) is None
    assert Redaction(paths=True).path_of(case["target"]) == case["path"]


@pytest.mark.parametrize("case", RULES["queries"], ids=lambda case: case["query"])
def test_queries(case):
    assert Redaction(query=tuple(case["allowed"])).query_of(case["query"]) == case["told"]


def test_key_ids_and_ends():
    for case in RULES["key_ids"]:
        assert key_id(case["id"]) == case["told"]
    assert clipped("añb", 2) == "a"
    assert Redaction(paths=True).path_of("/" + "x" * 5000) == "/" + "x" * 1023
    with pytest.raises(ValueError):
        Redaction(key=b"short")
    assert "kkkk" not in repr(Redaction(key=b"k" * 32))


def test_what_was_made_fit_stays():
    for told in ("203.0.113.0/24", "2001:db8:1::/48", "hmac:e81fe06face70b52dd0c02f6ca9b44c9"):
        assert Redaction().event(call(client_address=told)).client_address == told
    assert Redaction().event(call(client_address="unix:/run/secret")).client_address is None


def test_no_planted_secret_is_told():
    """Whatever stands in an address, a path or a query, no form of any event has it."""
    chance = random.Random(5)
    for _ in range(300):
        secret = f"s3cr3t{chance.getrandbits(40):x}"
        last = chance.randrange(1, 255)
        address = f"203.0.113.{last}"
        query = "&".join(chance.sample([f"token={secret}", f"page={chance.randrange(9)}", f"apikey={secret}", secret], 4))
        event = call(client_address=address, path=f"/reset/{secret}?{query}", query=query, method=chance.choice(["GET", "POST"]))
        for rules in (Redaction(), Redaction(query=("page",)), Redaction(query=("page",), key=b"k" * 32)):
            told = rules.event(event)
            for form in (Form.json(), Form.avro()):
                value = form.value(told)
                assert secret.encode() not in value
                assert address.encode() not in value
            assert dataclasses.replace(told, client_address=None, path=None, query=None) == dataclasses.replace(
                event, client_address=None, path=None, query=None
            )


def test_every_address_of_every_event_is_made_fit():
    named = {name for name in events.__all__ for field in getattr(events, name).KIND.fields if field.name == "client_address"}
    assert {"AuditApiCall", "SecurityEvent", "AuditUserAction"} <= named
    told = Redaction().event(SecurityEvent(node="n", component="c", reason="access_denied", count=1, last_time=1, client_address="10.1.2.3"))
    assert told.key() == b"10.1.2.0/24"
    assert AuditUserAction.KIND.topic == "audit-user-actions"


def call(**fields):
    return AuditApiCall(
        **{
            "node": "n", "request_id": "r", "method": "GET", "scheme": "https", "protocol": "HTTP/2", "status": 200,
            "answered_by": "service", "latency_total_us": 1, "latency_gateway_us": 1, "bytes_in": 0, "bytes_out": 0, "tries": 1,
            **fields,
        }
    )
