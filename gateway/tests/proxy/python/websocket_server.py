"""A WebSocket service: websocket_server.py [CHAIN KEY] prints `ready PORT`.

/echo     sends every message back; `headers` is answered with the handshake as JSON
/close    closes with 4001 and a reason
/silent   says nothing
/refused  403 in place of the handshake
"""

import asyncio
import http
import json
import ssl
import sys

from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response


async def handle(connection):
    path = connection.request.path.partition("?")[0]
    if path == "/close":
        await connection.close(4001, "enough")
    elif path == "/silent":
        await connection.wait_closed()
    else:
        try:
            async for message in connection:
                if message == "headers":
                    fields = {name.lower(): value for name, value in connection.request.headers.raw_items()}
                    message = json.dumps({"path": connection.request.path, **fields})
                await connection.send(message)
        except ConnectionClosed:
            pass


def process_request(connection, request):
    if request.path.startswith("/refused"):
        return Response(http.HTTPStatus.FORBIDDEN, "Forbidden", Headers({"Content-Length": "4"}), b"no!\n")
    return None


async def main():
    context = None
    if len(sys.argv) > 1:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(sys.argv[1], sys.argv[2])
    options = {
        "process_request": process_request,
        "select_subprotocol": lambda connection, offered: "chat" if "chat" in offered else None,
        "max_size": None,
        "ping_interval": None,
    }
    async with serve(handle, "127.0.0.1", 0, ssl=context, **options) as server:
        print("ready", server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


asyncio.run(main())
