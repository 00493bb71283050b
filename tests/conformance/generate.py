"""Requests made from the model: the least, the most, and the least that contains one place."""

import patterns
from model import ITEM, KEY, VALUE

# What a text without a modelled bound is made of at most, in characters.
TEXT_CHARS_MAX = 51_200


class Generator:
    """Makes inputs. `given` has values by path for what must name something that exists."""

    def __init__(self, model, given=None, left_out=()):
        self.model = model
        self.given = given or {}
        self.left_out = set(left_out)

    def minimal(self, operation, needed=()):
        """The required members, and those without which the operation has nothing to do."""
        value = self._make(self.model.input(operation), (), needed, everything=False)
        return value

    def maximal(self, operation):
        """Every member that is not left out, texts as long and numbers as large as they may be."""
        return self._make(self.model.input(operation), (), (), everything=True)

    def containing(self, operation, path, needed=()):
        """The least request that has a value at `path`."""
        return self._make(self.model.input(operation), (), (*needed, path), everything=False)

    def hollow(self, operation):
        """Every structure that is not left out, with nothing in it but what is required."""
        structures = []
        for place in self.model.places(self.model.input(operation)):
            inner = any(place.path[: len(path)] == path for path in self.left_out)
            if self.model.shapes[place.shape]["type"] == "structure" and not inner and ITEM not in place.path:
                structures.append(place.path)
        return self.minimal(operation, structures)

    def value(self, shape, everything=False):
        """A valid value of a shape without anything around it."""
        return self._make(shape, ("",), (), everything)

    def _make(self, name, path, wanted, everything):
        if path in self.given:
            return self.given[path]
        shape = self.model.shapes[name]
        kind = shape["type"]
        if kind == "structure":
            return self._structure(shape, path, wanted, everything)
        if kind == "list":
            filled = everything or any(one[: len(path)] == path and len(one) > len(path) for one in wanted)
            return [self._make(shape["member"]["shape"], (*path, ITEM), wanted, everything)] if filled else []
        if kind == "map":
            key = self._make(shape["key"]["shape"], (*path, KEY), wanted, everything)
            return {key: self._make(shape["value"]["shape"], (*path, VALUE), wanted, everything)}
        if kind == "string":
            return text(shape, everything)
        if kind == "integer":
            return shape.get("max", shape.get("min", 1)) if everything else shape.get("min", 1)
        if kind == "boolean":
            return True
        raise ValueError(f"inputs of the type {kind} are not made")

    def _structure(self, shape, path, wanted, everything):
        made = {}
        for member, ref in shape["members"].items():
            inner = (*path, member)
            asked = any(one[: len(inner)] == inner for one in wanted)
            if everything and inner in self.left_out:
                continue
            if everything or asked or member in shape.get("required", []):
                made[member] = self._make(ref["shape"], inner, wanted, everything)
        return made


def text(shape, longest=False):
    """A text that satisfies its shape."""
    if "enum" in shape:
        return shape["enum"][0]
    least, most = shape.get("min", 0), shape.get("max", TEXT_CHARS_MAX)
    if "pattern" not in shape:
        return "x" * (most if longest else max(least, 1))
    # A long text that repeats a group is as good as the longest one.
    if longest:
        return patterns.text(shape["pattern"], least, most)
    return patterns.short_text(shape["pattern"], least, most)


def replaced(request, path, value):
    """The request with another value at a path; elements and entries are the first ones."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    if step == ITEM:
        return [replaced(request[0], rest, value), *request[1:]]
    if step in (KEY, VALUE):
        (key, old), = request.items()
        return {value: old} if step == KEY else {key: replaced(old, rest, value)}
    return {**request, step: replaced(request.get(step), rest, value)}


def removed(request, path):
    """The request without the member at a path."""
    step, rest = path[0], path[1:]
    if rest:
        return {**request, step: removed(request[step], rest)} if step != ITEM else [removed(request[0], rest)]
    return {name: value for name, value in request.items() if name != step}


def at(request, path):
    """The value at a path."""
    for step in path:
        if step == ITEM:
            request = request[0]
        elif step == KEY:
            request = next(iter(request))
        elif step == VALUE:
            request = next(iter(request.values()))
        else:
            request = request[step]
    return request
