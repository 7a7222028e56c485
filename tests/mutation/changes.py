"""The changes: each a copy of a module's syntax tree in which one thing is different.

>>> from tests.mutation.changes import changes
>>> [str(change) for change in changes("def f(x):\\n    return x < 2\\n")]
['2:11 x < 2  ->  x <= 2', '2:15 2  ->  3']
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

COMPARED = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
COMPARED |= {ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}
COMPUTED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult}
COMPUTED |= {ast.Pow: ast.Mult, ast.Mod: ast.Add, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift}
MOST = 20  # larger numbers are sizes of buffers and the like: one more or less is the same
IDLE = (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom)
STOPS = {"frozen"}  # functions that return what they are given, without its gradient
JOINED = {ast.And: ast.Or, ast.Or: ast.And}


@dataclass(frozen=True)
class Change:
    """One change of a module.

    Args:
        line, column: where it is.
        lines: those whose run it can alter: from the beginning of its statement to its own end.
        before, after: the code there, on one line.
        text: its function, and the line with the change in it: by these it is known again when lines have moved.
        tree: the whole module, changed.
    """

    line: int
    column: int
    lines: range
    before: str
    after: str
    text: str
    tree: ast.Module

    def __str__(self) -> str:
        return f"{self.line}:{self.column} {self.before}  ->  {self.after}"


def changes(source: str) -> Iterator[Change]:
    """All changes of a module, from its top to its end."""
    tree = ast.parse(source)
    for node, parent, field, index, statement, owner in _places(tree, tree, ""):
        for new in _variants(node):
            changed = copy.deepcopy(tree)
            twin = _twin(tree, changed, parent)
            new = ast.copy_location(new, node)
            if index is None:
                setattr(twin, field, new)
            else:
                getattr(twin, field)[index] = new
            before, after = (" ".join(ast.unparse(n).split())[:90] for n in (node, new))
            last = node.test.end_lineno if isinstance(node, ast.If) else node.end_lineno
            lines = range(statement.lineno, last + 1)
            text = f"{owner}: {_in_line(source, node, new)}".lstrip(": ")
            yield Change(node.lineno, node.col_offset, lines, before, after, text, ast.fix_missing_locations(changed))


Place = tuple[ast.AST, ast.AST, str, "int | None", ast.AST, str]


def _places(parent: ast.AST, statement: ast.AST, owner: str) -> Iterator[Place]:
    """Nodes that do something, with where they hang; types, messages and descriptions do nothing."""
    if isinstance(parent, (ast.FunctionDef, ast.ClassDef)):
        owner = f"{owner}.{parent.name}".lstrip(".")
    for field, value in ast.iter_fields(parent):
        if field in ("annotation", "returns", "decorator_list", "msg", "type_params"):
            continue
        for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(node, ast.AST) or isinstance(node, IDLE):
                continue
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                continue
            own = node if isinstance(node, ast.stmt) else statement
            if hasattr(node, "lineno"):
                yield node, parent, field, index, own, owner
            yield from _places(node, own, owner)


def _in_line(source: str, node: ast.AST, new: ast.AST) -> str:
    """The source's line with the new node in it, or, of a node that fills several lines, the new one alone."""
    if isinstance(new, ast.Pass):
        return "without " + " ".join(ast.unparse(node).split())[:150]
    code = " ".join(ast.unparse(new).split())
    if node.lineno != node.end_lineno:
        return code[:150]
    line = source.splitlines()[node.lineno - 1].encode()  # columns count bytes
    return (line[: node.col_offset] + code.encode() + line[node.end_col_offset :]).decode().strip()


def _twin(tree: ast.AST, changed: ast.AST, node: ast.AST) -> ast.AST:
    """The node of the copy that stands where `node` stands in the original."""
    return next(b for a, b in zip(ast.walk(tree), ast.walk(changed)) if a is node)


def _variants(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in place of a node."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED:
        yield _with(node, ops=[COMPARED[type(node.ops[0])](), *node.ops[1:]])
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in COMPUTED:
        yield _with(node, op=COMPUTED[type(node.op)]())
    elif isinstance(node, ast.BoolOp):
        yield _with(node, op=JOINED[type(node.op)]())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not, ast.Invert)):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)) and abs(node.value) <= MOST:
        yield ast.Constant(not node.value if isinstance(node.value, bool) else node.value + 1)
    elif isinstance(node, (ast.If, ast.IfExp)):
        yield _with(node, test=ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr == "detach" and not node.args:
            yield node.func.value  # a gradient flows where it was stopped
        elif isinstance(node.func, ast.Name) and node.func.id in STOPS:
            yield node.args[0]
        for i in range(len(node.keywords)):
            yield _with(node, keywords=node.keywords[:i] + node.keywords[i + 1 :])
    elif isinstance(node, ast.Expr) and not isinstance(node.value, (ast.Constant, ast.Yield, ast.YieldFrom)):
        yield ast.Pass()


def _with(node: ast.AST, **fields: object) -> ast.AST:
    """A copy of a node with other fields."""
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new
