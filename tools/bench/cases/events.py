# SPDX-License-Identifier: Apache-2.0
"""Measure the event-driven engine against the synchronous one, both in the same run and interleaved.

    python tools/benchmark.py events                    nanoseconds per event into 1,024 targets, break-even
    python tools/benchmark.py events --levels 16        the same for neurons of 16 levels, an event a level
    python tools/benchmark.py events --model net.bnn    a moving scene of Fashion-MNIST through a network too,
                                                        and when it is first right and final on single images

Prints medians.
"""

from __future__ import annotations

from typing import Any

import click
import numpy as np

import bnn
from bench.layers import sign
from bench.runner import Bench, Found, case
from bnn._types import Array
from bnn.events import ORDERS, EventEngine
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import Graph, Node
from bnn.passes import lower
from training import datasets

WIDTH = 1024
EVENTS = (1, 8, 32, 128, 256)
FRAMES = 100  # run one after another, by C
# A neuron of a trained network seldom stands at its threshold; here a few per cent of them do.
SPREAD = 300.0


def quantized(x: Node, levels: int) -> Node:
    """A sign; or one of ``levels`` values, as DoReFa's quantizer gives them."""
    if levels == 2:
        return sign(x)
    most = ops.constant(float(levels - 1))
    clipped = ops.make("clamp", x, attrs=ops.ClampAttrs(0.0, 1.0), name="levels")
    return ops.make(
        "div", ops.make("round", ops.make("mul", clipped, most, name="levels"), name="levels"), most, name="levels"
    )


def dense_network(rng: np.random.Generator, width: int = WIDTH, levels: int = 2) -> bnn.Model:
    """Bits or levels -> ``width`` neurons -> 10 sums, random weights."""

    def dense(x: Node, units: int) -> Node:
        weights = rng.choice([-1.0, 1.0], (units, 1, 1, x.type.shape[0]))
        return ops.make("conv2d", x, ops.constant(weights), attrs=ops.ConvAttrs(), name=f"dense_{units}")

    x = ops.input_node("bits", (width,))
    sums = dense(quantized(x, levels), width)
    hidden = ops.make("sub", sums, ops.constant(np.rint(rng.normal(0, SPREAD, width))), name="norm")
    if levels > 2:  # a sum is about as likely at one level as at the next
        hidden = ops.make("mul", hidden, ops.constant(np.full(width, 0.5 / SPREAD)), name="norm")
    return bnn.Model.from_bytes(encode(lower(Graph((x,), (dense(quantized(hidden, levels), 10),)))))


def bench_dense(rng: np.random.Generator, rounds: int, levels: int = 2) -> dict[str, Any]:
    """Per number of events at once: time to deliver them into 1,024 targets and fire, against the XNOR layer."""
    model = dense_network(rng, levels=levels)
    layer = next(op.index for op in model.ops if op.op == "bconv2d")
    engine = EventEngine(model)
    step = 2.0 ** -(levels - 1).bit_length()  # from below the middle to above it: one level
    bits = (rng.choice([-1.0, 1.0], WIDTH) * (1 if levels == 2 else step)).astype(np.float32)
    middle = np.float32(0.0 if levels == 2 else 0.5)
    times: dict[int, list[float]] = {n: [] for n in EVENTS}
    xnor: list[int] = []

    def time_events(n: int) -> list[float]:
        """For frames that each differ from the one before in ``n`` random inputs.  They run forth and back, and only
        the way back is timed, so that no event waits for weights that are not in the cache yet."""
        flips = np.ones((FRAMES, WIDTH), np.float32)
        for row in flips:
            row[rng.choice(WIDTH, n, replace=False)] = -1
        engine.reset((middle + bits)[None])
        engine.prepare(middle + bits)
        frames = middle + bits * np.cumprod(flips, axis=0)
        return list(engine.time_frames(np.concatenate([frames, frames[-2::-1]]))[FRAMES:] / n)

    for _ in range(rounds):
        for n in EVENTS:
            times[n] += time_events(n)
        xnor.append(model.profile(bits[None], repeats=3)[layer].nanoseconds)
    automatic = EventEngine(model, switch="auto")
    limit = next(x.limit for x in automatic.layers if x.kind in ("synapses", "sums"))
    return {
        "levels": levels,
        "kernels": model.kernels,
        "targets": WIDTH,
        "ns_per_event": {n: float(np.median(t)) for n, t in times.items()},
        "xnor_layer_ns": float(np.median(xnor)),
        "break_even_events": limit,
    }


