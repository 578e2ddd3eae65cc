import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EVENTS = Path(__file__).resolve().parent.parent.parent
SCHEMAS = EVENTS / "schemas"


@pytest.fixture(scope="session")
def bootstrap():
    """A real Kafka with the twelve topics: the suite `producers` of the crate starts one and runs these tests."""
    address = os.environ.get("CARBYNE_TEST_BOOTSTRAP")
    assert address, "CARBYNE_TEST_BOOTSTRAP is not set: run `cargo test -p carbyne-events --test producers`"
    return address


@pytest.fixture
def read(bootstrap):
    """What an independent consumer finds of some producers in a topic."""

    def found(topic, *names):
        program = [sys.executable, str(EVENTS / "tests/consumer.py"), bootstrap, topic]
        lines = subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        messages = [json.loads(line) for line in lines]
        return [message for message in messages if message["headers"]["producer"] in names]

    return found


def vectors():
    """Each schema's name with its cases, as the schemas' owner made them."""
    for path in sorted((SCHEMAS / "vectors").glob("*.json")):
        vector = json.loads(path.read_text())
        yield vector["schema"].rsplit(".", 1)[1], vector["fingerprint"], vector["cases"]


def contract(name):
    return json.loads((SCHEMAS / "contracts" / f"{name}.json").read_text())
