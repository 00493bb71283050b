"""Counts what ran, keeps what failed, writes the table of the documentation."""

from collections import Counter

from differences import INPUT, MADE, OUTPUT, REFUSED, UNANSWERED, WITHOUT_ENGINE
from model import dotted

BEGIN, END = "<!-- operations: begin -->", "<!-- operations: end -->"
# Failures shown in full; the rest is counted.
SHOWN_MAX = 60


class Report:
    """The cases of a run."""

    def __init__(self, model, differences):
        self.model = model
        self.differences = differences
        self.counts = Counter()
        self.failures = []

    def case(self, operation, kind, name, faults):
        self.counts[(operation, kind)] += 1
        self.failures += [f"{operation}, {kind} {name}: {fault}" for fault in faults]

    def fault(self, text):
        self.failures.append(text)

    def total(self):
        return sum(self.counts.values())

    def table(self):
        """One line per operation, and what differs."""
        lines = [
            "| operation | implemented | valid requests | invalid requests | known differences |",
            "|---|---|---|---|---|",
        ]
        for operation in sorted(self.model.operations):
            implemented = "answers its error" if operation in WITHOUT_ENGINE else "yes"
            valid, invalid = (self.counts[(operation, kind)] for kind in ("valid", "invalid"))
            differs = "; ".join(self._differences(operation))
            lines.append(f"| {operation} | {implemented} | {valid} | {invalid} | {differs} |")
        lines += ["", f"{self.total()} cases. The differences by shape:", ""]
        reasons = {shape: reason for (shape, _), reason in INPUT.items()}
        reasons |= {shape: reason for (shape, _), (_, reason) in OUTPUT.items() if shape not in reasons}
        lines += [f"* `{shape}`: {reason}." for shape, reason in sorted(reasons.items())]
        lines += ["", "Refused by CreateService and UpdateService with `InvalidRequestException`:", ""]
        for path, value, reason in REFUSED["CreateService"]:
            only = f" = `{str(value).lower() if value in (True, False) else value}`" if value is not MADE else ""
            lines.append(f"* `{dotted(path)}`{only}: {reason}.")
        lines += ["", "Members of answers that are never there:", ""]
        lines += [f"* `{part}`: {reason}." for part, reason in UNANSWERED.items()]
        return "\n".join(lines)

    def _differences(self, operation):
        if operation in WITHOUT_ENGINE:
            code, reason = WITHOUT_ENGINE[operation]
            yield f"{reason}: `{code}`"
        if operation in REFUSED:
            yield f"{len(REFUSED[operation])} members or values are refused"
        yield from (f"`{shape}`" for name, shape in sorted(self.differences.shapes) if name == operation)

    def check_members(self, unseen):
        """Members of outputs that never appeared have a reason, and no reason is stale."""
        stale = set(UNANSWERED)
        for path in unseen:
            if path[0] in WITHOUT_ENGINE:
                continue
            reasons = [part for part in UNANSWERED if f".{part}." in f".{dotted(path[1:])}."]
            stale -= set(reasons)
            if not reasons and not self._only_sometimes(path):
                self.fault(f"{dotted(path)} was in no answer")
        for name in stale:
            self.fault(f"UNANSWERED has {name}, which is answered")

    @staticmethod
    def _only_sometimes(path):
        """Members of an answer that depend on a state which another operation's answer shows."""
        return path[-1] in ("DeletedAt", "NextToken", "EndedAt", "StartCommand", "AccessRoleArn")

    def show(self):
        for failure in self.failures[:SHOWN_MAX]:
            print(failure)
        if len(self.failures) > SHOWN_MAX:
            print(f"and {len(self.failures) - SHOWN_MAX} more")
        kinds = Counter()
        for (_, kind), count in self.counts.items():
            kinds[kind] += count
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        print(f"{len(self.model.operations)} operations, {self.total()} cases ({listed}), {len(self.failures)} failures")


def replaced(text, table):
    """A document with the table between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"
