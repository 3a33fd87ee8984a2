# SPDX-License-Identifier: Apache-2.0
"""The refusals of an importer: every ``raise`` of its files, and which of them an error came from.

A refusal that no model of the tests meets could be dropped, and nobody would notice.
"""

from __future__ import annotations

import ast
import re
import traceback
from collections.abc import Iterable
from pathlib import Path

from bnn import importers
from bnn.errors import UnsupportedOpError

FOLDER = Path(importers.__file__).parent


DO = (
    "build call cast compile convert cut export fold keep leave look pass replace reshape save train unroll update use"
).replace(" ", "|")


def without_remedy(errors: Iterable[BaseException]) -> list[str]:
    """Messages about what is not supported that do not say what to do: after a semicolon or a colon."""
    texts = [str(error) for error in errors if isinstance(error, UnsupportedOpError)]
    return [text for text in texts if not re.search(rf"[;:] (if [^,]+, )?({DO}) ", text)]


def unmet(files: Iterable[str], errors: Iterable[BaseException]) -> set[str]:
    """The refusals of these files, below bnn/importers, that none of the errors came from: file, function and the
    first words of the message, or what is raised."""
    seen = {place for error in errors for place in _places(error)}
    missing = set()
    for file in files:
        path = FOLDER / file
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for node in ast.iter_child_nodes(function) if isinstance(function, ast.FunctionDef) else []:
                for found in _raises(node):
                    lines = range(found.lineno, (found.end_lineno or 0) + 1)
                    if not any((str(path), line) in seen for line in lines):
                        missing.add(f"{file} {function.name}: {_text(found)}")
    return missing


def _raises(node: ast.AST) -> Iterable[ast.Raise]:
    """Those of a function, without those of functions in it, that raise something new."""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        yield node
    if not isinstance(node, ast.FunctionDef):
        for child in ast.iter_child_nodes(node):
            yield from _raises(child)


def _text(node: ast.Raise) -> str:
    said = [n.value.strip(" '\"") for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return max(said, key=len, default=ast.unparse(node))[:40].strip()


def _places(error: BaseException | None) -> Iterable[tuple[str, int]]:
    """The lines that an error, and those that it was made of, passed."""
    while error is not None:
        yield from ((frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__))
        error = error.__cause__ or error.__context__
