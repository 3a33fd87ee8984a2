# SPDX-License-Identifier: Apache-2.0
"""Files that Python reads, under atheris: whatever the bytes, an answer or a BnnError; see run.py.

python tests/fuzz/python_targets.py recordings|arrays|nir [libFuzzer options] [corpus ...]
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

try:
    import atheris
except ImportError:  # replayed, not fuzzed
    atheris = None

with atheris.instrument_imports(include=["bnn"]) if atheris else contextlib.nullcontext():
    import bnn
    from bnn.cli import inputs
    from bnn.snn.from_nir import network_from_nir
    from bnn.snn.nir_file import read_nir
    from bnn.snn.simulators import SIMULATORS
    from bnn.streams import recordings as event_sources
    from bnn.verification.nir import verify_nir

from fuzz import seeds

# In memory where the system has such a folder: a file a time is written.
FOLDER = Path(tempfile.mkdtemp(prefix="bnn-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
ENDINGS = {"numpy": ".npy", "nmnist": ".bin", "aedat3": ".aedat", "dat": ".dat", "evt2": ".raw", "evt3": ".raw"}


@contextlib.contextmanager
def file_of(data: bytes, ending: str) -> Iterator[Path]:
    path = FOLDER / f"input{ending}"
    path.write_bytes(data)
    yield path


def recordings(data: bytes) -> None:
    """The first byte names the format, and whether it is told or has to be found."""
    if not data:
        return
    format = seeds.RECORDINGS[data[0] % len(seeds.RECORDINGS)]
    with file_of(data[1:], ENDINGS[format]) as path, contextlib.suppress(bnn.BnnError):
        events = event_sources.read(path, format if data[0] < 128 else None)
        assert events.dtype == event_sources.EVENT and np.all(events["t"][1:] >= events["t"][:-1])


def arrays(data: bytes) -> None:
    """The first byte: .npy or .npz, and whether numbers are scaled."""
    if not data:
        return
    reading = inputs.Reading(255.0 if data[0] & 2 else None, 0.0, resize=False)
    model = MODELS[data[0] >> 2 & 1]
    with file_of(data[1:], ".npz" if data[0] & 1 else ".npy") as path, contextlib.suppress(bnn.BnnError):
        read = inputs.read_arrays(model, [str(path)], reading)
        assert [a.shape[1:] for a in read] == list(model.input_shapes)


@functools.cache
def nir_file() -> bytes:
    return seeds.nir_file()


@functools.cache
def spiking_nir_file() -> bytes:
    return seeds.spiking_nir_file()


def nir(data: bytes) -> None:
    """Edits of a file that was emitted: what verify_nir finds before an importer, of which none is here, gets it.  And
    edits of a network of spiking neurons, which each simulator's rules are asked to import."""
    from fuzz.nir_edits import edited

    with file_of(edited(spiking_nir_file(), data), ".nir") as path:
        for simulator in SIMULATORS:
            with contextlib.suppress(bnn.BnnError):
                network_from_nir(read_nir(path), simulator, dt=1e-4)

    with file_of(edited(nir_file(), data), ".nir") as path, contextlib.suppress(bnn.BnnError):
        report = verify_nir(path, MODELS[0], np.zeros((1, *MODELS[0].input_shapes[0]), np.float32))
        assert not report.ok


TARGETS: dict[str, Callable[[bytes], None]] = {"recordings": recordings, "arrays": arrays, "nir": nir}
MODELS: list[Any] = [bnn.Model.from_bytes(data) for data in seeds.two_models()]


def main() -> None:
    target = TARGETS[sys.argv.pop(1)]
    if target is nir:
        nir_file(), spiking_nir_file()  # not within the first execution
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
