"""An application that speaks gRPC (WIRE=grpc) or WebSocket (WIRE=websocket) on port 8080."""

import os
import signal
import threading
import time
from concurrent import futures

PORT = 8080


def serve_grpc():
    import grpc

    cancelled = []

    def unary(request, context):
        metadata = dict(context.invocation_metadata())
        context.set_trailing_metadata((("x-trailer", metadata.get("x-sent", "")), ("x-raw-bin", bytes([0, 255]))))
        return request

    def stream(request, context):
        for number in range(int(request)):
            yield str(number).encode()

    def collect(requests, context):
        return str(sum(len(request) for request in requests)).encode()

    def chat(requests, context):
        for request in requests:
            yield request.upper()

    def slow(request, context):
        ended = threading.Event()
        context.add_callback(ended.set)
        if ended.wait(30):
            cancelled.append(request)
        return b""

    def count_cancelled(request, context):
        return str(len(cancelled)).encode()

    def fail(request, context):
        context.abort(grpc.StatusCode.ABORTED, "no: é, %, and a\nline")

    def fail_late(request, context):
        yield b"first"
        context.abort(grpc.StatusCode.DATA_LOSS, "too late")

    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Slow": grpc.unary_unary_rpc_method_handler(slow),
        "CountCancelled": grpc.unary_unary_rpc_method_handler(count_cancelled),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
    }
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=32),
        options=[("grpc.max_receive_message_length", 16 << 20)],
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("wire.Wire", handlers),))
    server.add_insecure_port(f"0.0.0.0:{PORT}")
    server.start()
    signal.signal(signal.SIGTERM, lambda *_: server.stop(3))
    server.wait_for_termination()


def serve_websocket():
    from http import HTTPStatus
    from websockets.sync.server import serve

    def answer(connection, request):
        if request.path == "/health":
            return connection.respond(HTTPStatus.OK, "ok\n")
        if request.path == "/no":
            return connection.respond(HTTPStatus.FORBIDDEN, "no\n")
        return None

    def echo(connection):
        if connection.request.path == "/close":
            connection.close(4001, "because")
            return
        if connection.request.path == "/die":
            os._exit(1)
        for message in connection:
            if message == "headers":
                message = connection.request.headers["x-forwarded-proto"]
            connection.send(message)

    with serve(
        echo, "0.0.0.0", PORT, process_request=answer, subprotocols=["chat"], max_size=8 << 20
    ) as server:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever()


{"grpc": serve_grpc, "websocket": serve_websocket}[os.environ["WIRE"]]()
