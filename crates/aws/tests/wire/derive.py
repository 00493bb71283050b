#!/usr/bin/env python3
"""Writes signatures.json: requests signed by botocore, the oracle of the signature tests.

    python3 -m venv venv && venv/bin/pip install botocore==1.44.5
    venv/bin/python crates/aws/tests/wire/derive.py
"""

import datetime
import json
import pathlib
from unittest import mock

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = datetime.datetime(2026, 11, 23, 6, 45, 0)
HOST = "http://127.0.0.1:4566"

CASES = [
    # name, method, path and query, headers, body, session token
    ("post json", "POST", "/", {"X-Amz-Target": "AppRunner.ListServices", "Content-Type": "application/x-amz-json-1.0"}, "{}", None),
    ("post form", "POST", "/", {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, "Action=GetCallerIdentity&Version=2011-06-15", None),
    ("session token", "POST", "/", {"Content-Type": "application/x-amz-json-1.1"}, "{}", "FwoGZXIvYXdzEBYaDHexample//token=="),
    ("empty body", "GET", "/", {}, "", None),
    ("query order", "GET", "/?b=2&a=1&a=0&A=3&empty=", {}, "", None),
    ("query characters", "GET", "/?x=%2Fa%20b~%2B&%C3%A9=%E2%82%AC", {}, "", None),
    ("path blanks", "GET", "/a%20b/c%2Fd/", {}, "", None),
    ("path unicode", "GET", "/caf%C3%A9", {}, "", None),
    ("path dots", "GET", "/a/./b/../c//d", {}, "", None),
    ("odd headers", "PUT", "/x", {"My-Header": "  a   b  ", "X-Amz-Meta-Tab": "q\t r", "Amz-Sdk-Invocation-Id": "0f-1"}, "body \u00e9\n", None),
    ("many headers", "POST", "/", {"amz-sdk-request": "attempt=1; max=3", "x-amz-user-agent": "aws-sdk-js/3.900.0", "X-Amz-Target": "Logs_20140328.GetLogEvents", "Accept": "*/*", "Content-Length": "2"}, "{}", None),
]


def signed(auth_class, case):
    """One case, signed."""
    name, method, target, headers, body, token = case
    request = AWSRequest(method=method, url=HOST + target, headers=dict(headers), data=body.encode())
    auth = auth_class(Credentials(KEY, SECRET, token), "apprunner", "eu-west-1")
    with mock.patch("botocore.auth.get_current_datetime", lambda: NOW):
        auth.add_auth(request)
    path, _, query = request.url.removeprefix(HOST).partition("?")
    sent = [["host", HOST.removeprefix("http://")], *([k.lower(), str(v)] for k, v in request.headers.items())]
    return {"name": name, "method": method, "path": path, "query": query, "headers": sent, "body": request.data.decode() if isinstance(request.data, bytes) else request.data}


out = [signed(SigV4Auth, case) for case in CASES]
presign = [case for case in CASES if case[0] in ("empty body", "session token", "query order", "query characters")]
out += [{**signed(SigV4QueryAuth, (case[0] + " presigned", *case[1:])), "presigned": True} for case in presign]
path = pathlib.Path(__file__).parent / "signatures.json"
path.write_text(json.dumps(out, indent=1) + "\n")
