# SPDX-License-Identifier: Apache-2.0
"""Check output files before a command begins, so that no work is wasted and no input is lost."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence

from ..errors import InputError
from ..runtime.files import file_error


def check_outputs(outputs: Mapping[str, str | None], inputs: Sequence[str | None]) -> None:
    """Refuse an output that is an input, lies inside an input folder (a SavedModel), equals another output, or has no
    folder.

    ``outputs``: paths by their options; None for an option that was not given.
    """
    taken: dict[str, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        target = os.path.realpath(path)
        folder = os.path.dirname(target)
        if not os.path.isdir(folder):
            raise file_error(path, errno.ENOENT, "written", f"there is no folder {folder}")
        for given in filter(None, inputs):
            if _same(path, given):
                raise InputError(f"{option} {path}: would overwrite the input {given}; give another path")
            if _inside(target, given):
                raise InputError(f"{option} {path}: lies inside the input {given}; give a path outside it")
        if target in taken:
            raise InputError(f"{option} {path}: is also written by {taken[target]}; give another path")
        taken[target] = option


def check_suffix(option: str, path: str | None, kinds: Sequence[str], *, devices: bool = True) -> None:
    """Refuse a name whose ending does not match the file's kind; ``devices``: allow any name for pipes and devices."""
    if path is None or os.path.splitext(path)[1] in kinds:
        return
    if not devices or os.path.isfile(path) or not os.path.exists(path):
        raise InputError(f"{option} {path}: expected a name ending in {' or '.join(kinds)}")


def _same(path: str, given: str) -> bool:
    """Whether both names refer to one file; pipes and devices are not overwritten."""
    return os.path.isfile(path) and os.path.exists(given) and os.path.samefile(path, given)


def _inside(target: str, given: str) -> bool:
    folder = os.path.realpath(given)
    return os.path.isdir(folder) and os.path.commonpath([target, folder]) == folder
