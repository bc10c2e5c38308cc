"""Paste the call that an error names, as a user does, and call again.

A row of a room is Python: set-up, then one call that is refused. From the fix of the error the
first call is taken. Where the row makes the same call, its arguments are changed as the fix says
(`...` and names such as `path` stand for what the row has). Otherwise the call is evaluated, takes
the place of what it starts from (`ds.rename(...)` that of `ds`), and the row is called again.
"""

from __future__ import annotations

import ast
import builtins
import re
from types import ModuleType, NoneType
from typing import Any

from xcloudfree.exceptions import CloudFreeError

START = re.compile(r"(?<![\w.\"'\[/=`])[A-Za-z_][\w.]*[\[(]")


def calls(text: str) -> list[ast.Call]:
    """The Python calls in a message, in their order."""
    found, position = [], 0
    while match := START.search(text, position):
        position = match.end()
        for end in reversed([n + 1 for n in range(match.end() - 1, len(text)) if text[n] in ")]"]):
            piece = text[match.start() : end]
            try:
                node = ast.parse(piece, mode="eval").body
            except SyntaxError:
                continue
            if isinstance(node, ast.Call):
                found.append(node)
                position = match.start() + len(piece)
                break
    return found


def open_values(call: ast.Call) -> bool:
    """Whether a call leaves something to the user, other than what was passed already."""
    if not call.keywords and all(getattr(v, "value", 0) is Ellipsis for v in call.args):
        start = re.match(r"\w+(?=[.\[])", ast.unparse(call))  # not "call save() with"
        return bool(call.args) or not start or start.group() in ("methods", "plot")
    if not call.keywords and all(isinstance(v, ast.Name) for v in (call.func, *call.args)):
        return True  # "call overcast(ds, out) with"
    passed = {id(call.args[0])} if call.args else set()
    return any(
        isinstance(node, ast.Constant)
        and (node.value is Ellipsis or (isinstance(node.value, str) and "..." in node.value))
        and id(node) not in passed
        for node in ast.walk(call)
    )


def name_of(call: ast.Call) -> str:
    """Name of the function that is called."""
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def root_of(call: ast.Call) -> str:
    """What a chain of calls starts from; what it is made of, where that is a module."""
    node: ast.expr = call
    while not isinstance(node, ast.Name):
        inner = next(iter(ast.iter_child_nodes(node)), None)
        if not isinstance(inner, ast.expr):
            return ""
        node = inner
    if node.id in ("xcf", "xr", "xcloudfree"):
        first = next(iter(call.args), None)
        return first.id if isinstance(first, ast.Name) else ""
    return node.id


class Paste(ast.NodeTransformer):
    """Change the arguments of the outermost call of a name."""

    def __init__(self, fix: ast.Call) -> None:
        self.fix, self.done = fix, False
        same = any(getattr(value, "value", 0) is Ellipsis for value in fix.args)
        # of a method, and after `...`, all other arguments stay
        self.whole = not same and (bool(fix.args) or isinstance(fix.func, ast.Attribute))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Take what the fix gives, and what the row has where the fix has a placeholder."""
        if self.done or name_of(node) != name_of(self.fix):
            return self.generic_visit(node)
        self.done = True
        for n, value in enumerate(self.fix.args):
            if not isinstance(value, ast.Name) and getattr(value, "value", 0) is not Ellipsis:
                node.args[n : n + 1] = [value]
        given = {} if self.whole else {keyword.arg: keyword for keyword in node.keywords}
        given.update({keyword.arg: keyword for keyword in self.fix.keywords})
        node.keywords = list(given.values())
        if self.whole:
            node.args = node.args[: len(self.fix.args)]
        return node


def paste(row: str, names: dict[str, Any]) -> CloudFreeError:
    """Run a row, its call again as the error says, and return the error of the first."""
    names = dict(names)
    tree = ast.parse(row)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr)
    exec(compile(tree, "<row>", "exec"), names)
    call = ast.Expression(last.value)
    try:
        eval(compile(call, "<row>", "eval"), names)
    except CloudFreeError as error:
        first = error
    else:
        raise AssertionError(f"nothing is refused: {row}")
    named = [c for c in calls(first.fix) if not open_values(c)]
    assert named, f"{first.problem}; {first.fix}"
    made = {name_of(n) for n in ast.walk(call) if isinstance(n, ast.Call)}
    fix = next((c for c in named if name_of(c) in made), named[0])
    change = Paste(fix)
    again = ast.fix_missing_locations(change.visit(call))
    if not change.done:
        text, root = ast.unparse(fix), root_of(fix)
        if (
            root == name_of(fix) and root not in names and not hasattr(builtins, root)
        ):  # a method of the scene
            text, root = f"ds.cloudfree.{text}", ""
        value = eval(text, names)
        if isinstance(
            names.get(root), ModuleType | NoneType
        ):  # it runs, and nothing of the row changes
            return first
        names[root] = value
    try:
        eval(compile(again, "<again>", "eval"), names)
    except CloudFreeError as second:  # the next thing may be missing, never the same
        if second.problem == first.problem:
            raise AssertionError(f"{ast.unparse(again)}: {second}") from second
    return first
