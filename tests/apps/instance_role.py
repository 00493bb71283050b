"""An application as people write it: it knows the name of its secret and nothing of the platform it runs on."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3


def answer(path):
    if path == "/health":
        return {"ok": True}
    if path == "/whoami":
        return {"arn": boto3.client("sts").get_caller_identity()["Arn"]}
    if path == "/environment":
        return {
            "password_length": len(os.environ.get("DB_PASSWORD", "")),
            "credentials": os.environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", ""),
        }
    if path.startswith("/secret/"):
        secret = boto3.client("secretsmanager").get_secret_value(SecretId=path.removeprefix("/secret/"))
        return {"value": secret["SecretString"]}
    if path.startswith("/parameter/"):
        name = "/" + path.removeprefix("/parameter/")
        parameter = boto3.client("ssm").get_parameter(Name=name, WithDecryption=True)
        return {"value": parameter["Parameter"]["Value"]}
    raise KeyError(path)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            status, body = 200, answer(self.path)
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
