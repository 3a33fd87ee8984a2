# SPDX-License-Identifier: Apache-2.0
"""This machine's rates (peak.c): products a second, of bits, floats or bytes, in registers alone; bytes from memory."""

from __future__ import annotations

import ctypes
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import MissingError

_SOURCE = Path(__file__).with_name("peak.c")
_FLAGS = ("-std=c11", "-O2", "-ffp-contract=off", "-shared", "-fPIC")
_RUN = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_size_t)


class _Rate(ctypes.Structure):
    """struct bench_rate of peak.c"""

    _fields_ = [("name", ctypes.c_char_p), ("kind", ctypes.c_char_p), ("run", _RUN)]


@dataclass(frozen=True)
class Peak:
    """One loop: ``run(rounds)`` does the work and returns its multiply-accumulates, or the bytes that it read.

    ``kind``: "bits", "f32", "u8" (products of bytes) or "bytes"."""

    name: str
    kind: str
    run: Callable[[int], float]


def load(folder: Path, compiler: str) -> list[Peak]:
    """Compile the loops into a library in ``folder`` and return those that this processor can run.

    Raises :class:`MissingError` if there is no compiler, or it fails.
    """
    library = folder / "bench_peak.so"
    try:
        command = [*shlex.split(compiler), *_FLAGS, str(_SOURCE), "-o", str(library)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise MissingError(f"no C compiler is called '{compiler}'; name one with --cc") from None
    if done.returncode != 0:
        raise MissingError(f"{compiler} failed:\n{done.stderr}")
    loaded = ctypes.CDLL(str(library))
    count = ctypes.c_size_t.in_dll(loaded, "bench_rate_count").value
    table = (_Rate * count).in_dll(loaded, "bench_rates")
    peaks = [Peak(rate.name.decode(), rate.kind.decode(), rate.run) for rate in table]
    return [peak for peak in peaks if peak.run(1) > 0]
