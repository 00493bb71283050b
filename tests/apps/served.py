"""What the applications with boto3 have in common: answers in JSON, also to what goes wrong."""

import json
import os
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def serve(answer):
    """Serves for ever what `answer` gives for a path and its query."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            url = urllib.parse.urlsplit(self.path)
            query = dict(urllib.parse.parse_qsl(url.query))
            try:
                status, body = 200, {"ok": True} if url.path == "/health" else answer(url.path, query)
            except Exception as error:
                status, body = 500, {"error": f"{type(error).__name__}: {error}"}
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *arguments):
            pass

    ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
