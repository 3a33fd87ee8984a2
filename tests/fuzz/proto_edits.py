# SPDX-License-Identifier: Apache-2.0
"""Edits of a protocol buffer: whatever its type, fields are set, removed, repeated and copied from elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .recipe import MOST_EDITS, Recipe

WHOLE = (
    0,
    1,
    -1,
    2,
    3,
    4,
    7,
    64,
    255,
    4096,
    65536,
    2**24,
    2**31 - 1,
    -(2**31),
    2**32 - 1,
    2**40,
    2**62,
    2**63 - 1,
    -(2**63),
)
FLOATS = (0.0, 1.0, -1.0, 0.5, 1e-30, 1e38, float("inf"), float("nan"))
TEXTS = ("", "x" * 300, "\x1b[31m", "\u202e", "written", "../written", "/etc/passwd", "^x", "x:0", ":", "a/b/c")
Path = tuple[tuple[str, Any], ...]  # (field, number in the list, key of the map, or None), one after the other


class Editor:
    """Edits of copies of some valid messages, all of one type.

    ``named``: texts that a field of a name may be set to, such as the names of ops; any field gets texts of the
    messages themselves.  ``dull``: whether a part is left as it is, for nothing depends on it.
    """

    def __init__(
        self,
        messages: Sequence[Any],
        named: Mapping[str, Sequence[str]],
        dull: Callable[[Any], bool] = lambda message: False,
    ) -> None:
        self.messages = messages
        self.named = named
        self.dull = dull
        self.texts: dict[str, None] = dict.fromkeys(TEXTS)
        self.paths: list[dict[str, list[Path]]] = []  # of each message: by the type of what is there
        self.donors: dict[str, list[Any]] = {}
        for message in messages:
            self.paths.append({})
            self._walk(message, ())
        self.all_texts = list(self.texts)

    def edited(self, number: int, recipe: Recipe) -> Any:
        """A copy of a message after the edits of the recipe."""
        made = type(self.messages[number])()
        made.CopyFrom(self.messages[number])
        paths = self.paths[number]
        types = sorted(paths)
        for _ in range(MOST_EDITS):
            if not recipe:
                break
            # An earlier edit removed what the path leads to, or protobuf refuses the value.
            with contextlib.suppress(KeyError, IndexError, TypeError, ValueError, AttributeError):
                self._edit(_at(made, recipe.pick(paths[recipe.pick(types)])), recipe)
        return made

    def _walk(self, message: Any, path: Path) -> None:
        if self.dull(message):
            return
        name = message.DESCRIPTOR.full_name
        self.paths[-1].setdefault(name, []).append(path)
        self.donors.setdefault(name, []).append(message)
        for field, value in message.ListFields():
            if _is_map(field):
                inner = field.message_type.fields_by_name["value"].message_type
                self.texts.update(dict.fromkeys(k for k in value if isinstance(k, str)))
                for key in value if inner is not None else ():
                    self._walk(value[key], (*path, (field.name, key)))
            elif field.message_type is not None:
                for i, part in enumerate(value if _is_list(field) else [value]):
                    self._walk(part, (*path, (field.name, i if _is_list(field) else None)))
            elif field.type == field.TYPE_STRING:
                self.texts.update(dict.fromkeys([value] if isinstance(value, str) else value))

    def _edit(self, message: Any, recipe: Recipe) -> None:
        present = [field for field, _ in message.ListFields()]
        every = list(message.DESCRIPTOR.fields)
        if not every:
            return
        if recipe.number(8) == 0:
            message.CopyFrom(recipe.pick(self.donors[message.DESCRIPTOR.full_name]))
            return
        field = recipe.pick(present if present and recipe.number(3) else every)
        value = getattr(message, field.name)
        if _is_map(field):
            self._edit_map(value, field, recipe)
        elif _is_list(field):
            self._edit_list(value, field, recipe)
        elif recipe.number(8) == 0:
            message.ClearField(field.name)
        elif field.message_type is not None:
            donors = self.donors.get(field.message_type.full_name)
            value.CopyFrom(recipe.pick(donors)) if donors else value.SetInParent()
        else:
            setattr(message, field.name, self._scalar(field, value, recipe))

    def _edit_map(self, found: Any, field: Any, recipe: Recipe) -> None:
        keys, kind = sorted(found), recipe.number(4)
        inner = field.message_type.fields_by_name["value"]
        if kind == 0 and keys:
            del found[recipe.pick(keys)]
            return
        key = (
            recipe.pick(keys)
            if keys and kind == 1
            else self._scalar(field.message_type.fields_by_name["key"], "", recipe)
        )
        if inner.message_type is None:
            found[key] = self._scalar(inner, found.get(key), recipe)
        elif kind == 2 and keys:
            found[key].CopyFrom(found[recipe.pick(keys)])
        else:
            found[key].CopyFrom(
                recipe.pick(self.donors.get(inner.message_type.full_name, [inner.message_type._concrete_class()]))
            )

    def _edit_list(self, found: Any, field: Any, recipe: Recipe) -> None:
        kind = recipe.number(6)
        if kind == 0 and found:
            del found[recipe.number(len(found))]
        elif kind == 1 and found:  # once more
            found.extend([found[recipe.number(len(found))]] * (1 + recipe.number(3)))
        elif kind == 2 and len(found) > 1:  # another order
            parts = list(found)
            parts.insert(recipe.number(len(parts)), parts.pop(recipe.number(len(parts))))
            copies = [type(p).FromString(p.SerializeToString()) if field.message_type else p for p in parts]
            del found[:]
            found.extend(copies)
        elif field.message_type is not None:
            found.extend(
                [recipe.pick(self.donors.get(field.message_type.full_name, [field.message_type._concrete_class()]))]
            )
        elif found and kind != 3:
            i = recipe.number(len(found))
            found[i] = self._scalar(field, found[i], recipe)
        else:
            found.append(self._scalar(field, None, recipe))

    def _scalar(self, field: Any, old: Any, recipe: Recipe) -> Any:
        if field.type == field.TYPE_STRING:
            named = self.named.get(field.name)
            return recipe.pick(named if named and recipe.number(4) else self.all_texts)
        if field.type == field.TYPE_BYTES:
            if old and recipe.number(3):
                at = recipe.number(min(len(old), 2**16))
                return old[:at] + bytes([recipe.number(256)]) * recipe.number(3) + old[at + recipe.number(9) :]
            return (
                recipe.pick(self.all_texts).encode(errors="replace") if recipe.number(2) else bytes(recipe.number(256))
            )
        if field.enum_type is not None:
            return recipe.pick(field.enum_type.values).number if recipe.number(6) else recipe.pick((-1, 99, 2**31 - 1))
        if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
            return recipe.pick(FLOATS)
        if field.cpp_type == field.CPPTYPE_BOOL:
            return bool(recipe.number(2))
        if old is not None and recipe.number(3) == 0:
            return old + recipe.number(5) - 2
        return recipe.number(6) if recipe.number(2) else recipe.pick(WHOLE)


def _is_list(field: Any) -> bool:
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED)


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _at(message: Any, path: Path) -> Any:
    for name, key in path:
        message = getattr(message, name)
        if key is not None:
            if isinstance(key, str) and key not in message:
                raise KeyError(key)  # a map would make it
            message = message[key]
    return message
