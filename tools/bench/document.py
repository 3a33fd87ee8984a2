# SPDX-License-Identifier: Apache-2.0
"""The benchmarks' measurements, and how they are written into the blocks of a document."""

from __future__ import annotations

import contextlib
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from bench.timing import Timing


@dataclass(frozen=True)
class KernelRow:
    """One measurement.

    ``products``: multiply-accumulates of one image, including those with padding (for memory: bytes).  ``bytes``: the
    least that the layer reads and writes per image.  ``ns``: median nanoseconds of processor time for one image;
    ``spread``: half the distance of its quartiles.  ``share``: of the highest register-loop rate for these products.
    """

    kind: str
    family: str
    shape: str
    output: str
    products: float
    bytes: float
    ns: float = 0.0
    spread: float = 0.0
    share: float = 0.0

    @property
    def rate(self) -> float:
        """GMAC/s."""
        return self.products / self.ns


@dataclass(frozen=True)
class Row:
    """One contestant on one network.  ``times_bnn``: its median over bnn's on one thread for as many images."""

    engine: str
    setting: str
    images: int
    threads: int
    us: Timing
    times_bnn: float


@dataclass(frozen=True)
class OpTime:
    """All ops of one type in a network."""

    op: str
    kind: str
    count: int
    us: float
    share: float


@dataclass
class Result:
    """The results for one network; ``register_loop_us``: the time of its multiply-accumulates at the register-loop
    rate, 0 if that could not be measured; ``share``: the share of this time in bnn's time."""

    network: str
    binary_macs: int
    float_macs: int
    file_bytes: int
    arena_bytes: int
    ops: int
    register_loop_us: float = 0.0
    share: float = 0.0
    rows: list[Row] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    profile: list[OpTime] = field(default_factory=list)


_PEERS = (
    ("cold caches", "bnn, cold caches", ""),
    ("AVX2", "bnn, AVX2", ""),
    ("LCE, portable C++", "Larq Compute Engine", "use_indirect_bgemm=True"),
    ("LCE's default, portable C++", "Larq Compute Engine", "default"),
    ("TensorFlow", "TensorFlow", "tf.function"),
    ("Keras eager", "TensorFlow", "Keras eager"),
    ("XNNPACK f32", "XNNPACK", "float32"),
    ("XNNPACK int8", "XNNPACK", "int8"),
    ("ONNX Runtime f32", "ONNX Runtime", "float32"),
    ("ONNX Runtime int8", "ONNX Runtime", "int8"),
    ("OpenVINO f32", "OpenVINO", "float32"),
    ("OpenVINO bf16", "OpenVINO", "bfloat16"),
    ("OpenVINO int8", "OpenVINO", "int8"),
)
_SMALL_OP = 0.03  # share of a network's time; smaller shares are summed up


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = True) -> str:
    """Markdown; ``numbers``: in all columns except the first, to the right."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, *rows)]
    lines.insert(1, "|---" + ("|---:" if numbers else "|---") * (len(header) - 1) + "|")
    return "\n".join(lines)


def number(us: float) -> str:
    return f"{us:,.1f}" if us < 100 else f"{us:,.0f}"


def _one(result: Result, engine: str, setting: str) -> Row | None:
    """The row for one image on one thread."""
    for row in result.rows:
        named = row.engine == engine and (row.setting == setting or engine.startswith("bnn"))
        if named and row.images == row.threads == 1:
            return row
    return None


def multiple(times: float) -> str:
    return f"{times:.2f}" if times < 2 else f"{times:.1f}"


def models(results: Sequence[Result]) -> str:
    """bnn's times, their share of the register-loop rate, and other engines' times as multiples of bnn's."""
    peers = [p for p in _PEERS if any(_one(result, *p[1:]) for result in results)]
    rated = any(result.register_loop_us for result in results)
    rows = []
    for result in results:
        ours = _one(result, "bnn", "")
        assert ours is not None
        rate = (number(result.register_loop_us), f"{result.share:.0%}") if rated else ()
        found = [_one(result, engine, setting) for _, engine, setting in peers]
        times = [multiple(row.times_bnn) if row else "-" for row in found]
        rows.append([result.network, f"{number(ours.us.median)} +- {ours.us.spread:.1%}", *rate, *times])
    rates = ("register loop, us", "share") if rated else ()
    return table(["network", "bnn, us", *rates, *(name for name, _, _ in peers)], rows)


