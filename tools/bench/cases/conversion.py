# SPDX-License-Identifier: Apache-2.0
"""Convert trained networks to counters and compare every neuron with the quantized network, which Keras computes.

    python tools/benchmark.py conversion model.keras --levels 3,15,255
    python tools/benchmark.py conversion model.keras --levels 15 --simulator PATH/bin/python

Prints, for each number of levels, how many neurons differ (at rest, in every order of arrival; and staged), accuracies,
and after how many steps the class is first right and final.  ``--simulator``: a Python that has SpikingJelly, whose
ann2snn converts the same network; accuracy over steps is printed beside.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np

from bench.quantized import keras_values
from bench.relu_network import train
from bench.runner import Bench, Found, case, numbers
from bnn._types import Array
from bnn.importers import open_source, round_plainly
from bnn.ir.graph import Graph
from bnn.ir.ops import PoolAttrs, conv_attrs
from bnn.passes import lower
from bnn.runtime.summary import table
from bnn.snn import Run, SpikingModel
from bnn.snn.convert import ORDERS, Conversion, convert, spiking
from training import datasets

STEPS = (1, 2, 4, 8, 16, 32, 64, 128)


def differing(conversion: Conversion, model: SpikingModel, run: Run, expected: dict[str, Array], k: int) -> int:
    """Neurons of the model, at rest, that are not as expected of image k: levels, or the sums of the readout."""
    wrong, output = 0, conversion.populations[conversion.quantized.output.name]
    for layer, name in conversion.populations.items():
        found = run.scores if name == output else model.state(name, "level")
        wrong += int((found.reshape(-1) != expected[layer][k].reshape(-1)).sum())
    return wrong


def staged_differing(
    conversion: Conversion, model: SpikingModel, image: Array, expected: dict[str, Array], k: int
) -> int:
    """The same of a staged run: the spikes of every neuron; and those outside of its window, which may not be."""
    frames, windows = conversion.present(image), conversion.windows
    layers = {name: layer for layer, name in conversion.populations.items()}
    output = conversion.populations[conversion.quantized.output.name]
    counted: dict[str, Any] = {output: 0}
    inside, spikes, last = 0, 0, 0
    model.reset()
    for begin, end in sorted(set(windows.values())):
        assert begin == last, "windows follow each other"
        names = [name for name, window in windows.items() if window == (begin, end)]
        run = model.run(frames[begin:end], record=[output, *names], reset=False)
        spikes += sum(layer.spikes for layer in run.layers if layer.name in windows)
        for name in {output, *names}:
            counted[name] = counted.get(name, 0) + run.recorded[name].sum(axis=0, dtype=np.float64)
        inside += sum(int(counted[name].sum()) for name in names)
        last = end
    wrong = sum(
        int((counted[name].reshape(-1) != expected[layer][k].reshape(-1)).sum()) for name, layer in layers.items()
    )
    return wrong + abs(spikes - inside)


def measured(levels: int, options: SimpleNamespace, data: datasets.Dataset) -> dict[str, Any]:
    images, labels = data.test.images[: options.images], data.test.labels[: options.images]
    calibration = data.train.images[: options.calibration]
    conversion = convert(
        options.model, calibration, levels=levels, weights_bits=options.weights_bits, scale=options.scale,
        percentile=options.percentile,
    )  # fmt: skip
    quantized = conversion.quantized
    keras = keras_values(quantized, images)
    oracle = quantized.run(images)
    found: dict[str, Any] = {
        "levels": levels,
        "neurons": sum(int(np.prod(x.shape[1:])) for x in oracle.values()),
        "images": len(images),
        "oracle_differs": sum(int((oracle[name] != keras[name]).sum()) for name in oracle),
        "accuracy": float((oracle[quantized.output.name].reshape(len(images), -1).argmax(1) == labels).mean()),
        "agreement": quantized.agreement,
    }
    model = conversion.build()
    for order in ORDERS:
        wrong, right, final, steps, seconds = 0, [], [], 0, 0.0
        accuracy = np.zeros(max(STEPS))
        some = images if order in ("once", "bits") else images[: options.ordered]
        for k, image in enumerate(some):
            start = time.process_time()
            run = model.run(conversion.present(image, order))
            seconds += time.process_time() - start
            wrong += differing(conversion, model, run, keras, k)
            classes = run.output.reshape(run.steps, -1).cumsum(axis=0, dtype=np.float64).argmax(axis=1)
            hits = np.flatnonzero(classes == labels[k])
            right.append(hits[0] + 1 if len(hits) else np.inf)
            changes = np.flatnonzero(classes != classes[-1])
            final.append(changes[-1] + 2 if len(changes) else 1)
            steps = max(steps, run.steps)
            accuracy += (
                np.resize(np.append(classes, np.full(max(STEPS), classes[-1]))[: max(STEPS)], max(STEPS)) == labels[k]
            )
        found[order] = {
            "differ": wrong,
            "images": len(some),
            "steps": steps,
            "first_right": float(np.median(right)),
            "final": float(np.median(final)),
            "ms": 1e3 * seconds / len(some),
            "accuracy": {t: float(accuracy[t - 1] / len(some)) for t in STEPS},
        }
    staged = spiking(quantized, "staged")
    model = staged.build()
    wrong = sum(staged_differing(staged, model, image, keras, k) for k, image in enumerate(images))
    start = time.process_time()
    for image in images[: options.ordered]:
        model.run(staged.present(image))
    found["staged"] = {
        "differ": wrong,
        "images": len(images),
        "steps": staged.steps,
        "ms": 1e3 * (time.process_time() - start) / len(images[: options.ordered]),
    }
    return found


def chain(graph: Graph) -> list[tuple[str, Any, Any, list[int]]]:
    """The layers of a network that is a chain, for ann2snn.py."""
    found: list[tuple[str, Any, Any, list[int]]] = []
    for node in graph.nodes():
        a: Any = node.attrs
        if node.op == "conv2d":
            weights = node.inputs[1].value.transpose(0, 3, 1, 2)
            c = conv_attrs(node)
            found.append(("conv", weights, 0, [c.stride[0], *c.pads, c.groups]))
        elif node.op in ("add", "sub", "mul") and len(node.data) == 1:
            value = np.broadcast_to(node.inputs[1].value.reshape(-1), node.type.shape[-1:]).astype(np.float32)
            value = value.reshape(-1, 1, 1)
            one, zero = np.ones_like(value), np.zeros_like(value)
            a, b = {"add": (one, value), "sub": (one, -value), "mul": (value, zero)}[node.op]
            if found[-1][0] == "affine":
                _, before, shift, _ = found.pop()
                a, b = before * a, shift * a + b
            found.append(("affine", a, b, []))
        elif node.op == "clamp":
            found.append(("relu", 0, 0, []))
        elif isinstance(a, PoolAttrs):
            found.append((node.op.split("_")[0], 0, 0, [*a.kernel, *a.stride]))
        elif node.op not in ("input", "constant", "reshape", "softmax"):
            raise click.ClickException(f"layer '{node.name}': ann2snn.py has no {node.op}")
    return found


def simulated(simulator: str, options: SimpleNamespace, data: datasets.Dataset) -> dict[str, Any]:
    """ann2snn's accuracy over steps."""
    layers = chain(lower(open_source(options.model).graph(), until="fold_constants"))
    arrays: dict[str, Any] = {"steps": STEPS, "y": data.test.labels[: options.images]}
    for name, images in (("x", data.test.images[: options.images]), ("calibration", data.train.images[:500])):
        arrays[name] = np.moveaxis(images, -1, 1).astype(np.float32) / np.float32(options.scale)
    for i, (kind, a, b, sizes) in enumerate(layers):
        arrays |= {f"kind{i}": kind, f"a{i}": a, f"b{i}": b, f"numbers{i}": np.array(sizes, np.int64)}
    with tempfile.TemporaryDirectory() as folder:
        network, out = Path(folder, "network.npz"), Path(folder, "out.json")
        np.savez(network, **arrays)
        script = Path(__file__).parents[1] / "ann2snn.py"
        subprocess.run([simulator, str(script), str(network), str(out)], check=True, stdout=sys.stderr)
        return dict(json.loads(out.read_text()))


