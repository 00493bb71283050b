"""Calls the application of wire_server.py with grpcio: grpc_client.py PORT HOST CA [paused]."""

import sys
import time
from concurrent import futures

import grpc

port, host, ca = sys.argv[1:4]
with open(ca, "rb") as file:
    credentials = grpc.ssl_channel_credentials(file.read())
options = [
    ("grpc.ssl_target_name_override", host),
    ("grpc.default_authority", f"{host}:{port}"),
    ("grpc.max_receive_message_length", 16 << 20),
    # What the platform does is to be seen, not what the client makes good.
    ("grpc.enable_retries", 0),
]
channel = grpc.secure_channel(f"127.0.0.1:{port}", credentials, options=options)


def method(kind, name):
    return getattr(channel, kind)(f"/wire.Wire/{name}")


def failure(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call did not fail")


unary = method("unary_unary", "Unary")

if sys.argv[4:] == ["paused"]:
    error = failure(lambda: unary(b"x", timeout=20))
    assert error.code() == grpc.StatusCode.UNAVAILABLE, error
    assert error.details() == "the service is paused", error
    print("done")
    sys.exit()

# Unary, with metadata both ways.
answer, call = unary.with_call(b"hello", metadata=(("x-sent", "there"),), timeout=20)
assert answer == b"hello"
trailing = {pair.key: pair.value for pair in call.trailing_metadata()}
assert trailing["x-trailer"] == "there" and trailing["x-raw-bin"] == bytes([0, 255]), trailing

# Large messages both ways.
large = bytes(range(256)) * (12 << 10)
assert unary(large, timeout=60) == large

# Streams: from the server, from the client, both.
assert [int(n) for n in method("unary_stream", "Stream")(b"2000", timeout=60)] == list(range(2000))
assert method("stream_unary", "Collect")((b"x" * 1000 for _ in range(500)), timeout=60) == b"500000"
chat = method("stream_stream", "Chat")


class Turns:
    """Sends the next message when the answer to the last one is there."""

    def __init__(self, count):
        self.left, self.ready = count, futures.Future()
        self.ready.set_result(None)

    def __iter__(self):
        return self

    def __next__(self):
        self.ready.result(timeout=20)
        if self.left == 0:
            raise StopIteration
        self.left -= 1
        self.ready = futures.Future()
        return b"turn %d" % self.left


turns, heard = Turns(50), []
for answer in chat(turns, timeout=60):
    heard.append(answer)
    turns.ready.set_result(None)
assert heard == [b"TURN %d" % n for n in reversed(range(50))], heard

# Deadline: the client gives up, and the server hears of it.
slow = method("unary_unary", "Slow")
count = method("unary_unary", "CountCancelled")
error = failure(lambda: slow(b"x", timeout=0.5))
assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
pending = slow.future(b"y", timeout=20)
time.sleep(0.2)
pending.cancel()
patience = time.monotonic() + 20
while count(b"", timeout=20) != b"2":
    assert time.monotonic() < patience, "the server did not hear of the cancellations"

# Errors, before and after data.
error = failure(lambda: method("unary_unary", "Fail")(b"", timeout=20))
assert error.code() == grpc.StatusCode.ABORTED, error
assert error.details() == "no: é, %, and a\nline", error.details()
late = method("unary_stream", "FailLate")(b"", timeout=20)
assert next(late) == b"first"
error = failure(lambda: next(late))
assert error.code() == grpc.StatusCode.DATA_LOSS, error
error = failure(lambda: method("unary_unary", "Unknown")(b"", timeout=20))
assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error

# Many at once, over one connection.
calls = [unary.future(b"%d" % n, timeout=60) for n in range(200)]
assert [call.result() for call in calls] == [b"%d" % n for n in range(200)]
print("done")