def instead(results: Sequence[Result]) -> str:
    """Networks that one would use instead, in every engine: microseconds."""
    keys = dict.fromkeys((row.engine, row.setting) for r in results for row in r.rows if row.images == row.threads == 1)
    lines = []
    for engine, setting in keys:
        found = [next((row for row in r.rows if (row.engine, row.setting) == (engine, setting)), None) for r in results]
        lines.append([f"{engine}, {setting}", *(number(row.us.median) if row else "-" for row in found)])
    return table(["us", *(r.network for r in results)], lines)


def missing(results: Sequence[Result], without: Mapping[str, str]) -> str:
    """``without``: the peers that ran no network, and why."""
    lines = [f"- {peer}: {why}" for peer, why in without.items()]
    lines += [f"- {r.network}, {peer}: {why}" for r in results for peer, why in r.missing.items()]
    return "\n".join(lines) or "Every peer ran every network."


def profiles(results: Sequence[Result]) -> str:
    rows = []
    for result in results:
        large = [op for op in result.profile if op.share >= _SMALL_OP]
        parts = [f"{op.op} {op.share:.0%} ({op.count})" for op in large]
        rest = 1 - sum(op.share for op in large)
        text = ", ".join(parts) + (f", others {rest:.0%}" if rest >= 0.005 else "")
        total = number(sum(op.us for op in result.profile))
        rows.append([result.network, total, f"{result.ops}", f"{result.arena_bytes / 1e6:.2f}", text])
    return table(["network", "us", "ops", "activations, MB", "share of the time (number of ops)"], rows)


def scaling(results: Sequence[Result]) -> str:
    """The speedup by two threads."""
    rows = []
    for result in results:
        times = {(r.images, r.threads): r.us.median for r in result.rows if r.engine == "bnn"}
        batch = max(images for images, _ in times)
        one, many = times[1, 1] / times[1, 2], times[batch, 1] / times[batch, 2]
        rows.append([result.network, number(times[1, 2]), f"{one:.2f}", number(times[batch, 2] / batch), f"{many:.2f}"])
    return table(["network", "one image, us", "times faster", "an image of 16, us", "times faster"], rows)


def small(found: dict[str, float]) -> str:
    rows = [
        ["`import bnn` in a new interpreter", f"{found['import_ms']:.0f} ms"],
        ["a call of digits", f"{found['digits_call_us']:.1f} us"],
        ["of it, the C code", f"{found['digits_c_us']:.1f} us"],
        ["added by Python", f"{found['digits_added_us']:.1f} us"],
    ]
    if "open_ms" in found:
        rows.append([f"opening a file of {found['open_bytes'] / 1e6:.1f} MB", f"{found['open_ms']:.1f} ms"])
    return table(["what", "time"], rows)


def kernels(rows: Sequence[KernelRow], headline: Sequence[str]) -> str:
    """Times and shares on the ``headline`` shapes, one line per family and output."""
    found = {(row.family, row.output, row.shape): row for row in rows if row.kind != "rate"}
    lines = []
    for family, output in dict.fromkeys((family, output) for family, output, _ in found):
        cells = [found.get((family, output, shape)) for shape in headline]
        if all(cells):
            lines.append([family, output, *(f"{row.ns / 1000:,.1f} ({row.share:.0%})" for row in cells if row)])
    return table(["kernels", "output", *headline], lines)


def other_layers(rows: Sequence[KernelRow], headline: Sequence[str]) -> str:
    """All shapes except the ``headline`` ones, by the fastest family."""
    measured = [row for row in rows if row.kind != "rate"]
    lines = [
        [row.shape, row.output, number(row.ns / 1000), number(row.rate), f"{row.share:.0%}" if row.share else ""]
        for row in measured
        if row.family == measured[0].family and row.shape not in headline
    ]
    return table(["layer", "output", "us", "GMAC/s", "share"], lines)


def filled(text: str, blocks: Mapping[str, str], kind: str = "bench") -> str:
    """A document with its blocks between <!-- KIND: NAME --> and <!-- end --> replaced; those not given stay."""

    def replaced(match: re.Match[str]) -> str:
        block = blocks.get(match[1])
        return match[0] if block is None else f"<!-- {kind}: {match[1]} -->\n{block}\n<!-- end -->"

    return re.sub(rf"<!-- {kind}: (\w+) -->.*?<!-- end -->", replaced, text, flags=re.S)


def update(path: Path, blocks: Mapping[str, str], kind: str = "bench") -> None:
    """The same for a file; raises ClickException if it has none of the blocks."""
    old = path.read_text(encoding="utf-8")
    if not any(f"<!-- {kind}: {name} -->" in old for name in blocks):
        raise click.ClickException(f"{path} has no line like '<!-- {kind}: {next(iter(blocks))} -->' to write below")
    path.write_text(filled(old, blocks, kind), encoding="utf-8")


def processor() -> str:
    """The processor's own name, if the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
