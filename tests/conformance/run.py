"""Holds every App Runner operation of a running platform against the published model.

    python run.py IMAGE [--write DOCUMENT | --check DOCUMENT]

IMAGE is one that listens on port 8080 and has `/echo` as its program. The environment is that of `apron env`. `--write`
puts the table of operations into a document between its two marks, `--check` fails where it is not the same.
"""

import argparse
import itertools
import pathlib
import re
import sys
import time
import traceback

import absent
import breakages
from answers import Checker
from differences import Differences
from generate import Generator
from model import Model, dotted, wire_name
from report import Report, replaced
from valid import Valid
from wire import Wire
from world import NEEDED, World


def invalid(model, world, checker, differences, report):
    """Every breakage of every operation, while everything that a request names exists."""
    for operation in model.operations:
        generator = Generator(model, world.given(operation))
        details, before = world.details(), world.snapshot()
        broken = breakages.of(model, generator, operation, NEEDED.get(operation, ()))
        for place, group in itertools.groupby(broken, key=lambda one: one.place):
            for one in group:
                answer = world.wire.send(operation, one.request)
                faults = refusal(checker, one, answer)
                known = differences.input(place.shape, one.constraint)
                if known and faults:
                    differences.meet_input(operation, place.shape, one.constraint)
                    faults = []
                kind = "difference" if known else "invalid"
                report.case(operation, kind, f"{dotted(place.path)} {one.constraint}", faults)
            # Looked at once per member, since looking costs more than the requests.
            after = world.snapshot()
            if after != before:
                report.fault(f"{operation}: an invalid {dotted(place.path)} changed something")
                before = after
        if world.details() != details:
            report.fault(f"{operation}: invalid requests changed a service, its tags or its operations")


def refusal(checker, broken, answer):
    """What is wrong with the answer to a broken request."""
    if answer.status == 200:
        return ["it was accepted"]
    faults = checker.error(answer, {broken.code})
    if faults:
        return faults
    named = set(re.findall(r"at '([^']*)'", answer.message))
    if named != {wire_name(broken.place.path)}:
        faults.append(f"it names {sorted(named)}: {answer.message[:300]}")
    if broken.says not in answer.message:
        faults.append(f"it does not say {broken.says!r}: {answer.message[:300]}")
    return faults


def phases(model, world, checker, differences, report, valid):
    """In this order, since each phase needs what the one before it made."""
    valid.create()
    valid.services()
    valid.reads()
    for operation in ("CreateService", "UpdateService"):
        valid.refused(operation)
    invalid(model, world, checker, differences, report)
    absent.check(model, world, checker, report)
    valid.changes()
    valid.deletes()


def perform(image):
    """The whole run."""
    model, differences = Model(), Differences()
    report, checker, world = Report(model, differences), Checker(model, differences), World(Wire(), image)
    valid = Valid(model, world, checker, report)
    try:
        phases(model, world, checker, differences, report, valid)
    except (LookupError, AttributeError, TypeError, ValueError):
        # Nothing can go on without what an earlier case should have made; why is among the failures before.
        report.fault(f"the run stopped early:\n{traceback.format_exc()}")
        return report
    for entry in differences.unmet():
        report.fault(f"the known difference {entry} is none any more: remove it")
    report.check_members(checker.unseen())
    for operation in model.operations:
        if not report.counts[(operation, "valid")]:
            report.fault(f"{operation} was never called with a valid request")
    return report


def document(report, arguments):
    """Writes or checks the table."""
    path = arguments.write or arguments.check
    if path is None:
        return
    text = path.read_text()
    wanted = replaced(text, report.table())
    if arguments.write:
        path.write_text(wanted)
    elif text != wanted:
        report.fault(f"{path.name} is not up to date; the table is now:\n{report.table()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--write", type=pathlib.Path)
    where.add_argument("--check", type=pathlib.Path)
    arguments = parser.parse_args()
    began = time.monotonic()
    report = perform(arguments.image)
    if not report.failures or arguments.write:
        document(report, arguments)
    report.show()
    print(f"{time.monotonic() - began:.1f} s")
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()
