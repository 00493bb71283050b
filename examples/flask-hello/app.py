"""A small web application: what `cargo xtask up` deploys and what the tutorial uses."""

import os
import signal
import socket
import sys

from flask import Flask, jsonify

app = Flask(__name__)


@app.get("/")
def hello():
    return jsonify(
        message="Hello from Apron",
        version=os.environ.get("APP_VERSION", "v1"),
        environment=os.environ.get("APP_ENV", "none"),
        instance=socket.gethostname(),
    )


@app.get("/health")
def health():
    return jsonify(status="ok")


def stop(_signal, _frame):
    print("asked to stop, goodbye", flush=True)
    sys.exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    port = int(os.environ.get("PORT", "8080"))
    print(f"flask-hello listens on port {port}", flush=True)
    app.run(host="0.0.0.0", port=port)
