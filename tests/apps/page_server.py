"""A web application on port 8080 for a real browser: a page, a response that comes in parts, events, an upload, a WebSocket."""

import base64
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b"<!doctype html><meta charset=utf-8><title>page</title><p id=text>hello</p>"
GO = threading.Semaphore(0)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def whole(self, body, kind="text/plain"):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def begin(self, kind):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def do_GET(self):
        if self.path == "/ws":
            return self.websocket()
        if self.path == "/stream":
            self.begin("application/octet-stream")
            self.chunk(b"one")
            # The rest when the page has seen the beginning.
            GO.acquire()
            self.chunk(b"two")
            return self.chunk(b"")
        if self.path == "/events":
            self.begin("text/event-stream")
            for number in range(3):
                self.chunk(b"id: %d\ndata: event %d\n\n" % (number, number))
            GO.acquire()
            self.chunk(b"id: 3\ndata: last\n\n")
            return self.chunk(b"")
        if self.path == "/large":
            return self.whole(b"x" * (8 << 20), "application/octet-stream")
        self.whole(PAGE, "text/html")

    def do_POST(self):
        length = 0
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                length += len(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        else:
            length = len(self.rfile.read(int(self.headers.get("content-length", "0"))))
        if self.path == "/go":
            GO.release()
        self.whole(b"%d" % length)

    def websocket(self):
        key = self.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("connection", "Upgrade")
        self.send_header("upgrade", "websocket")
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_header("sec-websocket-accept", accept)
        self.end_headers()
        self.close_connection = True
        while True:
            head = self.rfile.read(2)
            if len(head) < 2:
                return
            length = head[1] & 0x7F
            if length == 126:
                length = int.from_bytes(self.rfile.read(2), "big")
            elif length == 127:
                length = int.from_bytes(self.rfile.read(8), "big")
            mask = self.rfile.read(4)
            data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(length)))
            self.wfile.write(bytes([head[0]]))
            if length < 126:
                self.wfile.write(bytes([length]))
            elif length < 65536:
                self.wfile.write(b"\x7e" + length.to_bytes(2, "big"))
            else:
                self.wfile.write(b"\x7f" + length.to_bytes(8, "big"))
            self.wfile.write(data)
            self.wfile.flush()
            if head[0] & 0x0F == 8:
                return


ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
