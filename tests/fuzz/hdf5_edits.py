# SPDX-License-Identifier: Apache-2.0
"""Edits of an HDF5 file: objects, links and attributes are removed, renamed, given other types, shapes and storage.

libhdf5 itself writes the result: on files with damaged bytes it can crash, as SECURITY.md says.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5p, h5s, h5t

from .recipe import MOST_EDITS, Recipe

DTYPES = ("<f4", "<f8", "<i4", "u1", "<c8", "S5", "<f2", "?", ">f4", "<i8", "S0", "V3")
NUMBERS = (0.0, 1.0, -1.0, np.nan, np.inf, 1e38, 0.5, 2.0**24)
NIR_TEXTS = (
    "",
    "Affine",
    "Conv2d",
    "IF",
    "LIF",
    "CubaLIF",
    "NIRGraph",
    "Input",
    "Output",
    "Flatten",
    "bnn",
    "flat",
    "7",
)
KERAS_TEXTS = (
    "",
    "weight_names",
    "layer_names",
    "kernel:0",
    "vars",
    "0",
    "\x1b[31m",
    "\u202e",
    "../written",
    "x" * 300,
    "7",
    "bias",
)
ATTRIBUTES = (
    "weight_names", "weight_names0", "layer_names", "layer_names0", "keras_version", "model_config", "backend",
    "name", "seq", "training_config",
)  # fmt: skip
SIZES = (0, 1, 2, 5, 2**16, 2**20, 2**33, 2**62)
REFUSALS = (
    AttributeError,
    KeyError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
)  # h5py's, of an edit


def edited(file: bytes, recipe: Recipe, texts: Sequence[str]) -> bytes:
    """The file after the edits of the recipe."""
    image = io.BytesIO(file)
    with h5py.File(image, "r+") as opened:
        for _ in range(MOST_EDITS):
            names: list[str] = []
            opened.visit(names.append)
            if not recipe or not names:
                break
            with contextlib.suppress(*REFUSALS):
                recipe.pick(EDITS)(opened, recipe.pick(sorted(names)), recipe, texts)
    return image.getvalue()


def _remove(opened: Any, name: str, recipe: Recipe, texts: Sequence[str]) -> None:
    del opened[name]


def _text(opened: Any, name: str, recipe: Recipe, texts: Sequence[str]) -> None:
    _replace(opened, name, recipe.pick(texts))


def _rename(opened: Any, name: str, recipe: Recipe, texts: Sequence[str]) -> None:
    other = f"{name}x" if recipe.number(2) else f"{name.rpartition('/')[0]}/{recipe.pick(texts)}"
    if other not in opened:
        opened.move(name, other)


def _array(recipe: Recipe) -> Any:
    shape = tuple(recipe.number(5) for _ in range(recipe.number(5)))
    with np.errstate(all="ignore"):
        return np.full(shape, recipe.pick(NUMBERS)).astype("<f4").astype(recipe.pick(DTYPES))


def _other(opened: Any, name: str, recipe: Recipe, texts: Sequence[str]) -> None:
    _replace(opened, name, _array(recipe))


def _value(opened: Any, name: str, recipe: Recipe, texts: Sequence[str]) -> None:
    """One number among those that there are; else a number."""
    if not isinstance(opened[name], h5py.Dataset) or opened[name].dtype.kind not in "fiu":
        _replace(opened, name, recipe.pick(NUMBERS))
        return
    values = np.array(opened[name])
    if values.size:
        with np.errstate(all="ignore"):
            values.flat[recipe.number(256) % values.size] = np.nan_to_num(recipe.pick(NUMBERS), posinf=9.0)
    _replace(opened, name, values)


def _group(opened: Any, name: str, recipe: Recipe, texts: Sequence[str]) -> None:
    del opened[name]
    opened.create_group(name)


def _linked(opened: Any, name: str, recipe: Recipe, texts: Sequence[str]) -> None:
    """Another link to something, in place of an object or beside it."""
    names: list[str] = ["/"]
    opened.visit(names.append)
    kind, target = recipe.number(4), recipe.pick(names)
    link = (h5py.SoftLink(target), h5py.ExternalLink("other.h5", target), h5py.SoftLink("nowhere"), opened[target])[
        kind
    ]
    if recipe.number(2):
        _replace(opened, name, link)
    else:
        opened[f"{name}_{kind}"] = link


def _attribute(opened: Any, name: str, recipe: Recipe, texts: Sequence[str]) -> None:
    target = opened[name] if recipe.number(2) else opened
    own = sorted(target.attrs)
    attribute = recipe.pick(own) if own and recipe.number(3) else recipe.pick(ATTRIBUTES)
    kind = recipe.number(6)
    if attribute in target.attrs:
        del target.attrs[attribute]
    if kind == 1:
        target.attrs[attribute] = _array(recipe)
    elif kind == 2:
        target.attrs[attribute] = [recipe.pick(texts) for _ in range(recipe.number(4))]
    elif kind == 3:
        target.attrs.create(attribute, [recipe.pick(texts).encode() for _ in range(recipe.number(4))], dtype="S9")
    elif kind == 4:
        h5a.create(target.id, attribute.encode(), _type(recipe), _space(recipe, most=2**10))
    elif kind == 5:
        target.attrs[attribute] = recipe.pick((recipe.pick(texts), 7, recipe.pick(texts).encode(), np.float32(0.5)))


def _typed(opened: Any, name: str, recipe: Recipe, texts: Sequence[str]) -> None:
    """A dataset of any type and space, or a type by itself."""
    made = _type(recipe)
    del opened[name]
    if recipe.number(8) == 0:
        made.commit(opened.id, name.encode())
    else:
        h5d.create(opened.id, name.encode(), made, _space(recipe, most=2**10))


def _stored(opened: Any, name: str, recipe: Recipe, texts: Sequence[str]) -> None:
    """A dataset stored in another way: in chunks, through filters, in other files, or not at all."""
    kind = recipe.number(9)
    del opened[name]
    if kind == 0:
        layout = h5py.VirtualLayout((4, 3), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "secret", (4, 3))
        opened.create_virtual_dataset(name, layout)
    elif kind == 1:
        opened.create_dataset(name, (4, 3), "f4", external=[("other.bin", 0, 48)])
    elif kind == 2:
        h5d.create(opened.id, name.encode(), _type(recipe), _space(recipe, most=2**62))  # never written
    elif kind == 3:
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_layout(h5d.COMPACT)
        h5d.create(opened.id, name.encode(), _type(recipe), _space(recipe, most=2**10), plist)
    elif kind == 4:
        opened.create_dataset(name, (recipe.pick(SIZES), 4), recipe.pick(DTYPES), chunks=(16, 4), maxshape=(None, 4))
    elif kind == 5:
        opened.create_dataset(name, data=_array(recipe), fillvalue=recipe.pick((0, 1)))
    else:
        filters: Any = recipe.pick((
            {"compression": "gzip"}, {"compression": "lzf"}, {"shuffle": True}, {"fletcher32": True},
            {"scaleoffset": 2}, {"compression": "gzip", "shuffle": True, "fletcher32": True},
        ))  # fmt: skip
        shape = tuple(1 + recipe.number(9) for _ in range(1 + recipe.number(3)))
        opened.create_dataset(name, data=np.ones(shape, "<f4"), chunks=True, **filters)


EDITS: tuple[Callable[[Any, str, Recipe, Sequence[str]], None], ...] = (
    _remove, _text, _rename, _other, _value, _group, _linked, _attribute, _attribute, _typed, _stored,
)  # fmt: skip


def _type(recipe: Recipe) -> Any:
    """One of HDF5's types, among them those that NumPy has no counterpart for."""
    kind = recipe.number(14)
    if kind == 0:
        return h5t.UNIX_D32LE.copy()
    if kind == 1:
        return h5t.UNIX_D64BE.copy()
    if kind == 2:
        return h5t.STD_B8LE.copy()
    if kind == 3:
        return h5t.STD_REF_OBJ.copy()
    if kind == 4:
        return h5t.STD_REF_DSETREG.copy()
    if kind == 5:
        made = h5t.create(h5t.OPAQUE, 1 + recipe.number(9))
        made.set_tag(b"tag")
        return made
    if kind == 6:
        return h5t.vlen_create(h5t.STD_I32LE)
    if kind == 7:
        return h5t.array_create(h5t.IEEE_F32LE, (1 + recipe.number(4), 3))
    if kind == 8:
        made = h5t.enum_create(h5t.STD_I8LE)
        made.enum_insert(b"FALSE", 0)
        made.enum_insert(b"TRUE", 1)
        return made
    if kind == 9:
        made = h5t.create(h5t.COMPOUND, 8)
        made.insert(b"r", 0, h5t.IEEE_F32LE)
        made.insert(b"i", 4, h5t.STD_I32LE)
        return made
    if kind == 10:
        made = h5t.C_S1.copy()
        made.set_size(h5t.VARIABLE if recipe.number(2) else 1 + recipe.number(200))
        made.set_cset(recipe.number(2))
        return made
    if kind == 11:
        return h5t.NATIVE_LDOUBLE.copy()
    if kind == 12:
        made = h5t.STD_I32BE.copy()
        made.set_precision(1 + recipe.number(32))
        return made
    return h5t.vlen_create(h5t.vlen_create(h5t.IEEE_F64LE))


def _space(recipe: Recipe, most: int) -> Any:
    kind = recipe.number(4)
    if kind == 0:
        return h5s.create(h5s.NULL)
    if kind == 1:
        return h5s.create(h5s.SCALAR)
    sizes = [size for size in SIZES if size <= most]
    return h5s.create_simple(tuple(recipe.pick(sizes) for _ in range(1 + recipe.number(3))))


def _replace(opened: Any, name: str, value: Any) -> None:
    del opened[name]
    opened[name] = value
