# SPDX-License-Identifier: Apache-2.0
"""Time whole networks against TensorFlow, Larq Compute Engine, ONNX Runtime, OpenVINO and the register-loop rate.

    python tools/benchmark.py models
    python tools/benchmark.py models --network all --no-peers --profile
    python tools/benchmark.py models --network QuickNet --network BiRealNet --scaling --json
    python tools/benchmark.py models --network layers --peer onnxruntime

Everything has one thread and takes turns in one process; medians are compared, and +- is half the distance of the
quartiles.  The register-loop rate is that of multiply-accumulates in loops that never leave the registers, measured in
the same run: binary ones by xor, popcount and add; float ones by fused multiply-add.  Cold caches: 256 MB of other
memory were written before the call.  Peers that are not installed are named on stderr and left out; exit status 1: a
peer or network that was asked for by name could not be timed.
"""

from __future__ import annotations

import collections
import functools
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from click.core import ParameterSource

import bnn
from bench import MissingError, document, limits, networks, peers, small
from bench.document import OpTime, Result, Row, processor
from bench.runner import Bench, Found, case
from bench.timing import Contestant, Timing, cold
from bnn.runtime import Model, available_kernels
from training.console import progress, table

_DEFAULT = ("digits", "fashion", "QuickNet", "BiRealNet")
_BATCH = 16
_PEAK_ROUNDS = 200_000  # of a peak's loop in one call: under a millisecond


def measured(
    bench: Bench, name: str, peaks: Sequence[limits.Peak], peer_names: Sequence[str], scaling: bool, profile: bool,
    advance: Callable[[int], None],
) -> Result:  # fmt: skip
    """Everything about one network, in one measurement."""
    keras_model = networks.build(name, bench.seed)
    model = bnn.compile(keras_model)
    macs = [sum(getattr(op, kind) for op in model.ops) for kind in ("binary_macs", "float_macs")]
    result = Result(name, macs[0], macs[1], model.nbytes, model.arena_bytes, len(model.ops))
    x = np.random.default_rng(bench.seed).normal(size=(_BATCH, *model.input_shapes[0])).astype(np.float32)
    contestants = [peers.compiled(model, x[:1], 1)]
    if "avx2" in available_kernels() and model.kernels != "avx2":
        other = Model.from_bytes(model.to_bytes(), kernels="avx2")
        contestants.append(peers.compiled(other, x[:1], 1, "bnn, AVX2"))
    if scaling:
        contestants += [peers.compiled(model, images, n) for images, n in ((x[:1], 2), (x, 1), (x, 2))]
    found, result.missing = peers.gather(keras_model, x[:1], tuple(peer_names))
    contestants += found
    runs = [c.run for c in contestants] + [partial(peak.run, _PEAK_ROUNDS) for peak in peaks]
    timings = bench.measure(runs, advance)
    result.rows = _rows(contestants, timings)
    result.rows.append(_cold(contestants[0], bench))
    if peaks:
        result.register_loop_us = _register_loop(macs, peaks, timings[len(contestants) :])
        result.share = result.register_loop_us / timings[0].median
    if profile:
        result.profile = _profile(model, x[:1], bench.rounds)
    return result


def _cold(ours: Contestant, bench: Bench) -> Row:
    """``times_bnn``: of a later call, whose caches are warm."""
    first, second = cold(ours.run, max(bench.rounds, 3), bench.clock)
    return Row("bnn, cold caches", ours.setting, 1, 1, first, first.median / second.median)


def _rows(contestants: Sequence[Contestant], timings: Sequence[Timing]) -> list[Row]:
    base = {
        c.images: t.median for c, t in zip(contestants, timings, strict=False) if c.engine == "bnn" and c.threads == 1
    }
    return [
        Row(c.engine, c.setting, c.images, c.threads, t, t.median / base[c.images])
        for c, t in zip(contestants, timings, strict=False)
    ]


def _register_loop(macs: Sequence[int], peaks: Sequence[limits.Peak], timings: Sequence[Timing]) -> float:
    """Microseconds of the multiply-accumulates at the fastest rate of their kind."""
    total = 0.0
    for kind, count in zip(("bits", "f32"), macs, strict=True):
        rates = [
            peak.run(_PEAK_ROUNDS) / timing.median
            for peak, timing in zip(peaks, timings, strict=True)
            if peak.kind == kind
        ]
        total += count / max(rates)
    return total


def _profile(model: Model, x: Any, rounds: int) -> list[OpTime]:
    times: dict[tuple[str, str], float] = collections.defaultdict(float)
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    for record in model.profile(x, repeats=max(rounds, 3)):
        key = (record.op, record.kind)
        times[key] += record.nanoseconds / 1e3
        counts[key] += 1
    total = sum(times.values())
    order = sorted(times, key=lambda key: -times[key])
    return [OpTime(*key, counts[key], times[key], times[key] / total) for key in order]


def small_things(bench: Bench) -> dict[str, float]:
    """What users feel: see bench/small.py."""
    digits = bnn.compile(networks.build("digits", bench.seed))
    called, direct = small.call_us(digits, bench.rounds, bench.slice_ms)
    found = {
        "import_ms": small.import_ms(bench.rounds),
        "digits_call_us": called,
        "digits_c_us": direct,
        "digits_added_us": called - direct,
    }
    try:
        large = bnn.compile(networks.build("QuickNet", bench.seed))
    except MissingError:
        return found
    return {**found, "open_bytes": large.nbytes, "open_ms": small.open_ms(large, bench.rounds)}


