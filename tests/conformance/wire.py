"""Calls through boto3 with its own validation off, and the answers as they were on the wire."""

import json
from dataclasses import dataclass, field

import boto3
import botocore.config
import botocore.exceptions
from botocore import xform_name


@dataclass
class Answer:
    """One answer: status, headers and body as sent."""

    status: int
    headers: dict = field(repr=False)
    body: object

    @property
    def code(self):
        """The error's code, without its namespace."""
        return self.body.get("__type", "").rpartition("#")[2] if self.status != 200 else None

    @property
    def message(self):
        return self.body.get("Message", self.body.get("message", ""))


class Wire:
    """A boto3 client of which every answer can be looked at before botocore drops what it does not know."""

    def __init__(self):
        config = botocore.config.Config(parameter_validation=False, retries={"total_max_attempts": 1})
        self.client = boto3.client("apprunner", config=config)
        self.raw = None
        self.seen = None
        events = self.client.meta.events
        events.register("before-call.apprunner", self._replace_body)
        events.register("before-parse.apprunner", self._keep)

    def _replace_body(self, params, **_):
        if self.raw is not None:
            params["body"] = self.raw

    def _keep(self, response_dict, **_):
        headers = {name.lower(): value for name, value in response_dict["headers"].items()}
        self.seen = Answer(response_dict["status_code"], headers, json.loads(response_dict["body"]))

    def call(self, operation, request):
        """Calls as a program does: the SDK writes the body and reads the answer."""
        return self._perform(operation, request, None)

    def send(self, operation, request):
        """Calls with a body that the SDK would not write."""
        return self._perform(operation, {}, json.dumps(request).encode())

    def _perform(self, operation, request, raw):
        self.raw, self.seen = raw, None
        try:
            getattr(self.client, xform_name(operation))(**request)
        except botocore.exceptions.ClientError:
            pass
        return self.seen