def text(found: list[dict[str, Any]], ann: dict[str, Any] | None) -> str:
    lines = []
    for r in found:
        lines.append(
            f"{r['levels']} levels: {r['images']} images of {r['neurons']:,} neurons; accuracy {r['accuracy']:.1%}; "
            f"NumPy and Keras differ in {r['oracle_differs']}; class as the model's: {r['agreement']:.1%}"
        )
        for order in (*ORDERS, "staged"):
            o = r[order]
            name = order if order == "staged" else f"take-back, {order}"
            line = f"  {name:20}  {o['images']} images: {o['differ']} differ  {o['steps']:4} steps  {o['ms']:8.2f} ms"
            if order != "staged":
                line += f"  first right after {o['first_right']:.0f} steps (median), final after {o['final']:.0f}"
            lines.append(line)
    rows = []
    for r in found:
        for order in ("bits", "brightest"):
            rows.append(
                (f"take-back, {r['levels']} levels, {order}", *(f"{r[order]['accuracy'][t]:.1%}" for t in STEPS))
            )
    for mode, accuracy in (ann or {}).items():
        if mode != "float":
            rows.append((f"ann2snn, {mode}", *(f"{accuracy[str(t)]:.1%}" for t in STEPS)))
    lines.append(table(["accuracy after steps", *map(str, STEPS)], rows, ["accuracy after steps"]))
    if ann:
        lines.append(f"the model itself, in torch: {ann['float']:.1%}")
    return "\n".join(lines)


@case()
@click.argument("model")
@click.option("--levels", default="3,15,255", show_default=True, callback=numbers)
@click.option("--weights-bits", type=int, default=8, show_default=True)
@click.option("--percentile", type=float, default=99.9, show_default=True)
@click.option("--images", type=click.IntRange(1), default=500, show_default=True)
@click.option("--ordered", type=click.IntRange(1), default=100, show_default=True, help="Images that arrive by pixels.")
@click.option("--calibration", type=click.IntRange(1), default=200, show_default=True, help="Images for the ranges.")
@click.option("--dataset", default="fashion-mnist", show_default=True)
@click.option("--scale", type=float, default=256.0, show_default=True, help="The model's input is image / scale.")
@click.option("--simulator", metavar="PYTHON", help="A Python with SpikingJelly.")
@click.option(
    "--train", "epochs", metavar="EPOCHS", type=click.IntRange(1), help="Make MODEL first: a small ReLU network."
)
def conversion(bench: Bench, levels: list[int], simulator: str | None, epochs: int | None, **options: Any) -> Found:
    round_plainly()
    chosen = SimpleNamespace(**options)
    if epochs:
        train(chosen.model, epochs)
    data = datasets.load(chosen.dataset)
    found = [measured(n, chosen, data) for n in levels]
    ann = simulated(simulator, chosen, data) if simulator else None
    bench.say(text(found, ann))
    wrong = any(r["oracle_differs"] or r["staged"]["differ"] or any(r[o]["differ"] for o in ORDERS) for r in found)
    return Found({"counters": found, "ann2snn": ann}, failed=wrong)
