# SPDX-License-Identifier: Apache-2.0
"""Compile every network of larq_zoo and compare it with TensorFlow.

    python tools/zoo.py                              a table
    python tools/zoo.py --network QuickNet --json
    python tools/zoo.py --write docs/explanation/zoo.md          puts the table between the marks of that file

Weights are random, batch norms as after training.  Agreement: every layer of bits is fed Keras' own input and must give
Keras' output exactly; end to end a bit may differ only where a float pre-activation lies within rounding of its
threshold.  Times are medians of one image on one thread, with the contestants in turn.  Needs larq-zoo; Larq Compute
Engine is compared if it is installed.
"""

from __future__ import annotations

import collections
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

import bnn
from bench import MissingError, document, networks, peers
from bench.networks import ZOO
from bench.timing import measure
from bnn.importers.tensorflow.load import freeze
from bnn.verification.synchronous import verify
from training import _tf
from training.console import progress, table


@dataclass
class Result:
    """One network.

    ``ops``: the number of ops of each kind.  ``binary_layers``: how many run as bits among the ``larq_binary_layers``
    that Larq's own summary counts as 1-bit; ``missing``: the others.  ``seconds``: to compile, without tracing.
    ``values_checked``: bits, accumulators and floats of layers whose Keras sums are exact, fed Keras' own input;
    ``scaled_layers``: layers with a weight scale that give floats, whose sums Keras rounds, and ``scaled_difference``,
    their largest difference.  ``milliseconds``: medians of one image, by engine.
    """

    network: str
    ops: dict[str, int]
    binary_layers: int
    larq_binary_layers: int
    missing: list[str]
    bytes: int
    seconds: float
    images: int
    classes_different: int
    values_checked: int
    values_different: int
    scaled_layers: int
    scaled_difference: float
    images_with_different_bits: int
    first_differences: int
    beyond_rounding: int
    largest_distance: float
    largest_output_difference: float
    largest_output: float
    ok: bool
    milliseconds: dict[str, float] = field(default_factory=dict)
    not_compared: dict[str, str] = field(default_factory=dict)


def run(name: str, count: int, rounds: int, peer_names: Sequence[str], seed: int) -> Result:
    """Compile one network, compare it, time it (``rounds`` 0: do not)."""
    keras_model = networks.like_trained(name, seed)
    frozen = freeze(keras_model)
    begin = time.perf_counter()
    model = bnn.Model.from_bytes(bnn.compile(frozen).to_bytes())  # within the default limits
    seconds = time.perf_counter() - begin
    x = networks.images(count, seed + 2)
    report = verify(frozen, model, x, batch_size=min(count, 4))
    expected = np.asarray(keras_model(x, training=False))
    bits = {op.layer for op in model.ops if op.op == "bconv2d"}
    wanted = larq_binary_layers(keras_model)
    checks = [c for c in report.layers if c.binary and c.exact]
    scaled = [c for c in report.layers if not c.exact and c.op in ("bconv2d", "affine") and c.kind == "floats"]
    end = report.end_to_end
    result = Result(
        network=name,
        ops=dict(sorted(collections.Counter(op.op for op in model.ops).items())),
        binary_layers=len(bits),
        larq_binary_layers=len(wanted),
        missing=sorted(wanted - bits),
        bytes=model.nbytes,
        seconds=seconds,
        images=count,
        classes_different=int(np.count_nonzero(expected.argmax(axis=1) != model(x).argmax(axis=1))),
        values_checked=sum(c.compared for c in checks),
        values_different=sum(c.different for c in checks),
        scaled_layers=len(scaled),
        scaled_difference=max((c.largest for c in scaled), default=0.0),
        images_with_different_bits=end.images_with_different_bits,
        first_differences=end.first_differences,
        beyond_rounding=end.beyond_rounding,
        largest_distance=end.largest_distance,
        largest_output_difference=end.largest_output_difference,
        largest_output=float(expected.max()),
        ok=report.ok,
    )
    if rounds:
        contestants, result.not_compared = peers.gather(keras_model, x[:1], tuple(peer_names))
        contestants = [peers.compiled(model, x[:1], 1), *(c for c in contestants if c.setting != "default")]
        times = measure([c.run for c in contestants], rounds, 20.0, "wall")
        names = {"tf.function": "TensorFlow graph", "Keras eager": "TensorFlow eager"}
        labels = [names.get(c.setting, c.engine) for c in contestants]
        result.milliseconds = {label: t.median / 1e3 for label, t in zip(labels, times, strict=True)}
    return result


