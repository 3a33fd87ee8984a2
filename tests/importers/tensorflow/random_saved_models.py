# SPDX-License-Identifier: Apache-2.0
"""SavedModels of which a few fields are others: a worker of ``single_ops``.

python tests/single_ops.py importers.tensorflow.random_saved_models 0 10000
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

_NUMBERS = (-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 4, 5, 7, 8, 19, 20, 21, 100, 2**16, 2**31 - 1, 2**40, 2**63 - 1)
_TEXTS = (
    "",
    "a",
    "x",
    "Mul",
    "serving_default",
    "signatures",
    "signature_wrapper",
    "\x1b[31m",
    "^x",
    "x:0",
    "/",
    "f" * 5000,
)
tf: Any = None


def prepare() -> None:
    global tf
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from bnn.importers.tensorflow.load import tensorflow

    tf = tensorflow()
    _saved()


@functools.cache
def _saved() -> tuple[Path, dict[str, bytes]]:
    """A SavedModel with what most have: variables, constants, calls of functions; its files."""

    class Inner(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(tf.ones([4, 6]))

        @tf.function  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            return tf.matmul(x, tf.sign(self.kernel))

    class Outer(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.scale = Inner(), tf.Variable(tf.ones([6]))

        @tf.function(input_signature=[tf.TensorSpec([None, 4])])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            y = tf.reshape(self.inner(x), [-1, 2, 3]) + np.arange(12, dtype=np.float32).reshape(1, 2, 6)[:, :, ::2]
            return {"a": tf.reshape(y, [-1, 6]) * self.scale, "b": tf.sign(x)}

    folder, model = Path(tempfile.mkdtemp()) / "net", Outer()
    tf.saved_model.save(model, folder, signatures=model.__call__)
    names = ("saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001")
    return folder, {name: (folder / name).read_bytes() for name in names}


def case(number: int) -> str:
    import bnn

    rng = np.random.default_rng([0, number])
    folder, files = _saved()
    kind = rng.choice(["fields", "fields", "fields", "bytes", "index", "data"])
    for name, data in files.items():
        (folder / name).write_bytes(data)
    if kind == "fields":
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

        saved = SavedModel.FromString(files["saved_model.pb"])
        for _ in range(int(rng.integers(1, 4))):
            change(rng, saved)
        (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    else:
        name = list(files)[["bytes", "index", "data"].index(kind)]
        (folder / name).write_bytes(changed(rng, files[name]))
    bnn.compile(folder)
    return "compiled"


def changed(rng: np.random.Generator, data: bytes) -> bytes:
    """Some bytes are others, missing, or there twice."""
    made = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at, size = int(rng.integers(len(made) + 1)), int(rng.choice([1, 1, 2, 4, 20, 1000]))
        kind = rng.integers(4)
        if kind == 0:
            made[at : at + size] = rng.bytes(size)
        elif kind == 1:
            del made[at : at + size]
        elif kind == 2:
            made[at:at] = made[at : at + size]
        elif at < len(made):
            made[at] ^= 1 << int(rng.integers(8))
    return bytes(made)


def change(rng: np.random.Generator, message: Any) -> None:
    """Change one field of a message, or of one within it."""
    places: list[tuple[Any, Any]] = []
    waiting = [message]
    while waiting:
        here = waiting.pop()
        places += [(here, field) for field, _ in here.ListFields()]
        for _, value in here.ListFields():
            inner = list(value.values()) if _maps(value) else value if _repeats(value) else [value]
            waiting += [m for m in inner if hasattr(m, "ListFields")]
    # the kinds of fields are alike, however often they occur
    kinds = sorted({(type(m).__name__, f.name) for m, f in places})
    wanted = kinds[int(rng.integers(len(kinds)))]
    places = [(m, f) for m, f in places if (type(m).__name__, f.name) == wanted]
    owner, field = places[int(rng.integers(len(places)))]
    value = getattr(owner, field.name)
    if rng.random() < 0.2:
        owner.ClearField(field.name)
    elif _maps(value):
        keys = sorted(value.keys())
        key = keys[int(rng.integers(len(keys)))]
        if hasattr(value[key], "ListFields"):
            value[key].CopyFrom(value[keys[int(rng.integers(len(keys)))]])
        else:
            with contextlib.suppress(ValueError):
                value[key] = _other(rng, value[key])
        if rng.random() < 0.3:
            del value[key]
    elif _repeats(value):
        i = int(rng.integers(len(value)))
        if hasattr(value[i], "ListFields"):
            value.add().CopyFrom(value[i])
        else:
            with contextlib.suppress(ValueError):
                value[i] = _other(rng, value[i])
        if rng.random() < 0.4:
            del value[i]
    elif not hasattr(value, "ListFields"):
        with contextlib.suppress(ValueError):  # of 32 bits
            setattr(owner, field.name, _other(rng, value))


def _maps(value: Any) -> bool:
    return hasattr(value, "GetEntryClass")


def _repeats(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes)) and not _maps(value)


def _other(rng: np.random.Generator, value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return max(_fitting(rng), value - 1) if rng.random() < 0.2 else _fitting(rng)
    if isinstance(value, float):
        return float(rng.choice([0, -1, np.nan, np.inf, 1e30]))
    text = _TEXTS[int(rng.integers(len(_TEXTS)))]
    if isinstance(value, bytes):
        return changed(rng, value) if value and rng.random() < 0.5 else text.encode()
    return text if rng.random() < 0.7 else value[:-1]


def _fitting(rng: np.random.Generator) -> int:
    number = _NUMBERS[int(rng.integers(len(_NUMBERS)))]
    return number if rng.random() < 0.5 else int(np.clip(number, -(2**31), 2**31 - 1))
