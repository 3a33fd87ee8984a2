# SPDX-License-Identifier: Apache-2.0
"""The parts of the runtime's C sources that a network needs, and no others.

A source file is a list of items that begin at the left margin: a function, a table, a type, a macro, or an #if with all
that stands up to its #endif.  An item defines names and uses names; what a program needs is what the names it calls
lead to.  That is all that is known about C here: the sources keep to a style (clang-format's), and a test emits every
function that they have.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).resolve()
# In an installed package the sources are data of the package; in a checkout they are at the root.
_PACKAGED = _HERE.parent / "runtime"
ROOT = _PACKAGED if _PACKAGED.is_dir() else _HERE.parents[3]
SOURCES = ("csrc/mcu/*.[ch]", "kernels/flash/*.h")
SHARED = ("kernels/kernels.h", "kernels/bits.h", "kernels/epilogue.h")

_COMMENT = re.compile(r"/\*.*?\*/", re.S)
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_NAME = re.compile(r"[A-Za-z_]\w*")
_CALL = re.compile(r"([A-Za-z_]\w*)\s*\(")
_INCLUDE = re.compile(r'#\s*include\s*([<"])([^>"]+)[>"]')
_PASTED = re.compile(r"\b(\w+)##(\w+)\b")


@dataclass(frozen=True)
class Item:
    """``text`` with the comment above it; ``order``: where it stands among all items."""

    order: int
    path: str
    text: str
    defines: frozenset[str]
    uses: frozenset[str]
    calls: frozenset[str]  # of the used names: those that a parenthesis follows
    function: bool  # it is needed where it is called; others, where they are named
    static: bool  # seen in its own file alone


@dataclass(frozen=True)
class SourcePart:
    """What a program takes: declarations (of headers) and definitions, each as C text, and the system's headers.
    ``names``: all that these texts define."""

    headers: tuple[str, ...]
    declarations: str
    definitions: str
    names: frozenset[str]


def files() -> list[str]:
    """The source files, each after those that it includes; relative to ROOT."""
    found = [path.relative_to(ROOT).as_posix() for pattern in SOURCES for path in sorted(ROOT.glob(pattern))]
    order: dict[str, None] = {}

    def visit(path: str) -> None:
        if path in order:
            return
        for name in _includes(path, '"'):
            for other in (*SHARED, *found):
                if other != path and other.endswith(f"/{name.removeprefix('../')}"):
                    visit(other)
        order.setdefault(path)

    for path in found:
        visit(path)
    return list(order)


def part(names: Iterable[str]) -> SourcePart:
    """All that these functions need.

    Raises KeyError for a name that no source file defines.
    """
    items = _items()
    public: dict[str, list[Item]] = {}
    own: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        for name in item.defines:
            if item.static:
                own.setdefault((item.path, name), []).append(item)
            else:
                public.setdefault(name, []).append(item)
    taken: dict[Item, None] = {}
    waiting = [item for name in names for item in public[name]]
    while waiting:
        item = waiting.pop()
        if item in taken:
            continue
        taken[item] = None
        for name in item.uses:
            candidates = own.get((item.path, name), []) + public.get(name, [])
            waiting += [other for other in candidates if not other.function or name in item.calls]
    chosen = sorted(taken, key=lambda item: item.order)
    paths = dict.fromkeys(item.path for item in chosen)
    system = {header for path in paths for header in _includes(path, "<")}
    declarations, definitions = (
        "\n\n".join(item.text for item in chosen if item.path.endswith(".h") == header) + "\n"
        for header in (True, False)
    )
    names = frozenset(name for item in chosen for name in item.defines)
    return SourcePart(tuple(sorted(system)), declarations, definitions, names)


def all_names() -> frozenset[str]:
    """Every name that the sources define."""
    return frozenset(name for item in _items() for name in item.defines)


def _text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def _includes(path: str, quote: str) -> list[str]:
    """What a file includes, except under a condition: such a header belongs to the item of the #if."""
    found, depth = [], 0
    for line in _without_guard(_text(path)).splitlines():
        depth += line.startswith("#if") - line.startswith("#endif")
        include = _INCLUDE.match(line)
        if depth == 0 and include and include[1] == quote:
            found.append(include[2])
    return found


