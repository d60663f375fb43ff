# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds what a user of the add-on can read, by reading its source.

    python -m tests.addon.visible_strings            what is missing in each language, as JSON

Found are labels, names, descriptions, items, tooltips of operators, what is reported or raised, and any other text that
reads like words for people. An f-string is found as the template `told` recognises it by: `There is no file {path}.`
"""

import ast
import functools
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ADDON = ROOT / "addon"
SHOWN_KEYWORDS = {"text", "heading", "title", "confirm_text", "message", "hint"}
PROPERTY_KEYWORDS = {"name", "description", "items"}
CLASS_TEXTS = {"bl_label", "bl_description"}
SILENT_CALLS = {
    "add_argument", "add_argument_group", "ArgumentParser", "ArgumentTypeError", "UsageError", "print", "_say", "say",
    "compile", "startswith", "endswith", "removeprefix", "get", "getattr", "setattr", "hasattr", "search", "match",
    "Path", "new", "new_socket", "TypeError", "ValueError", "AssertionError", "RuntimeError", "KeyError",
}  # fmt: skip
"""Calls whose texts are for a terminal, for programmers, or no words."""
SILENT_MODULES = re.compile(r"(batch|api|results/formats|headless/\w+)\.py")
"""They speak on a terminal or to programs, in English."""

_WORDS = re.compile(
    r"[A-Z][a-z]+('[a-z])?([ ,.:;(].*)?"  # Word, or Word and more
    r"|.*[a-z]{2,}[.,:]? [A-Za-z]?[a-z]+.*"  # two words
    r"|[A-Z]{2,} [A-Z][a-z]+.*",  # UV and a word
    re.DOTALL,
)
_CODE = re.compile(r"[A-Z0-9_]*_[A-Z0-9_]*|TIMEOUT|CANCELLED|INTERNAL|[a-z0-9]+(\.[a-z0-9_]+)+")
"""BAD_PICTURE, gaussmith.generate"""
_PROGRAM = re.compile(r"\bimport [\w.]+ as |void main\(|^#.*\n")
"""Python, GLSL, the head of a file."""


NOT_SHOWN = {
    "Blender",
    "Color",  # names of sockets and attributes
    "Gaussmith",
    "Gaussmith Splats",  # names of data, which stay as they are when a file is opened in another language
    "Gaussmith {strftime}",
    "glTF Material Output (Gaussmith)",
    "{name} (saving)",
    "Occlusion",
    "Operator",
}
"""What reads like words for people, and is not or has no other language."""


@dataclass(frozen=True)
class Shown:
    """A text that a user can read."""

    text: str
    file: str
    line: int
    composed: bool = False  # an f-string
    by_blender: bool = False  # Blender itself looks it up, which works for literals only


@functools.cache
def visible_strings(folder: Path = ADDON) -> list[Shown]:
    """Every text of the add-on."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        file = path.relative_to(folder).as_posix()
        if not SILENT_MODULES.fullmatch(file):
            found += strings_of(path.read_text(encoding="utf-8"), file)
    return found


def strings_of(source: str, file: str = "") -> list[Shown]:
    """Every text of one module."""
    finder = _Finder(file)
    finder.visit(ast.parse(source))
    return [shown for shown in finder.found if shown.text not in NOT_SHOWN and not _PROGRAM.search(shown.text)]


def all_strings_of(source: str) -> set[str]:
    """Every string of a module, f-strings as templates."""
    nodes = list(ast.walk(ast.parse(source)))
    constants = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return constants | {template_of(node) for node in nodes if isinstance(node, ast.JoinedStr)}


