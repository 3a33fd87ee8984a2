# SPDX-License-Identifier: Apache-2.0
"""What fuzzing begins with: small inputs, made anew each time, so that a new op or version is in them at once."""

from __future__ import annotations

import contextlib
import functools
import io
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import graphs
import op_graphs
from bnn import emit_nir
from bnn.errors import UnsupportedOpError
from bnn.file.write import encode
from bnn.passes import lower
from bnn.runtime import Model
from bnn.snn.file import encode as encode_snn
from bnn.streams import recordings as event_sources
from conftest import small_graph, two_by_two_graph
from events.spiking import populations
from snn.event_networks import draw as draw_events
from snn.networks import draw_network, draw_plastic_network

MOST_BYTES = 16000  # of a pair: run.py's -max_len
TRIES = 12  # random shapes, of which the smallest files are taken
TABLES = (*op_graphs.OPS_OF.values(), op_graphs.FUNCTION_OPS, op_graphs.ROUNDED_OPS)


@functools.cache
def models() -> list[tuple[str, bytes]]:
    """Those of :func:`_models`, made once."""
    return list(_models())


def _models() -> Iterator[tuple[str, bytes]]:
    """(name, .bnn file): each op in two small shapes, all ops together, chains of ops, networks of spikes."""
    for number, table in enumerate(TABLES):
        for k, name in enumerate(table):
            made = [encode(op_graphs.one_op(np.random.default_rng([number, k, i]), name, table)) for i in range(TRIES)]
            for i, data in enumerate(sorted(made, key=len)[:2]):
                yield f"{name}-{number}-{i}", data
    yield "every_op", encode(op_graphs.every_op())
    yield "use", encode(replace(lower(small_graph()), use='{"metadata":{"a":"b"}}'))
    for name, make in (
        ("coded", lambda rng: op_graphs.coded_filters(rng)),
        ("passed", lambda rng: op_graphs.passed(rng)),
        ("arithmetic", lambda rng: op_graphs.arithmetic(rng)),
        ("chain", lambda rng: op_graphs.network(rng, 5)),
        ("spikes", lambda rng: lower(graphs.spiking_graph(rng))),
        ("bits", lambda rng: lower(graphs.spiking_graph(rng, binary_input=True))),
        ("levels", lambda rng: lower(graphs.levels_graph(rng, "round 5", str(rng.choice(graphs.KERNELS))))),
    ):
        made = [encode(make(np.random.default_rng([9, i]))) for i in range(2 * TRIES)]
        for i, data in enumerate(sorted(made, key=len)[:8]):
            yield f"{name}-{i}", data


def pairs() -> Iterator[tuple[str, bytes]]:
    """Models, each with its event populations, their hash (events.c) and a script."""
    rng = np.random.default_rng(7)
    for name, data in models():
        with contextlib.suppress(UnsupportedOpError):
            both = data + populations(data)
            if len(both) <= MOST_BYTES:
                yield name, both + struct.pack("<Q", _fnv(both)) + rng.bytes(96)


def _fnv(data: bytes) -> int:
    value = 14695981039346656037
    for byte in data:
        value = (value ^ byte) * 1099511628211 % 2**64
    return value


def two_models() -> tuple[bytes, bytes]:
    """A spiking network of one input, and one of two inputs."""
    return encode(lower(small_graph())), encode(lower(two_by_two_graph()))


