"""Every way to break one constraint of one member, and what the service has to say to it.

A constraint is answered with `InvalidRequestException`, which is modelled on every operation. A value of another type
cannot be read as the operation's input at all: that is `SerializationException`, as in every AWS service of the JSON
protocols.
"""

from dataclasses import dataclass

import generate
import patterns
from model import KEY

# One value of another type for each type; text for a number is what scripts get wrong most.
OTHER_TYPES = {
    "string": [7, True, ["x"]],
    "integer": ["7", 1.5, 2**31, True],
    "boolean": ["true", 1],
    "list": ["x", {"x": "x"}],
    "map": ["x", ["x"]],
    "structure": ["x", ["x"]],
}


@dataclass
class Breakage:
    """A request that breaks one constraint of one member."""

    place: object
    constraint: str
    request: dict
    code: str
    says: str


def of(model, generator, operation, needed):
    """Every breakage of an operation's input."""
    for place in model.places(model.input(operation)):
        whole = generator.containing(operation, place.path, needed)
        shape = model.shapes[place.shape]
        for constraint, request, says in _broken(shape, place, whole):
            yield Breakage(place, constraint, request, "InvalidRequestException", says)
        if place.path[-1] == KEY:
            continue
        for other in OTHER_TYPES[shape["type"]]:
            request = generate.replaced(whole, place.path, other)
            yield Breakage(place, "type", request, "SerializationException", "can not be converted to a")


def _broken(shape, place, whole):
    # The model forgets to say that a tag needs a key.
    if place.required or place.shape == "TagKey" and place.path[-1] == "Key":
        says = "Member must not be null"
        yield "required", generate.removed(whole, place.path), says
        yield "required", generate.replaced(whole, place.path, None), says
    for constraint, value, says in _values(shape, generate.at(whole, place.path)):
        yield constraint, generate.replaced(whole, place.path, value), says


def _values(shape, valid):
    kind, least, most = shape["type"], shape.get("min"), shape.get("max")
    if kind == "integer":
        if least is not None:
            yield "min", least - 1, f"value greater than or equal to {least}"
        if most is not None:
            yield "max", most + 1, f"value less than or equal to {most}"
    if kind in ("list", "map") and (least or most):
        raise ValueError("bounds of lists and maps are not broken yet")
    if kind != "string":
        return
    if least:
        yield "min", valid[: least - 1], f"length greater than or equal to {least}"
    if most is not None:
        yield "max", (valid or "x") + "x" * (most + 1 - len(valid or "x")), f"length less than or equal to {most}"
    if "enum" in shape:
        yield "enum", "NOT_A_VALUE", "enum value set: ["
    if "pattern" in shape:
        bounds = least or 0, most if most is not None else generate.TEXT_CHARS_MAX
        yield "pattern", patterns.mismatch(shape["pattern"], valid, *bounds), "regular expression pattern: "