class _Finder(ast.NodeVisitor):
    def __init__(self, file: str) -> None:
        self.file, self.found = file, []
        self._taken: set[ast.AST] = set()

    # Certain places

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        own = {name for child in node.body for name in _assigned(child)}
        if "_OT_" in node.name and "bl_description" not in own and (doc := ast.get_docstring(node)):
            self._add(doc, node.body[0])
        for child in node.body:
            if isinstance(child, ast.Assign) and CLASS_TEXTS & set(_assigned(child)):
                self._take(child.value, by_blender=True)
            if any(getattr(base, "id", "") == "Enum" for base in node.bases) and isinstance(child, ast.Assign):
                self._take(child.value)
        self._body(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = _name(node.func)
        if name in SILENT_CALLS:
            self._taken.update(ast.walk(node))
        elif name.endswith("Property"):
            for keyword in node.keywords:
                if keyword.arg in PROPERTY_KEYWORDS:
                    self._items(keyword.value) if keyword.arg == "items" else self._take(keyword.value, by_blender=True)
            self._taken.update(ast.walk(node))
        elif name == "told":
            if isinstance(node.args[0], ast.Constant):  # of one letter too, as units are
                self._add(node.args[0].value, node.args[0])
            self._take(node.args[0])
        elif name in ("report", "poll_message_set", "status_text_set"):
            self._take(node.args[-1], by_blender=True)
        elif name.endswith("Error"):
            for word in [*node.args, *(keyword.value for keyword in node.keywords)]:
                self._take(word)
        for keyword in node.keywords:
            if keyword.arg in SHOWN_KEYWORDS:
                self._take(keyword.value, by_blender=True)
        self.generic_visit(node)

    def _items(self, node: ast.AST) -> None:
        """Names and descriptions of (identifier, name, description, ...)."""
        for each in ast.walk(node):
            if isinstance(each, ast.Tuple) and len(each.elts) >= 3:
                for part in each.elts[1:3]:
                    if isinstance(part, ast.JoinedStr):  # Blender looks up what it becomes: `interface_facts.py` checks
                        self._taken.update(ast.walk(part))
                    else:
                        self._take(part)

    # Any other place

    def visit_Module(self, node: ast.Module) -> None:
        self._body(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._body(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Constant(self, node: ast.Constant) -> None:
        if node not in self._taken and isinstance(node.value, str) and _WORDS.fullmatch(node.value):
            self._add(node.value, node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        if node not in self._taken:
            self._take(node, sure=False)
            for part in node.values:
                if isinstance(part, ast.FormattedValue):
                    self.visit(part.value)

    def visit_Assert(self, node: ast.Assert) -> None:
        """Speaks to programmers."""

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)  # what is in brackets is a key

    def visit_Compare(self, node: ast.Compare) -> None:
        for part in (node.left, *node.comparators):
            if not isinstance(part, ast.Constant | ast.Tuple | ast.Set | ast.List):
                self.visit(part)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.annotation) if isinstance(node.annotation, ast.Call) else None
        if node.value is not None:
            self.visit(node.value)

    def _body(self, node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """All but strings that stand alone, which explain the code; and no annotations."""
        for child in [*getattr(node, "decorator_list", []), *node.body]:
            if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
                self.visit(child)

    # Texts

    def _take(self, node: ast.AST, by_blender: bool = False, sure: bool = True) -> None:
        """All texts in an expression that is shown, whatever they look like."""
        pending = [node]
        while pending:
            each = pending.pop(0)
            if each in self._taken:
                continue
            if isinstance(each, ast.Call | ast.Compare | ast.Subscript | ast.Lambda | ast.DictComp | ast.ListComp):
                continue  # visited as any other place
            if isinstance(each, ast.Constant):
                self._taken.add(each)
                if (
                    isinstance(each.value, str)
                    and re.search(r"[A-Za-z]{2}", each.value)
                    and not _CODE.fullmatch(each.value)
                ):
                    self._add(each.value, each, by_blender=by_blender)
            elif isinstance(each, ast.JoinedStr):
                self._taken.update([each, *each.values])
                text = template_of(each)
                bare = re.sub(r"\{\w+\}", "", text)
                if re.search(r"[A-Za-z]{2}" if sure else r"[a-z]{3}.*[ .]|[ .].*[a-z]{3}", bare) and not (
                    not sure and re.search(r"[/\\_=<>*]|\.\w", bare)
                ):
                    self._add(text, each, composed=True, by_blender=by_blender)
            elif isinstance(each, ast.IfExp):
                pending += [each.body, each.orelse]
            else:
                pending += list(ast.iter_child_nodes(each))

    def _add(self, text: str, node: ast.AST, composed: bool = False, by_blender: bool = False) -> None:
        self._taken.add(node)
        self.found.append(Shown(text, self.file, getattr(node, "lineno", 0), composed, by_blender))


def template_of(node: ast.JoinedStr) -> str:
    """An f-string with names in place of its expressions."""
    pieces, names = [], {}
    for part in node.values:
        if isinstance(part, ast.Constant):
            pieces.append(part.value)
        elif isinstance(part, ast.FormattedValue):
            source = ast.unparse(part.value)
            if source not in names:
                word = base = _word(part.value)
                while word in names.values():
                    word = f"{base}{2 + len([name for name in names.values() if name.startswith(base)])}"
                names[source] = word
            pieces.append("{" + names[source] + "}")
    return "".join(pieces)


def _word(node: ast.AST) -> str:
    """A name for an expression: that of the variable or attribute it is about."""
    if isinstance(node, ast.BoolOp):
        return _word(node.values[0])
    if isinstance(node, ast.Call) and node.args and not isinstance(node.args[0], ast.Constant | ast.GeneratorExp):
        return _word(node.args[0])
    if isinstance(node, ast.Subscript):
        return _word(node.value)
    name = _name(node.func if isinstance(node, ast.Call) else node)
    return name.strip("_").lower() or "value"


def _name(node: ast.AST) -> str:
    return getattr(node, "id", "") or getattr(node, "attr", "")


def _assigned(node: ast.AST) -> list[str]:
    if isinstance(node, ast.AnnAssign):
        return [_name(node.target)]
    return [_name(target) for target in node.targets] if isinstance(node, ast.Assign) else []


def main() -> int:
    found = {shown.text: f"{shown.file}:{shown.line}" for shown in visible_strings()}
    for language in sorted((ADDON / "translations").glob("*.json")):
        known = json.loads(language.read_text(encoding="utf-8"))
        missing = {text: place for text, place in found.items() if text not in known}
        print(language.stem, len(found), json.dumps(missing, ensure_ascii=False, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