def nir_file() -> bytes:
    """The first of the two models, emitted."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.nir")
        emit_nir(Model.from_bytes(two_models()[0]), path)
        return path.read_bytes()


def spiking_nir_file() -> bytes:
    """A network of spiking neurons over time."""
    from snn import nir_graphs  # needs h5py

    with tempfile.TemporaryDirectory() as folder:
        return nir_graphs.write(Path(folder, "net.nir"), nir_graphs.small()).read_bytes()


#: The formats of event_sources; a recording's first byte is its format's place here.
# Those that our own code reads.
RECORDINGS = tuple(f for f in event_sources.FORMATS if f not in ("hdf5", "mat", "aedat4"))


def recordings() -> Iterator[tuple[str, bytes]]:
    """A recording of each format, 40 events long, behind the byte that names it."""
    rng = np.random.default_rng(1)
    t = np.sort(rng.integers(0, 4000, 40))
    x, y, p = rng.integers(0, 30, 40), rng.integers(0, 30, 40), rng.integers(0, 2, 40)
    events = event_sources.from_fields(x, y, p, t)
    for format, data in (
        ("nmnist", event_sources.encode_nmnist(events)),
        ("text", b"t,x,y,p\n" + b"".join(b"%d,%d,%d,%d\n" % row for row in zip(t, x, y, p, strict=True))),
        (
            "aedat2-davis",
            b"#!AER-DAT2.0\r\n# DAVIS\r\n" + np.stack([y << 22 | x << 12 | p << 11, t], 1).astype(">u4").tobytes(),
        ),
        (
            "aedat2-dvs128",
            b"#!AER-DAT2.0\r\n# DVS128\r\n" + np.stack([y << 8 | x << 1 | p, t], 1).astype(">u4").tobytes(),
        ),
        ("aedat3", _aedat3(events)),
        ("dat", b"% Version 2\n% end\n\x00\x08" + _words(t, p << 28 | y << 14 | x)),
        ("evt2", b"% evt 2.0\n% end\n" + struct.pack("<I", 8 << 28) + _evt2(events)),
        ("evt3", b"% evt 3.0\n% end\n" + _evt3(events)),
        ("numpy", _saved(np.save, events)),
    ):
        for told in (0, 128):
            number = next(n for n in range(told, 256) if n % len(RECORDINGS) == RECORDINGS.index(format))
            yield f"{format}-{told}", bytes([number]) + data
    yield "npz", bytes([RECORDINGS.index("numpy")]) + _saved(np.savez_compressed, x=x, y=y, p=p, t=t)


def _words(*columns: Any) -> bytes:
    return np.stack([np.asarray(c).astype("<u4") for c in columns], axis=1).tobytes()


def _aedat3(events: Any) -> bytes:
    words = _words(
        events["x"].astype(np.int64) << 17 | events["y"].astype(np.int64) << 2 | events["p"] << 1 | 1, events["t"]
    )
    header = struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, len(events), len(events), len(events))
    return b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + header + words


def _evt2(events: Any) -> bytes:
    fields = {name: events[name].astype(np.int64) for name in "xypt"}
    return _words(fields["p"] << 28 | (fields["t"] & 63) << 22 | fields["x"] << 11 | fields["y"])


def _evt3(events: Any) -> bytes:
    words = [8 << 12]  # the upper bits of the time
    for x, y, p, t in events:
        words += [6 << 12 | int(t) & 4095, int(y), 2 << 12 | int(p) << 11 | int(x)]
    return np.array(words, "<u2").tobytes()


def _saved(save: Callable[..., None], *array: Any, **arrays: Any) -> bytes:
    file = io.BytesIO()
    save(file, *array, **arrays)
    return file.getvalue()


def arrays() -> Iterator[tuple[str, bytes]]:
    """Images for the two models, behind the byte that says how they are read."""
    small, left, right = np.zeros((2, 12, 12, 1)), np.ones((1, 5, 5, 8), "<f4"), np.ones((1, 40), "<f4")
    yield "npy", b"\x00" + _saved(np.save, small.astype("<f4"))
    yield "npy-bytes", b"\x02" + _saved(np.save, np.asfortranarray(small.astype("u1")))
    yield "npz", b"\x05" + _saved(np.savez, left=left, right=right)
    yield "npz-compressed", b"\x01" + _saved(np.savez_compressed, x=small.astype("<f4"))


def recipes() -> Iterator[tuple[str, bytes]]:
    """Of edits: none, of each of the files there may be; then a few."""
    for number in range(12):
        yield f"unedited-{number}", bytes([number])
    for kind in range(12):
        yield f"edited-{kind}", bytes([kind, 7, kind, 1, 2, 3, 40 + kind, kind, 3, 2])


def spiking_networks() -> Iterator[tuple[str, bytes]]:
    """Small .snn files, each followed by a script of calls."""
    for kind in ("float", "dyadic", "int8", None):
        made = [encode_snn(draw_network(np.random.default_rng([3, i]), kind)) for i in range(3 * TRIES)]
        for i, data in enumerate(sorted(made, key=len)[:8]):
            yield f"{kind}-{i}", data + bytes(range(40 + i))
    made = [encode_snn(draw_events(np.random.default_rng([5, i]))) for i in range(6 * TRIES)]
    for i, data in enumerate(sorted(made, key=len)[:12]):
        yield f"events-{i}", data + bytes(range(40 + i))
    for i in range(4):
        yield f"learning-{i}", encode_snn(draw_plastic_network(np.random.default_rng([4, i]))) + bytes(range(40 + i))


SEEDS: dict[str, Callable[[], Iterable[tuple[str, bytes]]]] = {
    "spikes": spiking_networks, "c": models, "pairs": pairs, "recordings": recordings, "arrays": arrays,
    **dict.fromkeys(("nir", "keras", "hdf5", "savedmodel", "onnx", "tflite"), recipes),
}  # fmt: skip


def write(kind: str, folder: Path) -> int:
    """The seeds of one kind, one a file; returns how many."""
    folder.mkdir(parents=True)
    made = list(SEEDS[kind]())
    for name, data in made:
        (folder / name).write_bytes(data)
    return len(made)
