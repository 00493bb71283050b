"""Texts that match a pattern of the model, as short or as long as wanted, and texts that do not."""

import functools
import re
from re import _constants as code
from re import _parser as parser


def matches(pattern, text):
    """Whether the whole text matches: the models' patterns mean that."""
    return re.fullmatch(pattern, text, re.ASCII) is not None


@functools.cache
def text(pattern, least, most):
    """The longest of a few tried texts that match and whose length lies within the bounds."""
    budgets = {0, *range(1, 40), least, most, *(max(most - less, 0) for less in range(64))}
    return max(_fitting(pattern, least, most, sorted(budgets)), key=len)


@functools.cache
def short_text(pattern, least, most):
    """The first text that matches, of texts that become longer."""
    return next(iter(_fitting(pattern, least, most, range(most + 1))))


def _fitting(pattern, least, most, budgets):
    parsed = parser.parse(pattern)
    for budget in budgets:
        made = _sequence(parsed, [budget])
        if least <= len(made) <= most and matches(pattern, made):
            yield made


def mismatch(pattern, valid, least, most):
    """A text within the bounds that does not match, close to one that does."""
    tries = [valid + "\n", valid[:-1] + "\n", valid + "!", valid[:-1] + "!", "!" + valid, "!" + valid[1:]]
    tries += [f"aws:{valid}"[:most], valid[:-1] + "\x00", "!" * max(least, 1)]
    for tried in tries:
        if least <= len(tried) <= most and not matches(pattern, tried):
            return tried
    raise ValueError(f"nothing mismatches {pattern}")


def _sequence(parsed, budget):
    return "".join(_one(kind, value, budget) for kind, value in parsed)


def _one(kind, value, budget):
    if kind is code.LITERAL:
        return chr(value)
    if kind is code.NOT_LITERAL:
        return "x" if value != ord("x") else "y"
    if kind is code.ANY:
        return "x"
    if kind is code.IN:
        return _member_of(value)
    if kind is code.SUBPATTERN:
        return _sequence(value[-1], budget)
    if kind is code.BRANCH:
        return _sequence(value[1][0], budget)
    if kind in (code.MAX_REPEAT, code.MIN_REPEAT):
        least, most, inner = value
        more = min(most - least, budget[0]) if most is not code.MAXREPEAT else budget[0]
        budget[0] -= more
        return "".join(_sequence(inner, budget) for _ in range(least + more))
    if kind in (code.AT, code.ASSERT, code.ASSERT_NOT):
        return ""
    raise ValueError(f"a pattern with {kind} is not understood")


def _member_of(members):
    if members[0][0] is code.NEGATE:
        return "x"
    # A letter where there may be one: what begins or ends with punctuation is often refused elsewhere.
    candidates = "abcdef0123456789" + "".join(chr(number) for number in range(33, 127))
    for candidate in candidates:
        if any(_covers(kind, value, candidate) for kind, value in members):
            return candidate
    raise ValueError(f"nothing is in {members}")


def _covers(kind, value, candidate):
    if kind is code.LITERAL:
        return ord(candidate) == value
    if kind is code.RANGE:
        return value[0] <= ord(candidate) <= value[1]
    classes = {code.CATEGORY_WORD: r"\w", code.CATEGORY_DIGIT: r"\d"}
    return kind is code.CATEGORY and re.fullmatch(classes[value], candidate, re.ASCII) is not None
