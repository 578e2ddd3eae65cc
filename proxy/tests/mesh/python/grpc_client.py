"""Calls the service of grpc_server.py by grpcio, and prints one line of JSON a case: its name, and what came of it.

    grpc_client.py ADDRESS:PORT HOST [ROOTS]

With roots it speaks TLS, and HOST is the name that it expects.
"""

import json
import sys
import threading
import time

import grpc

target, host = sys.argv[1:3]
options = [("grpc.default_authority", host), ("grpc.max_receive_message_length", 16 << 20)]
if len(sys.argv) > 3:
    secrets = grpc.ssl_channel_credentials(open(sys.argv[3], "rb").read())
    channel = grpc.secure_channel(target, secrets, options + [("grpc.ssl_target_name_override", host)])
else:
    channel = grpc.insecure_channel(target, options)
unary = channel.unary_unary("/test.Echo/Unary")
split = channel.unary_stream("/test.Echo/Split")
join = channel.stream_unary("/test.Echo/Join")
echo = channel.stream_stream("/test.Echo/Echo")
missing = channel.unary_unary("/test.Echo/Missing")


def case(name, call):
    try:
        outcome = call()
    except grpc.RpcError as error:
        outcome = {"code": error.code().name, "details": error.details()}
    print(json.dumps({"case": name, "outcome": outcome}), flush=True)


def call_with_metadata():
    response, call = unary.with_call(b"x", timeout=10)
    trailing = {key: value.hex() if isinstance(value, bytes) else value for key, value in call.trailing_metadata()}
    initial = dict(call.initial_metadata())
    return {
        "response": response.decode(),
        "initial": initial.get("x-served-by"),
        "trailing": trailing.get("x-trailing"),
        "binary": trailing.get("x-detail-bin"),
    }


def failed_with_metadata():
    try:
        unary(b"fail", timeout=10)
    except grpc.RpcError as error:
        trailing = dict(error.trailing_metadata())
        return {"code": error.code().name, "details": error.details(), "trailing": trailing.get("x-trailing")}


def past_the_deadline():
    """The client's clock and the server's run to the same end. Where the server's is first, its reset comes through
    the proxies as INTERNAL_ERROR, as it does through Envoy once a response has begun."""
    started = time.monotonic()
    try:
        unary(b"slow", timeout=0.3)
    except grpc.RpcError as error:
        over = error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL)
        return {"over": over or error.code().name, "soon": time.monotonic() - started < 4}


def ping_pong():
    """Each message is sent only after the answer to the one before: nothing may be held back."""
    answers = []

    def requests():
        for number in range(5):
            while len(answers) < number:
                time.sleep(0.001)
            yield str(number).encode()

    for answer in echo(requests(), timeout=10):
        answers.append(answer)
    return [answer.decode() for answer in answers]


def cancelled():
    over = threading.Event()

    def requests():
        yield b"x"
        over.wait(10)

    call = echo(requests(), timeout=10)
    first = next(call)
    call.cancel()
    over.set()
    return {"first": first.decode(), "code": call.code().name}


big = b"x" * (5 << 20)
case("unary", lambda: unary(b"hello", timeout=10).decode())
case("metadata and trailers", call_with_metadata)
case("an error with its trailers", failed_with_metadata)
case("a deadline that passes", past_the_deadline)
case("the server knows the deadline", lambda: unary(b"deadline", timeout=10).decode())
case("a method that does not exist", lambda: missing(b"", timeout=10).decode())
case("a stream from the server", lambda: [word.decode() for word in split(b"a b c d", timeout=10)])
case("a stream from the client", lambda: join(iter([b"a", b"b", b"c"]), timeout=10).decode())
case("streams both ways, in turn", ping_pong)
case("a stream that is cancelled", cancelled)
case("a thousand messages", lambda: sum(len(answer) for answer in echo((b"12345" for _ in range(1000)), timeout=30)))
case("a message of 5 MiB", lambda: unary(big, timeout=30) == big)
case("who the client is", lambda: unary(b"client", timeout=10).decode().split(";")[-1])
