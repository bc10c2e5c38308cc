"""Errors with fields: what they say, where they travel, what the command line makes of them."""

import ast
import inspect
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

import xcloudfree
from xcloudfree import exceptions
from xcloudfree.exceptions import CloudFreeError, UnitsError

ERRORS = [
    member
    for _, member in inspect.getmembers(exceptions, inspect.isclass)
    if issubclass(member, CloudFreeError)
]


@pytest.mark.parametrize("kind", ERRORS)
def test_fields_make_the_message_and_survive_pickling(kind):
    error = kind("is wrong", "call f()", "model 'a'", "--f")
    again = pickle.loads(pickle.dumps(error))
    for one in (error, again):
        assert type(one) is kind
        assert str(one) == "model 'a' is wrong; call f()"
        assert (one.problem, one.fix, one.subject, one.option) == (
            "is wrong", "call f()", "model 'a'", "--f",
        )  # fmt: skip
        assert one.as_options == "model 'a' is wrong; use --f"


def test_a_message_alone_stays_a_message():
    error = UnitsError("odd numbers")
    assert (str(error), error.as_options, error.fix) == ("odd numbers", "odd numbers", "")
    assert str(CloudFreeError()) == ""
    assert CloudFreeError("a", "b()").as_options == "a; b()"


WITHOUT_FIX: dict[str, str] = {}
"""File and beginning of the problem of an error that no call fixes: why there is none."""


def raised() -> Iterator[tuple[str, str, ast.expr | None]]:
    """Place, problem and fix of every error of ours that the package makes."""
    package = Path(xcloudfree.__file__).parent
    names = {kind.__name__ for kind in ERRORS} | {"AssetError"}
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in names:
                problem = "".join(map(ast.unparse, [*node.args, *node.keywords][:1]))
                fix = next((k.value for k in node.keywords if k.arg == "fix"), None)
                yield f"{path.relative_to(package).as_posix()}:{node.lineno}", problem, fix


def text_of(node: ast.expr) -> str:
    """What is written literally in a string, with {} for every value."""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    return str(node.value) if isinstance(node, ast.Constant) else "{}"


def test_every_error_names_its_fix_in_a_field():
    wrong = [
        f"{place}: {problem}"
        for place, problem, fix in raised()
        if fix is None and f"{place.partition(':')[0]}: {problem}" not in WITHOUT_FIX
    ]
    assert not wrong, "\n".join(wrong)


def test_a_fix_continues_the_sentence_of_the_problem():
    """So that every message reads "problem; fix", without capital or full stop inside."""
    wrong = []
    for place, problem, fix in raised():
        text = "" if fix is None else text_of(fix)
        if text[:1].isupper() or text.endswith(".") or problem.rstrip("'\"").endswith((".", ":")):
            wrong.append(f"{place}: {problem}; {text}")
    assert not wrong, "\n".join(wrong)