@functools.cache
def _items() -> tuple[Item, ...]:
    items: list[Item] = []
    for path in files():
        for text in _split(_without_guard(_text(path))):
            bare = _TEXT.sub(" ", _COMMENT.sub(" ", text))
            macros = {name: item.text for item in items if item.path == path for name in item.defines}
            defines = frozenset(_defined(bare, macros))
            uses = frozenset(_NAME.findall(bare))
            calls = frozenset(_CALL.findall(bare))
            function = "(" in re.split(r"[={]", bare, maxsplit=1)[0] and not bare.lstrip().startswith("#")
            static = path.endswith(".c") and not _is_external(bare)
            if defines:
                items.append(Item(len(items), path, text, defines, uses, calls, function, static))
    return tuple(items)


def _is_external(bare: str) -> bool:
    """Whether an item of a .c file is a function that headers declare."""
    return not re.match(r"(static|#|struct|union|enum|typedef)\b", bare.lstrip()) or "\nvoid " in bare


def _without_guard(text: str) -> str:
    """A header without its include guard, and without the lines that make it C in C++."""
    guard = re.search(r"^#ifndef (\w+_H)\n#define \1\n", text, re.M)
    if guard:
        end = text.rindex("#endif")
        text = text[: guard.start()] + text[guard.end() : end]
    return re.sub(r'^#ifdef __cplusplus\n(extern "C" \{|\})\n#endif\n', "", text, flags=re.M)


def _split(text: str) -> list[str]:
    items: list[str] = []
    lines = text.splitlines()
    above: list[str] = []  # a comment right above an item belongs to it
    at = 0
    while at < len(lines):
        line, begin = lines[at], at
        if not line.strip():
            above = []
        elif line.startswith("/*"):
            while "*/" not in lines[at]:
                at += 1
            above = lines[begin : at + 1]
        elif line.startswith(("#include", "#undef", "#pragma", "}")):
            above = []
        else:
            at = _end(lines, at)
            items.append("\n".join([*above, *lines[begin : at + 1]]))
            above = []
        at += 1
    return items


def _end(lines: list[str], at: int) -> int:
    """The last line of the item that begins here."""
    if lines[at].startswith("#if"):
        depth = 0
        while True:
            depth += lines[at].startswith("#if") - lines[at].startswith("#endif")
            if depth == 0:
                return at
            at += 1
    if lines[at].startswith("#"):
        while lines[at].endswith("\\"):
            at += 1
        return at
    depth = 0
    while True:
        bare = _TEXT.sub(" ", _COMMENT.sub(" ", lines[at]))
        depth += bare.count("{") + bare.count("(") - bare.count("}") - bare.count(")")
        if depth == 0 and bare.rstrip().endswith((";", "}", ")")) and not _continues(lines, at):
            return at
        at += 1


def _continues(lines: list[str], at: int) -> bool:
    """Whether a line is a function's heading, whose body follows."""
    return at + 1 < len(lines) and lines[at + 1].startswith("{")


def _defined(bare: str, macros: dict[str, str]) -> set[str]:
    """The names that an item defines; `macros`: those of its file."""
    if bare.lstrip().startswith("#if"):
        inner = "\n".join(line for line in bare.splitlines() if not re.match(r"#\s*(if|el|endif)", line))
        return {name for text in _split(inner) for name in _defined(text, macros)}
    bare = bare.strip()
    if define := re.match(r"#\s*define (\w+)", bare):
        return {define[1]}
    names: set[str] = set()
    if tag := re.match(r"(?:typedef )?(?:struct|union|enum) (\w+)\s*\{", bare):
        names.add(tag[1])
    if re.match(r"(?:typedef )?enum\b[^{]*\{", bare):
        names |= set(re.findall(r"[{,]\s*(\w+)", bare))
        return names
    if bare.startswith("typedef"):
        function = re.search(r"(\w+)\(", bare)
        return names | {function[1] if function else _NAME.findall(bare)[-1]}
    if names:
        return names
    head = re.split(r"[={]", bare, maxsplit=1)[0]
    head = re.sub(r"__attribute__\(\(.*?\)\)", " ", head)
    call = re.search(r"(\w+)\s*\(", head)
    if call and call[1] in macros:  # a macro that defines functions: their names are pasted from its first argument
        argument = re.match(r"\s*(\w+)", bare[bare.index("(") + 1 :])
        parameter = re.search(r"\(\s*(\w+)", macros[call[1]])
        if argument and parameter:
            pairs = _PASTED.findall(macros[call[1]])
            return {a + argument[1] for a, b in pairs if b == parameter[1]} | {
                argument[1] + b for a, b in pairs if a == parameter[1]
            }
    if call:
        return {call[1]}
    variable = re.search(r"(\w+)\s*(?:\[[^\]]*\]\s*)*;?$", head.strip())
    return {variable[1]} if variable else set()
