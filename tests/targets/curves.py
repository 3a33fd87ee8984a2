# SPDX-License-Identifier: Apache-2.0
"""Accuracy of small networks of bits, of int8 and of both, against their costs on microcontrollers.

    python tests/targets/curves.py OUT [--networks NAME ...] [--epochs N] [--seeds N] [--docs FILE] [--picture FILE]
                                       [--dataset NAME]

trains each network with each seed, compiles and emits it, and counts: test images that the emitted C gets right, and,
with the first seed, instructions of an image on a Cortex-M4 and a Cortex-M0, bytes of flash (code and tables) and of
RAM (with the stack).  All of it is kept in OUT, so that a run which is broken off goes on.  One thread trains, so that
a run can be repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tools")]

import numpy as np  # noqa: E402

import bnn  # noqa: E402
from bench.document import table, update  # noqa: E402
from bnn.runtime import Model  # noqa: E402
from bnn.runtime.files import replacing  # noqa: E402
from targets import TARGETS, emitted  # noqa: E402
from training import _tf, datasets, fit  # noqa: E402
from training.datasets import Dataset, Split  # noqa: E402
from training.drawing import INK, RULE, SOFT, figure  # noqa: E402
from training.networks import Variant  # noqa: E402

PROCESSORS = ("cortex-m4", "cortex-m0")
CALIBRATED = 500  # images of the training set, for scales

BITS, INT8 = Variant(), Variant("relu", weights="float")


@dataclass(frozen=True)
class Case:
    """One network of tools/training, in one variant; ``group``: the curve that it belongs to."""

    network: str
    group: str
    variant: Variant

    @property
    def name(self) -> str:
        also_bits = self.variant == INT8 and self.network.startswith("plain")
        return f"{self.network}-int8" if also_bits else self.network

    @property
    def calibrated(self) -> bool:
        """Whether its values become bytes; without shortcuts there are bits and thresholds alone."""
        return self.group != "bits"


@dataclass(frozen=True)
class Cost:
    """Of one network: instructions of an image by processor, and bytes on the first of them."""

    instructions: dict[str, int]
    flash: int
    ram: int


CASES = (
    *(Case(f"plain{n}", "bits", BITS) for n in ("8", "16", "24", "32", "")),
    *(Case(f"residual{n}", "bits with shortcuts", BITS) for n in (16, 32)),
    *(Case(f"plain{n}", "int8", INT8) for n in (8, 16)),
    *(Case(n, "int8", INT8) for n in ("separable8", "separable", "separable24", "separable32", "deep")),
    *(Case(n, "int8 and bits", INT8) for n in ("mixed8", "mixed16", "mixed16x2", "mixed24")),
)
GROUPS = {"bits": "#1f6feb", "bits with shortcuts": "#8250df", "int8": "#e39a2d", "int8 and bits": "#1a7f37"}


def trained(case: Case, data: Dataset, out: Path, epochs: int, seed: int) -> Model:
    """The compiled network, trained where that is not done yet."""
    own = asdict(case.variant)
    settings = fit.Settings(data.name, case.network, out, epochs=epochs, seed=seed, flip=True, byte_input=True, **own)
    model = bnn.compile(fit.train(settings, resume=fit.can_resume(out)).model)
    if case.calibrated:
        model = bnn.calibrate(model, data.train.images[:CALIBRATED], integer_only=True).model
    return model


def right(model: Model, test: Split) -> int:
    """How many images the emitted C gets right."""
    return int((emitted.classes(model, test.images) == test.labels).sum())


def cost(model: Model) -> Cost:
    """As emitted for speed, the softmax at the end included."""
    image = emitted.random_images(model, 1, np.random.default_rng(0))
    instructions, sizes = {}, []
    for name in PROCESSORS:
        flags, fast = emitted.MODES[1]
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            summary = emitted.emitted(model, folder, image, target=name, fast=fast)
            found = emitted.run_on(TARGETS[name], folder, flags)
            sizes.append((emitted.code_size(TARGETS[name], folder, flags), summary.arena + max(found.stack)))
        instructions[name] = found.instructions[0]
    return Cost(instructions, *sizes[0])


def measured(case: Case, data: Dataset, out: Path, epochs: int, seeds: int) -> tuple[list[int], Cost]:
    """The test images that are right, by seed, and the cost; what OUT has is not computed again."""
    scores = []
    for seed in range(1, seeds + 1):
        folder = out / f"{case.name}-{epochs}-{seed}"
        file = folder / "measured.json"
        if not file.is_file():
            model = trained(case, data, folder, epochs, seed)
            found: dict[str, object] = {"right": right(model, data.test)}
            if seed == 1:
                found["cost"] = asdict(cost(model))
            with replacing(str(file)) as written:
                written.write(json.dumps(found).encode())
        kept = json.loads(file.read_text(encoding="utf-8"))
        scores.append(int(kept["right"]))
        if seed == 1:
            first = Cost(**kept["cost"])
        print(f"{case.name}, seed {seed}: {scores[-1]} right, {first.instructions}", file=sys.stderr, flush=True)
    return scores, first


Found = Mapping[Case, tuple[list[int], Cost]]


def rows(found: Found, images: int) -> str:
    lines = []
    for case, (scores, spent) in found.items():
        shares = [100 * score / images for score in scores]
        counts = [f"{spent.instructions[name] / 1e6:.2f}" for name in PROCESSORS]
        lines.append([
            f"`{case.name}`", case.group, f"{statistics.mean(shares):.2f}%", f"{min(shares):.2f} to {max(shares):.2f}",
            *counts, f"{spent.flash / 1000:.1f}", f"{spent.ram / 1000:.1f}",
        ])  # fmt: skip
    header = ["network", "layers", "right", "of the seeds", "M4, million", "M0, million", "flash, KB", "RAM, KB"]
    return table(header, lines)


def draw(found: Found, images: int, path: Path) -> None:
    """Accuracy over instructions on the first processor, and over flash and RAM together."""
    first = PROCESSORS[0]
    panels: tuple[tuple[str, Callable[[Cost], float]], ...] = (
        (f"million instructions of an image, {first} (logarithmic)", lambda spent: spent.instructions[first] / 1e6),
        ("KB of flash and RAM (logarithmic)", lambda spent: (spent.flash + spent.ram) / 1000),
    )
    with figure(path, figsize=(11.0, 6.5), dpi=100, facecolor="white", layout="constrained") as made:
        names = []
        for axes, (label, of) in zip(made.subplots(1, 2, sharey=True), panels, strict=True):
            for group, colour in GROUPS.items():
                own = {c: (of(spent), s) for c, (s, spent) in found.items() if c.group == group}
                names.append((axes, _curve(axes, group, colour, own, images)))
            axes.set_xscale("log")
            axes.margins(x=0.16)
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("{x:g}")
            axes.tick_params(which="both", labelsize=8)
            axes.set_xlabel(label, color=INK)
            axes.grid(which="both", color=RULE, linewidth=0.6)
            axes.set_axisbelow(True)
        made.axes[0].set_ylabel("test images right (%)", color=INK)
        made.axes[1].legend(loc="lower right", frameon=False, fontsize=8)
        made.draw_without_rendering()  # so that the positions of points are known
        for axes in made.axes:
            _name(axes, [point for of, points in names if of is axes for point in points])


Point = tuple[str, float, float]


def _curve(
    axes: Any, group: str, colour: str, points: Mapping[Case, tuple[float, list[int]]], images: int
) -> list[Point]:
    """The networks of a group: means of the seeds, and from the least to the most."""
    own = sorted((at, [100 * n / images for n in scores], c.name) for c, (at, scores) in points.items())
    x, means = [at for at, _, _ in own], [statistics.mean(y) for _, y, _ in own]
    spread = [[m - min(y) for m, (_, y, _) in zip(means, own, strict=True)],
              [max(y) - m for m, (_, y, _) in zip(means, own, strict=True)]]  # fmt: skip
    axes.errorbar(x, means, spread, color=colour, marker="o", markersize=5, capsize=3, linewidth=1.2, label=group)
    return [(name, at, mean) for (_, _, name), at, mean in zip(own, x, means, strict=True)]


def _name(axes: Any, points: Sequence[Point]) -> None:
    """Write the name of each point where it covers the fewest points and names."""
    height, width = 10.0, 5.2  # of a name and of its characters, pixels
    places = [(8, -5), (-8, -5), (0, 9), (0, -19), (8, 9), (-8, 9), (8, -19), (-8, -19), (0, 22), (0, -32)]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in axes.transData.transform([(x, y) for _, x, y in points])]
    for (name, *at), (left, bottom, *_) in zip(points, list(taken), strict=True):
        boxes = []
        for dx, dy in places:
            begin = left + 4 + dx - (0.5 - 0.5 * np.sign(dx)) * width * len(name)
            boxes.append((begin, bottom + 4 + dy, begin + width * len(name), bottom + 4 + dy + height))
        best = min(range(len(boxes)), key=lambda i: sum(_overlap(boxes[i], other) for other in taken))
        taken.append(boxes[best])
        axes.annotate(
            name, at, (boxes[best][0] - left - 4, places[best][1]), textcoords="offset pixels", fontsize=7, color=SOFT
        )


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(wide, 0.0) * max(high, 0.0)


def main(arguments: Sequence[str] | None = None) -> int:
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(description="Accuracy against costs on microcontrollers, of small networks.")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--networks", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--dataset", choices=datasets.DATASETS, default="fashion-mnist")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--docs", type=Path, help="a page with a block 'bench: curves' to write the table into")
    parser.add_argument("--picture", type=Path, help="a PNG to draw")
    given = parser.parse_args(arguments)
    if given.seeds < 1:
        parser.error(f"--seeds: found {given.seeds}, expected at least 1")
    data = datasets.load(given.dataset)
    chosen = [case for case in CASES if case.name in given.networks]
    found = {case: measured(case, data, given.out, given.epochs, given.seeds) for case in chosen}
    images = len(data.test)
    print(rows(found, images))
    if given.docs:
        update(given.docs, {"curves": rows(found, images)})
    if given.picture:
        draw(found, images, given.picture)
    return 0


if __name__ == "__main__":
    threading = _tf.load()[0].config.threading
    threading.set_intra_op_parallelism_threads(1)
    threading.set_inter_op_parallelism_threads(1)
    sys.exit(main())
