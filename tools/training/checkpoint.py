# SPDX-License-Identifier: Apache-2.0
"""The training state on disk: one file, always whole, whatever moment the process is killed at.

`checkpoint.npz` holds the model's weights, the optimizer's variables, the best weights so far, and
as JSON the settings and the history. It needs no random generator's state: every random choice of
an epoch is drawn from (seed, epoch). No pickle is written or read.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bnn._types import Array

FILE_NAME = "checkpoint.npz"
_VERSION = 1
_GROUPS = ("weights", "optimizer", "best")


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or belongs to another run."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything that the next epoch depends on; arrays in the order Keras lists them."""

    settings: dict[str, Any]
    history: list[dict[str, Any]]
    weights: Sequence[Array]
    optimizer: Sequence[Array]
    best: Sequence[Array]


def save(folder: Path, state: Checkpoint) -> None:
    """Write folder/checkpoint.npz: to a temporary name first, then renamed over the old one."""
    meta = {"version": _VERSION, "settings": state.settings, "history": state.history}
    arrays: dict[str, Array] = {"meta": np.array(json.dumps(meta))}
    for group in _GROUPS:
        for index, array in enumerate(getattr(state, group)):
            arrays[f"{group}/{index:03d}"] = np.asarray(array)
    temporary = folder / f"{FILE_NAME}.tmp"
    with open(temporary, "wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / FILE_NAME)


def load(folder: Path) -> Checkpoint:
    """Read folder/checkpoint.npz; raises CheckpointError if it is missing or damaged."""
    path = folder / FILE_NAME
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(str(arrays["meta"]))
        version, settings, history = meta["version"], meta["settings"], meta["history"]
    except FileNotFoundError:
        raise CheckpointError(f"nothing to resume: {path} does not exist") from None
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is damaged ({error}); start again with --overwrite") from error
    if version != _VERSION:
        raise CheckpointError(
            f"{path} has checkpoint version {version}, this program reads version {_VERSION}; "
            "start again with --overwrite"
        )
    groups = {group: [arrays[name] for name in sorted(arrays) if name.startswith(f"{group}/")] for group in _GROUPS}
    return Checkpoint(settings=settings, history=history, **groups)


def exists(folder: Path) -> bool:
    """Whether the folder holds a checkpoint."""
    return (folder / FILE_NAME).is_file()