def moving_scene(images: Array, frames: int) -> Array:
    """A strip of images passing by, one pixel a frame: (frames, H, W, C)."""
    gap = np.zeros_like(images[0][:, :8])
    strip = np.concatenate([part for image in images for part in (image, gap)], axis=1)
    columns = np.arange(images.shape[2])
    return np.stack([strip[:, (k + columns) % strip.shape[1]] for k in range(frames)])


def moving_object(image: Array, frames: int) -> Array:
    """A still background and one small object that crosses it, one pixel a frame: what a fixed camera sees."""
    size = image.shape[1]
    small = image[::3, ::3]
    video = np.repeat(image[None], frames, axis=0)
    for k in range(frames):
        columns = (np.arange(small.shape[1]) + k) % size
        patch = video[k, : small.shape[0], :]
        patch[:, columns] = np.maximum(patch[:, columns], small)
    return video


def bench_streams(model: bnn.Model, images: Array, frames: int) -> dict[str, Any]:
    scenes = {"strip passing by": moving_scene(images[:8], frames), "object crossing": moving_object(images[0], frames)}
    found: dict[str, Any] = {}
    for name, video in scenes.items():
        for switch in ("never", "auto"):
            run = EventEngine(model, switch=switch).run_stream(video)
            layers = [x for x in run.report.layers if x.kind == "encoder"]
            bits = sum(x.spikes for x in layers) / len(run.changed) / sum(x.neurons for x in layers)
            found[f"{name}, switch {switch}"] = {"text": str(run), "changed_bits": bits, **run.as_dict()}
    return found


def bench_images(model: bnn.Model, images: Array, labels: Array) -> dict[str, Any]:
    engine = EventEngine(model)
    found = {}
    for order in ORDERS:
        runs = [engine.run_image(x, order=order, label=int(y)) for x, y in zip(images, labels, strict=True)]
        right = [r for r in runs if r.answer == r.label]
        found[order] = {
            "images": len(runs),
            "right": len(right),
            "first_correct_share": float(np.median([r.share(r.first_correct) or 0.0 for r in right])),
            "final_share": float(np.median([r.share(r.final) or 0.0 for r in right])),
        }
    return found


@case(rounds=300, seed=0)
@click.option("--model", "path", metavar="NET.bnn", help="A network for images of the data set.")
@click.option("--dataset", type=click.Choice(sorted(datasets.DATASETS)), default="fashion-mnist", show_default=True)
@click.option("--frames", type=click.IntRange(1), default=200, show_default=True)
@click.option("--images", "count", type=click.IntRange(1), default=50, show_default=True)
@click.option("--levels", type=click.IntRange(2, 256), default=2, show_default=True, help="Of a neuron.")
def events(bench: Bench, path: str | None, dataset: str, frames: int, count: int, levels: int) -> Found:
    result: dict[str, Any] = {"dense": bench_dense(np.random.default_rng(bench.seed), bench.rounds, levels)}
    if path:
        data = datasets.load(dataset)
        model = bnn.load(path)
        images: Array = data.test.images[: max(count, 8)]
        if model.input_dtypes[0] != np.uint8:
            images = datasets.to_input(images, data.scale)
        result["streams"] = bench_streams(model, images, frames)
        result["images"] = bench_images(model, images[:count], data.test.labels[:count])
    dense = result["dense"]
    whole = dense["xnor_layer_ns"]
    bench.say(
        f"{WIDTH} -> {WIDTH} neurons of {dense['levels']} levels, one thread, kernels {dense['kernels']}; "
        f"the XNOR layer: {whole:.0f} ns"
    )
    for n, ns in dense["ns_per_event"].items():
        bench.say(f"  {n:4d} events at once: {ns:7.1f} ns per event = {ns / whole:.4f} of the XNOR layer")
    bench.say(f"  break-even: {dense['break_even_events']} events of {WIDTH}")
    for name, stream in result.get("streams", {}).items():
        bench.say(f"{name}: {stream['changed_bits']:.1%} of the encoder's bits change; {stream['text']}")
    for order, found in result.get("images", {}).items():
        bench.say(
            f"{order}: {found['right']} of {found['images']} right; of those, median share of events until first right "
            f"{found['first_correct_share']:.0%}, final {found['final_share']:.0%}"
        )
    return Found(result)
