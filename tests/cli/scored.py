# SPDX-License-Identifier: Apache-2.0
"""Pictures in Parquet files, and what one process gives for them, for tests of `bnn score`."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as pq
from PIL import Image

import bnn
from bnn._types import Array
from bnn.file.read import decode
from bnn.file.write import encode
from bnn.runtime.use import Preprocessing, Use

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits.bnn"
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def network(folder: Path) -> Path:
    """That of the examples, in a file that names its classes and takes pixels from 0 to 255."""
    use = Use(NAMES, Preprocessing(255.0))
    (folder / "net.bnn").write_bytes(encode(replace(decode(DIGITS.read_bytes()), use=use.text())))
    return folder / "net.bnn"


def pictures(count: int) -> Array:
    return np.random.default_rng(1).integers(0, 256, (count, 8, 8), np.uint8)


def png(pixels: Array) -> bytes:
    memory = io.BytesIO()
    Image.fromarray(pixels).save(memory, "png")
    return memory.getvalue()


def write(path: Path, values: list[Any], kind: Any, rows: int) -> Path:
    """A Parquet file with row groups of ``rows``."""
    table = pyarrow.table({"key": pyarrow.array(range(len(values))), "picture": pyarrow.array(values, kind)})
    pq.write_table(table, path, row_group_size=rows)
    return path


def results(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder).to_pylist()
    return rows


def expected(pixels: Array) -> tuple[Array, Array]:
    """(classes, scores) by NumPy and the network as it is."""
    scores = bnn.load(DIGITS)(pixels[..., None].astype(np.float32) / np.float32(255))
    return scores.argmax(axis=1), scores.max(axis=1)