def show(result: Result) -> None:
    macs = f"{result.binary_macs / 1e6:,.1f} M binary and {result.float_macs / 1e6:,.1f} M float MACs"
    rows = []
    for row in result.rows:
        cells = (f"{row.images}", f"{row.threads}", f"{row.us.median:,.1f}", f"{row.us.spread:.1%}")
        rows.append([row.engine, row.setting, *cells, f"{row.times_bnn:.2f}"])
    header = ["engine", "setting", "images", "threads", "us", "+-", "x bnn"]
    table(f"{result.network}: {macs}", header, rows, texts=2)
    if result.register_loop_us:
        print(f"  at the register-loop rate {result.register_loop_us:,.1f} us, {result.share:.1%} of bnn's time")
    for name, why in result.missing.items():
        print(f"  without {name}: {why}")
    for op in result.profile:
        print(f"  {op.op:<12} {op.kind:<6} {op.count:>4} ops {op.us:>9.1f} us {op.share:>6.1%}")


def blocks(bench: Bench, results: Sequence[Result], felt: dict[str, float], without: dict[str, str]) -> dict[str, str]:
    """The document's blocks for which something was measured; ``without``: the peers that ran no network, and why."""
    made = f"{processor()}, kernels and compiler as built; {bench.clock} clock; medians of {bench.rounds} turns."
    found = {"machine": made}
    layers = [r for r in results if r.network in networks.LAYERS]
    if layers:
        found["layers"] = document.models(layers)
    if any(r.network in networks.FLOAT for r in results):  # a table of its own, which no other network shares
        return {**found, "instead": document.instead(results)}
    results = [r for r in results if r.network in networks.NETWORKS]
    if not results:
        return found
    found |= {"models": document.models(results), "missing": document.missing(results, without)}
    if any(r.profile for r in results):
        found["profile"] = document.profiles(results)
    if any(row.threads > 1 for r in results for row in r.rows):
        found["scaling"] = document.scaling(results)
    if felt:
        found["small"] = document.small(felt)
    return found


@case(rounds=15, slice_ms=30.0, clock="wall", seed=0, cc="cc", docs=None)
@click.option("--network", "names", multiple=True, default=_DEFAULT, show_default=True,
              type=click.Choice([*networks.NAMES, "all", "layers", "instead"]),
              help="Repeat it for several; all: every binary network; layers: every chain of layers; "
              "instead: QuickNet, and float networks that one would use instead.")  # fmt: skip
@click.option("--peer", "peer_names", multiple=True, type=click.Choice(list(peers.PEERS)), default=tuple(peers.PEERS),
              show_default=True, help="Repeat it for several.")  # fmt: skip
@click.option("--no-peers", is_flag=True, help="Time bnn alone.")
@click.option("--scaling", is_flag=True, help=f"Time two threads and batches of {_BATCH}, too.")
@click.option("--profile", is_flag=True, help="Say where the time goes, by type of op.")
@click.option("--small", is_flag=True, help="Time importing, opening and calling, too.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the profiles as a PNG here.")
def models(
    bench: Bench, names: tuple[str, ...], peer_names: tuple[str, ...], no_peers: bool, scaling: bool, profile: bool,
    small: bool, plot: Path | None,
) -> Found:  # fmt: skip
    if scaling and bench.clock != "wall":
        raise click.UsageError("--scaling needs --clock wall: processor time does not shrink with more threads")
    if scaling and (os.cpu_count() or 1) < 2:
        raise click.UsageError("--scaling needs two processor cores")
    by_name = click.get_current_context().get_parameter_source
    peer_names = () if no_peers else peer_names
    absent = peers.absent(peer_names)
    if absent and by_name("peer_names") is ParameterSource.COMMANDLINE:
        raise click.ClickException("; ".join(f"{name}: {why}" for name, why in absent.items()))
    peer_names = tuple(name for name in peer_names if name not in absent)
    profile = profile or plot is not None
    peers.one_thread()
    groups = {"all": networks.NETWORKS, "layers": networks.LAYERS, "instead": ("QuickNet", *networks.FLOAT)}
    members = list(dict.fromkeys(member for name in names for member in groups.get(name, (name,))))
    results: list[Result] = []
    without = dict(absent)
    left_out: list[str] = []
    with tempfile.TemporaryDirectory() as folder, progress() as bar:
        try:
            peaks = [peak for peak in limits.load(Path(folder), bench.cc) if peak.kind in ("bits", "f32")]
        except MissingError as error:
            peaks, without["register-loop rate"] = [], str(error)
        for name in members:
            task = bar.add_task(name, total=bench.rounds)
            try:
                advance = functools.partial(bar.advance, task)
                results.append(measured(bench, name, peaks, peer_names, scaling, profile, advance))
            except MissingError as error:
                without[name] = str(error)
                left_out.append(name)
            bar.remove_task(task)
            if not bench.as_json and results and results[-1].network == name:
                show(results[-1])
    felt = small_things(bench) if small else {}
    if plot is not None and results:
        from bench import plots

        plot.parent.mkdir(parents=True, exist_ok=True)
        plots.profiles(results, plot)
    for name, value in felt.items():
        bench.say(f"  {name:<18} {value:>12,.2f}")
    for name, why in without.items():
        click.echo(f"without {name}: {why}", err=True)
    asked = {parameter for parameter in ("names", "peer_names") if by_name(parameter) is ParameterSource.COMMANDLINE}
    idle = any(all(peer in result.missing for result in results) for peer in peer_names)
    failed = not results or ("names" in asked and bool(left_out)) or ("peer_names" in asked and idle)
    data = {"networks": results, "small": felt, "without": without}
    return Found(data, blocks(bench, results, felt, absent) if results else {}, failed)
