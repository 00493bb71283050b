"""Valid requests that name what does not exist: one of the operation's own errors, and nothing happens."""

from generate import Generator
from world import NEEDED

# Not one that this platform ever gave out, but within the token's constraints.
TOKEN = "bm90IGEgdG9rZW4"


def check(model, world, checker, report):
    """The longest ARN that the model allows in place of every ARN, and a token of nobody's."""
    for operation in model.operations:
        whole = Generator(model, world.given(operation)).minimal(operation, NEEDED.get(operation, ()))
        errors = model.errors(operation) - {"InternalServiceErrorException"}
        for member, ref in model.shapes[model.input(operation)]["members"].items():
            if ref["shape"] == "AppRunnerResourceArn":
                arn = Generator(model).value(ref["shape"], everything=True)
                _one(world, checker, report, operation, {**whole, member: arn}, errors, f"{member} of nothing")
            if member == "NextToken":
                token = {**whole, member: TOKEN}
                _one(world, checker, report, operation, token, {"InvalidRequestException"}, "token of nobody's")


def _one(world, checker, report, operation, request, errors, name):
    before = world.snapshot()
    answer = world.wire.call(operation, request)
    faults = ["it was accepted"] if answer.status == 200 else checker.error(answer, errors)
    if world.snapshot() != before:
        faults.append("something changed")
    report.case(operation, "invalid", name, faults)
