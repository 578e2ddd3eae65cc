"""What a client of WebSockets sees: websocket_client.py BASE [CHAIN] prints a line of JSON for each case.

BASE is ws://HOST:PORT or wss://HOST:PORT; CHAIN is what the certificate ends in.
"""

import asyncio
import json
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

BASE = sys.argv[1]
PATIENCE = 60


def opened(path, **options):
    options = {"max_size": None, "ping_interval": None, "open_timeout": PATIENCE, **options}
    if len(sys.argv) > 2:
        options["ssl"] = ssl.create_default_context(cafile=sys.argv[2])
        options["server_hostname"] = "shown.example"
    # Addresses are the gateway's own: no proxy of the surroundings is asked.
    return connect(BASE + path, proxy=None, **options)


def tell(case, said):
    print(json.dumps([case, said]), flush=True)


async def refusal(path, **options):
    try:
        async with opened(path, **options):
            return "opened"
    except InvalidStatus as refused:
        return [refused.response.status_code, refused.response.body.decode().strip()[:40]]


async def end(connection):
    try:
        while True:
            await connection.recv()
    except ConnectionClosed as closed:
        return [closed.rcvd.code, closed.rcvd.reason] if closed.rcvd else "broken off"


async def frames():
    asked = {"subprotocols": ["other", "chat"], "additional_headers": {"X-Mine": "1"}}
    async with opened("/ws/echo?a=1", **asked) as connection:
        await connection.send("headers")
        seen = json.loads(await connection.recv())
        told = ["path", "x-mine", "upgrade", "connection", "x-forwarded-path", "x-forwarded-proto", "sec-websocket-version"]
        tell("handshake", {name: seen.get(name) for name in told})
        answered = connection.response.headers
        tell("answer", {name: answered.get(name) for name in ["Upgrade", "Connection", "Sec-WebSocket-Extensions"]})
        tell("subprotocol", connection.subprotocol)
        await connection.send("text")
        await connection.send(b"\x00\xff")
        tell("in order", [await connection.recv(), (await connection.recv()).hex()])
        await connection.send(["in ", "three ", "frames"])
        tell("fragments", await connection.recv())
        large = bytes(range(256)) * 8192
        await connection.send(large)
        tell("two MiB", await connection.recv() == large)
        await (await connection.ping())
        tell("ping", "pong")
        await connection.close(4000, "done")
        tell("closed by the client", await end(connection))
    async with opened("/ws/echo", compression=None) as connection:
        await connection.send("plain")
        tell("without compression", await connection.recv())
    async with opened("/ws/close") as connection:
        tell("closed by the service", await end(connection))


async def timeouts():
    async with opened("/short/silent") as connection:
        tell("nobody says anything for read_timeout", await end(connection))
    async with opened("/short/echo") as connection:
        # Longer than the timeout, never as long without a message.
        clock = asyncio.get_running_loop().time
        until = clock() + 4.5
        while clock() < until:
            await connection.send("more")
            await connection.recv()
        tell("somebody always says something", "open")


async def refusals():
    tell("refused by the service", await refusal("/ws/refused"))
    tell("no route", await refusal("/nowhere"))
    tell("no service", await refusal("/away/echo"))
    tell("no key", await refusal("/guarded/echo"))
    tell("a key", await refusal("/guarded/echo", additional_headers={"apikey": "k"}))


async def main():
    await asyncio.wait_for(asyncio.gather(frames(), timeouts()), PATIENCE)
    await asyncio.wait_for(refusals(), PATIENCE)


asyncio.run(main())