def larq_binary_layers(model: Any) -> set[str]:
    """Layers whose multiply-accumulates Larq's summary counts as 1-bit."""
    import larq

    profiles = larq.models.ModelProfile(model).layer_profiles
    return {p.name for p in profiles if (p.op_count("mac", 1) or 0) > 0}


_COLUMNS = (
    "network", "layers of bits", "file MB", "compiled in s", "classes differ", "binary values differ",
    "scaled layers differ by", "images, bits within rounding", "beyond rounding", "output differs by",
)  # fmt: skip


def rows(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    engines = list(dict.fromkeys(e for r in results for e in r.milliseconds))
    lines = []
    for r in results:
        own = [
            r.network,
            f"{r.binary_layers} ({r.larq_binary_layers})",
            f"{r.bytes / 1e6:.2f}",
            f"{r.seconds:.1f}",
            f"{r.classes_different} of {r.images}",
            f"{r.values_different} of {r.values_checked:,}" if r.values_checked else "-",
            f"{r.scaled_difference:.1e} ({r.scaled_layers})" if r.scaled_layers else "-",
            f"{r.images_with_different_bits}, {r.first_differences}",
            str(r.beyond_rounding),
            f"{r.largest_output_difference:.1e}",
        ]
        for engine in engines:
            ms = r.milliseconds.get(engine)
            times = f" ({ms / r.milliseconds['bnn']:.1f}x)" if ms and engine != "bnn" else ""
            own.append(f"{ms:.1f}{times}" if ms else "-")
        lines.append(own)
    return [*_COLUMNS, *(f"{e}, ms" for e in engines)], lines


def markdown(results: Sequence[Result]) -> str:
    """The table, the ops of each network, and where it was made."""
    header, body = rows(results)
    ops = [[r.network, ", ".join(f"{n} {op}" for op, n in r.ops.items())] for r in results]
    lines = [document.table(header, body), "", document.table(["network", "ops in the file"], ops, numbers=False)]
    missing = [f"{r.network} with {name}: {why}" for r in results for name, why in r.not_compared.items()]
    if missing:
        lines += ["", "Not compared: " + "; ".join(missing) + "."]
    tf, _, larq = _tf.load()
    versions = f"TensorFlow {tf.__version__}, Larq {larq.__version__}, Python {platform.python_version()}"
    return "\n".join([*lines, "", f"{document.processor()}; {versions}."])


@click.command(help=__doc__.splitlines()[0] if __doc__ else "")
@click.option("--network", "names", multiple=True, type=click.Choice(list(ZOO)), help="Only these; all by default.")
@click.option("--images", "count", default=4, show_default=True, help="Images to compare on.")
@click.option("--rounds", default=7, show_default=True, help="Turns of each contestant; 0: no times.")
@click.option("--peer", "peer_names", multiple=True, default=("tensorflow", "lce"), type=click.Choice([*peers.PEERS]))
@click.option("--seed", default=0, show_default=True, help="Seed of the weights and the images.")
@click.option("--write", "path", type=click.Path(path_type=Path, exists=True), help="Write the table into this file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def main(
    names: tuple[str, ...],
    count: int,
    rounds: int,
    peer_names: tuple[str, ...],
    seed: int,
    path: Path | None,
    as_json: bool,
) -> None:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    results = []
    try:
        peers.one_thread()
        with progress() as bar:
            task = bar.add_task("larq_zoo", total=len(names or ZOO))
            for name in names or ZOO:
                bar.update(task, description=name)
                results.append(run(name, count, rounds, peer_names, seed))
                bar.advance(task)
    except (MissingError, bnn.BnnError) as error:
        print(f"zoo: {error}", file=sys.stderr)
        sys.exit(2)
    if path is not None:
        document.update(path, {"zoo": markdown(results)}, "generated")
    if as_json:
        print(json.dumps({"processor": document.processor(), "networks": [asdict(r) for r in results]}, indent=1))
    else:
        table("larq_zoo", *rows(results))
    sys.exit(0 if all(r.ok and not r.missing for r in results) else 1)


if __name__ == "__main__":
    main()
