"""Walking the published model of the App Runner API: operations, members and how the service names them."""

from dataclasses import dataclass

from botocore.loaders import Loader

# Steps of a path that are no member's name.
ITEM, KEY, VALUE = "[]", "{key}", "{value}"


@dataclass(frozen=True)
class Place:
    """One member of an input or output: where it is, what it is, whether it must be there."""

    path: tuple
    shape: str
    required: bool


class Model:
    """botocore's service model, as data."""

    def __init__(self):
        self.api = Loader().load_service_model("apprunner", "service-2")
        self.operations = self.api["operations"]
        self.shapes = self.api["shapes"]

    def input(self, operation):
        return self.operations[operation]["input"]["shape"]

    def output(self, operation):
        return self.operations[operation]["output"]["shape"]

    def errors(self, operation):
        return {error["shape"] for error in self.operations[operation]["errors"]}

    def places(self, shape, path=()):
        """Every member below a shape, outer ones first."""
        found = self.shapes[shape]
        if found["type"] == "structure":
            required = found.get("required", [])
            below = [(name, ref["shape"], name in required) for name, ref in found["members"].items()]
        elif found["type"] == "list":
            below = [(ITEM, found["member"]["shape"], False)]
        elif found["type"] == "map":
            below = [(KEY, found["key"]["shape"], False), (VALUE, found["value"]["shape"], False)]
        else:
            below = []
        for step, inner, needed in below:
            yield Place((*path, step), inner, needed)
            yield from self.places(inner, (*path, step))


def wire_name(path):
    """A path as the service's messages name it, for its first element or entry."""
    written = {ITEM: "1.member", KEY: "1.key", VALUE: "1.value"}
    return ".".join(written.get(step, step[:1].lower() + step[1:]) for step in path)


def dotted(path):
    """A path for people."""
    return ".".join(path)
