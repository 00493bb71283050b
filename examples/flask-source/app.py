"""A small web application that is deployed from its source: `apron deploy` in this directory."""

import os

from flask import Flask, jsonify

app = Flask(__name__)


@app.get("/")
def hello():
    return jsonify(message="Hello from source", environment=os.environ.get("APP_ENV", "none"))


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=int(os.environ.get("PORT", "8080")))
