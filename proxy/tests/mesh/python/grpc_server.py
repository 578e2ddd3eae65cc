"""A gRPC service of four methods over bytes, by grpcio: serves until it is killed.

    grpc_server.py PORT [CHAIN KEY [ROOTS]]

With a chain and its key it speaks TLS, with roots it wants a certificate of theirs. Prints `ready` when it serves, and the port if
that was 0.
"""

import sys
import time
from concurrent import futures

import grpc


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-served-by", "python"),))
    context.set_trailing_metadata((("x-trailing", "end"), ("x-detail-bin", b"\x00\x01\xff")))
    if request == b"fail":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "it is: 100% no")
    if request == b"slow":
        # Until the client's deadline, which the context knows.
        remaining = context.time_remaining()
        time.sleep(min(remaining + 0.2, 5) if remaining is not None else 5)
    if request == b"deadline":
        remaining = context.time_remaining()
        return b"none" if remaining is None or remaining > 3600 else b"some"
    if request == b"client":
        return metadata.get("x-forwarded-client-cert", "").encode()
    return request


def split(request, context):
    for word in request.split():
        yield word


def join(requests, context):
    return b" ".join(requests)


def echo(requests, context):
    for request in requests:
        yield request


METHODS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Split": grpc.unary_stream_rpc_method_handler(split),
    "Join": grpc.stream_unary_rpc_method_handler(join),
    "Echo": grpc.stream_stream_rpc_method_handler(echo),
}

server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", 16 << 20)])
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", METHODS),))
port, files = sys.argv[1], [open(path, "rb").read() for path in sys.argv[2:]]
if files:
    chain, key, *roots = files
    secrets = grpc.ssl_server_credentials([(key, chain)], *roots, require_client_auth=bool(roots))
    bound = server.add_secure_port(f"0.0.0.0:{port}", secrets)
else:
    bound = server.add_insecure_port(f"0.0.0.0:{port}")
if not bound:
    sys.exit("the port is taken")
server.start()
print("ready", *([bound] if port == "0" else []))
server.wait_for_termination()
