"""Answers held against the model: nothing missing, nothing unknown, types, enums and constraints right."""

import patterns
from model import ITEM, KEY, VALUE

# Python's types of a JSON value, by the model's types.
TYPES = {
    "string": str,
    "integer": int,
    "boolean": bool,
    "timestamp": (int, float),
    "structure": dict,
    "list": list,
    "map": dict,
}


class Checker:
    """Checks answers and remembers which members it has seen."""

    def __init__(self, model, differences):
        self.model = model
        self.differences = differences
        self.seen = set()

    def success(self, operation, answer):
        """What is wrong with the answer of a call that must succeed."""
        if answer.status != 200:
            return [f"{answer.status} {answer.code}: {answer.message[:300]}"]
        return [*self._head(answer), *self._value(self.model.output(operation), answer.body, (operation,))]

    def error(self, answer, codes):
        """What is wrong with an error that must have one of the codes."""
        found = list(self._head(answer))
        if answer.code not in codes or answer.status != 400:
            return [*found, f"{answer.status} {answer.code} instead of {'/'.join(sorted(codes))}: {answer.message[:300]}"]
        if not answer.message:
            found.append("an error without a message")
        most = self.model.shapes["ErrorMessage"]["max"]
        if len(answer.message) > most:
            found.append(f"a message of {len(answer.message)} characters, over {most}")
        unknown = set(answer.body) - {"__type", "Message", "message"}
        if unknown:
            found.append(f"an error with unknown members {sorted(unknown)}")
        return found

    def unseen(self):
        """Members of outputs that no answer had."""
        for operation in self.model.operations:
            for place in self.model.places(self.model.output(operation)):
                if place.path[-1] not in (ITEM, KEY, VALUE) and (operation, *place.path) not in self.seen:
                    yield (operation, *place.path)

    def _head(self, answer):
        if answer.headers.get("content-type") != "application/x-amz-json-1.0":
            yield f"the content type {answer.headers.get('content-type')}"
        if len(answer.headers.get("x-amzn-requestid", "")) != 36:
            yield f"the request id {answer.headers.get('x-amzn-requestid')}"

    def _value(self, name, value, path):
        shape = self.model.shapes[name]
        kind = shape["type"]
        if not isinstance(value, TYPES[kind]) or (kind != "boolean" and isinstance(value, bool)):
            yield f"{'.'.join(path)} is {value!r}, not of the type {kind}"
        elif kind == "structure":
            yield from self._structure(shape, value, path)
        elif kind == "list":
            for one in value:
                yield from self._value(shape["member"]["shape"], one, (*path, ITEM))
        elif kind == "map":
            for key, one in value.items():
                yield from self._value(shape["key"]["shape"], key, (*path, KEY))
                yield from self._value(shape["value"]["shape"], one, (*path, VALUE))
        else:
            yield from self._constraints(name, shape, value, path)

    def _structure(self, shape, value, path):
        members = shape["members"]
        for missing in set(shape.get("required", [])) - set(value):
            yield f"{'.'.join(path)} has no {missing}"
        for unknown in set(value) - set(members):
            yield f"{'.'.join(path)} has the unknown member {unknown}"
        for member in set(value) & set(members):
            self.seen.add((*path, member))
            yield from self._value(members[member]["shape"], value[member], (*path, member))

    def _constraints(self, name, shape, value, path):
        size = len(value) if shape["type"] == "string" else value
        broken = []
        if shape["type"] != "timestamp":
            broken += ["min"] if size < shape.get("min", size) else []
            broken += ["max"] if size > shape.get("max", size) else []
        broken += ["enum"] if value not in shape.get("enum", [value]) else []
        broken += ["pattern"] if "pattern" in shape and not patterns.matches(shape["pattern"], value) else []
        for constraint in broken:
            if not self.differences.output(path[0], name, constraint, value):
                yield f"{'.'.join(path)} is {value!r}, which breaks the {constraint} of {name}"
