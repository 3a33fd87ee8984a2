# SPDX-License-Identifier: Apache-2.0
"""Readable text about a model: the tables of the summary and the profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .._text import printable
from .arrays import TensorInfo
from .handles import Opened


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[str]) -> str:
    """Aligned columns of printable cells: left-aligned if named in ``left``, otherwise right-aligned."""
    cells = [[printable(cell) for cell in line] for line in [header, *rows]]
    widths = [max(len(line[i]) for line in cells) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if name in left else cell.rjust(width)
            for cell, width, name in zip(line, widths, header, strict=True)
        ).rstrip()
        for line in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths).rstrip())
    return "\n".join(lines)


def describe(tensor: TensorInfo) -> str:
    """b1 14x14x64"""
    return f"{tensor.dtype} {'x'.join(map(str, tensor.shape))}"


def warnings(opened: Opened) -> list[str]:
    """What the author of a network probably did not mean, a line each."""
    return list(dict.fromkeys(line for op in opened.ops for line in op.warnings))


def summary(opened: Opened) -> str:
    """One line per op, totals, and the memory of a context.  Byte sums have a column if there are any."""
    columns = ["weight_bytes", "binary_macs", "byte_macs", "float_macs"]
    if not any(op.byte_macs for op in opened.ops):
        columns.remove("byte_macs")
    titles = (name.replace("_", " ").replace("macs", "MACs") for name in columns)
    header = ["layer", "op", "kind", "output", *titles, "note"]
    rows = [
        [
            op.layer,
            op.op,
            op.kind,
            describe(opened.tensors[op.output]),
            *(f"{n:,}" if n else "" for n in (getattr(op, name) for name in columns)),
            op.note,
        ]
        for op in opened.ops
    ]
    sums = {name: sum(getattr(op, name) for op in opened.ops) for name in columns}
    rows.append(["total", "", "", "", *(f"{n:,}" for n in sums.values()), ""])
    text = table(header, rows, ("layer", "op", "kind", "output", "note"))
    multiplies = sum(n for name, n in sums.items() if name != "weight_bytes")
    binary = f", {100 * sums['binary_macs'] / multiplies:.1f}% of the multiplications binary" if multiplies else ""
    return (
        f"{text}\n"
        f"{opened.size:,} bytes in the file, {opened.arena_bytes:,} bytes of activations per image{binary}; "
        f"kernels: {opened.kernels}"
    )


@dataclass(frozen=True)
class LayerTime:
    """One op's share of a run: ``nanoseconds`` is the median over the repeats, for the whole batch."""

    layer: str
    op: str
    kind: str
    nanoseconds: int
    share: float
    binary_macs: int
    byte_macs: int
    float_macs: int


class Profile(list[LayerTime]):
    """The records of :meth:`Model.profile`, in the order of execution; printing it gives a table."""

    def __init__(self, records: Sequence[LayerTime], images: int, repeats: int, kernels: str) -> None:
        super().__init__(records)
        self.images, self.repeats, self.kernels = images, repeats, kernels

    @property
    def nanoseconds(self) -> int:
        """All ops together."""
        return sum(record.nanoseconds for record in self)

    def __str__(self) -> str:
        header = ["layer", "op", "kind", "us", "share", "GMAC/s"]
        rows = []
        for r in self:
            rate = self.images * (r.binary_macs + r.byte_macs + r.float_macs) / max(r.nanoseconds, 1)
            rows.append(
                [r.layer, r.op, r.kind, f"{r.nanoseconds / 1e3:.1f}", f"{r.share:.1%}", f"{rate:.1f}" if rate else ""]
            )
        rows.append(["total", "", "", f"{self.nanoseconds / 1e3:.1f}", "", ""])
        images = "1 image" if self.images == 1 else f"{self.images} images"
        return (
            f"{table(header, rows, ('layer', 'op', 'kind'))}\n"
            f"{images}, median of {self.repeats}, one thread, kernels: {self.kernels}"
        )

    __repr__ = __str__


def profile(opened: Opened, nanoseconds: Sequence[int], images: int, repeats: int) -> Profile:
    """Add measured times to the information about each op."""
    total = max(sum(nanoseconds), 1)
    records = [
        LayerTime(op.layer, op.op, op.kind, ns, ns / total, op.binary_macs, op.byte_macs, op.float_macs)
        for op, ns in zip(opened.ops, nanoseconds, strict=True)
    ]
    return Profile(records, images, repeats, opened.kernels)


def quantity(count: int, noun: str) -> str:
    """1 image, 2 images"""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
