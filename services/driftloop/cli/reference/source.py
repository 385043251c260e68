"""Fields of a struct with their types, defaults and docstrings, read from the code."""

import ast
import inspect
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec

_BOUNDS: Final = {"ge": "from", "gt": "above", "le": "up to", "lt": "below"}


class Field(NamedTuple):
    """One field of a struct."""

    name: str
    type: str
    required: bool
    default: Any
    text: str


def fields(struct: type[msgspec.Struct], skip: type | None = None) -> list[Field]:
    """All fields of a struct, inherited ones (but those of `skip`) included, in order."""
    told: dict[str, tuple[str, str]] = {}
    for owner in reversed(struct.__mro__):
        if issubclass(owner, msgspec.Struct) and owner is not msgspec.Struct:
            told |= _declared(owner)
    passed = set(getattr(skip, "__struct_fields__", ()))
    return [
        Field(f.name, told[f.name][0], f.required, _default(f), told[f.name][1])
        for f in msgspec.structs.fields(struct)
        if f.name not in passed
    ]


def summary(of: Any) -> str:
    """The first paragraph of a docstring on one line."""
    return " ".join((inspect.getdoc(of) or "").split("\n\n")[0].split())


def cell(text: str) -> str:
    """Text that may stand in a table of Markdown."""
    return text.replace("|", "\\|").replace("\n", " ")


def code(text: str) -> str:
    """Text as code in a table."""
    return f"`{cell(text)}`" if text else ""


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A table of Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(row) + " |" for row in lines]


def value(given: Any) -> str:
    """A default as TOML or JSON would have it."""
    return msgspec.json.encode(given, enc_hook=msgspec.to_builtins).decode()


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    factory = field.default_factory
    return None if factory is msgspec.NODEFAULT else factory()


@cache
def _declared(struct: type) -> dict[str, tuple[str, str]]:
    """The type and docstring of each field that the class itself declares."""
    module = ast.parse(inspect.getsource(sys.modules[struct.__module__]))
    body = next(
        n.body for n in module.body if isinstance(n, ast.ClassDef) and n.name == struct.__name__
    )
    found = {}
    for at, node in enumerate(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            after = body[at + 1] if at + 1 < len(body) else None
            found[node.target.id] = (_type(node.annotation), _text(after))
    return found


def _text(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return " ".join(str(node.value.value).split())
    return ""


def _type(node: ast.expr) -> str:
    """The annotation; what `Annotated` adds becomes words."""
    if not (isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Annotated"):
        return ast.unparse(node)
    assert isinstance(node.slice, ast.Tuple)
    kind, *metas = node.slice.elts
    bounds = [
        f"{_BOUNDS[word.arg]} {ast.literal_eval(_constant(word.value))}"
        for meta in metas
        if isinstance(meta, ast.Call)
        for word in meta.keywords
        if word.arg in _BOUNDS
    ]
    return f"{ast.unparse(kind)}, {', '.join(bounds)}" if bounds else ast.unparse(kind)


def _constant(node: ast.expr) -> ast.expr:
    """A shift of two numbers, as in `8 << 20`, as the number it is."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.LShift):
        left, right = ast.literal_eval(node.left), ast.literal_eval(node.right)
        return ast.Constant(left << right)
    return node
