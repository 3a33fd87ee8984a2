# SPDX-License-Identifier: Apache-2.0
"""Time networks of spiking neurons against the simulators that people use: processor time of one sample, one thread.

    python tools/benchmark.py snn                               784-400-10 at T = 20 and 100
    python tools/benchmark.py snn --cnn shared/cnn_sinabs.nir   and the convolutional network of the NIR paper

Needs PyTorch and the simulators: pip install -e '.[spiking]'; sinabs too, if it is there.  Each peer runs in
the fastest way that it offers on a CPU: weights applied to all steps at once where neurons allow it (SpikingJelly's
multiple steps; a linear layer before a loop over neurons in snnTorch and Norse), without gradients, at batch sizes 1
and 64.  Runs are interleaved; a row is the median, and its ratio to the engine's float32 row of the same network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from bench.runner import Bench, Found, case
from bnn.runtime.summary import table
from bnn.snn.calling import quiet, why_not
from bnn.snn.compiler import compile
from bnn.snn.exact_weights import quantize, with_int8_weights
from bnn.snn.model import SpikingModel, build
from bnn.snn.network import Network, Population, Projection
from bnn.snn.rules import RULES, Dynamics, Reset
from bnn.snn.torch_compile import from_torch
from bnn.verification.modules import import_file

SIZES = (784, 400, 10)
TAU = 2.0
Run = Callable[[], Any]


def weights(seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    shapes = zip(SIZES[:-1], SIZES[1:], strict=True)
    return [(rng.normal(0, 3 / np.sqrt(n), (n, m))).astype(np.float32) for n, m in shapes]


def dense(int8: bool) -> SpikingModel:
    """The network with SpikingJelly's LIF neurons (decay_input, hard reset)."""
    values = {"threshold": 1.0, "reset": 0.0, "initial": 0.0, "tau": TAU, "rest": 0.0}
    parameters = {name: np.array([v], np.float32) for name, v in values.items()}
    neurons = Dynamics(RULES["divide_all"], Reset.VALUE, at_least=True)
    populations = [Population("input", (SIZES[0],))]
    populations += [Population(f"lif{i}", (n,), neurons, dict(parameters)) for i, n in enumerate(SIZES[1:])]
    populations[-1].output = True
    projections = [Projection(i, i + 1, "dense", quantize(w.T).T if int8 else w) for i, w in enumerate(weights())]
    network = Network(populations, projections)
    return build(with_int8_weights(network) if int8 else network)


def spikingjelly_dense() -> Any:
    from spikingjelly.activation_based import layer, neuron
    from torch import nn

    parts: list[Any] = []
    for w in weights():
        linear = layer.Linear(*w.shape, bias=False, step_mode="m")
        linear.weight.data = _tensor(w.T)
        parts += [linear, neuron.LIFNode(tau=TAU, step_mode="m")]
    return nn.Sequential(*parts)


def looped(name: str) -> Any:
    """A network in which linear layers take all steps at once, and neurons one after the other."""
    import torch
    from torch import nn

    layers = []
    for w in weights():
        linear = nn.Linear(*w.shape, bias=False)
        linear.weight.data = _tensor(w.T)
        if name == "snntorch":
            import snntorch

            layers.append((linear, snntorch.Leaky(beta=1 - 1 / TAU, reset_mechanism="zero", reset_delay=False)))
        else:
            from norse.torch import LIFBoxCell, LIFBoxParameters

            p = LIFBoxParameters(tau_mem_inv=torch.tensor(1 / TAU))
            layers.append((linear, LIFBoxCell(p=p, dt=1.0)))

    def run(x: Any) -> Any:
        for linear, cell in layers:
            currents, state, sent = linear(x), None, []
            for step in currents:
                spikes, state = cell(step) if state is None else cell(step, state)
                sent.append(spikes)
            x = torch.stack(sent)
        return x

    return run


def _tensor(values: Any) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def peers_dense(x: Any) -> dict[str, Run]:
    """``x``: (T, N, 784)."""
    found: dict[str, Run] = {}
    data = _tensor(x)
    if not why_not("spikingjelly"):
        from spikingjelly.activation_based import functional

        net = spikingjelly_dense()

        def spikingjelly() -> Any:
            functional.reset_net(net)
            return net(data)

        found["SpikingJelly"] = spikingjelly
    for name, title in (("snntorch", "snnTorch"), ("norse", "Norse")):
        if not why_not(name):
            run = looped(name)
            found[title] = partial(run, data)
    return found


def direct() -> Any:
    """SpikingJelly's network as its tutorials write them, for an image that is shown in every step (direct coding)."""
    import torch
    from spikingjelly.activation_based import functional, layer, neuron
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Conv2d(1, 16, 3, padding=1, bias=False), neuron.LIFNode(tau=TAU),
        layer.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), neuron.LIFNode(tau=TAU),
        layer.Flatten(), layer.Linear(32 * 14 * 14, 10, bias=False), neuron.LIFNode(tau=TAU),
    )  # fmt: skip
    with torch.no_grad():
        for part, factor in ((net[0], 3), (net[2], 3), (net[5], 60)):  # so that every layer fires
            part.weight *= factor
    functional.set_step_mode(net, "m")
    return net


def peers_direct(net: Any, x: Any) -> dict[str, Run]:
    """``x``: (T, N, 1, 28, 28)."""
    from spikingjelly.activation_based import functional

    data = _tensor(x)

    def spikingjelly() -> Any:
        functional.reset_net(net)
        return net(data)

    return {"SpikingJelly": spikingjelly}


def peers_cnn(path: Path, x: Any) -> dict[str, Run]:
    """``x``: (T, N, C, H, W)."""
    import torch

    found: dict[str, Run] = {}
    data = _tensor(x)
    if not why_not("spikingjelly"):
        from spikingjelly.activation_based import layer
        from spikingjelly.activation_based.nir_exchange import import_from_nir

        with quiet():
            net = import_from_nir(str(path), dt=1.0, step_mode="m")
        for name, part in list(net.named_children()):
            if isinstance(part, torch.nn.LPPool2d):  # all steps as one batch, as its own layers do
                setattr(net, name, layer.SeqToANNContainer(part))
        found["SpikingJelly"] = lambda: net(data)
    if not why_not("norse") and x.shape[1] == 1:  # its graph has a Flatten that also flattens the batch
        module = import_file("norse", path)

        def norse() -> None:
            state = None
            for step in data:
                _, state = module(step, state)

        found["Norse"] = norse
    if not why_not("sinabs"):
        from nir import read
        from sinabs.nir import from_nir

        with quiet():
            layers = from_nir(read(path, type_check=False), batch_size=x.shape[1])
        flat = torch.swapaxes(data, 0, 1).reshape(-1, *data.shape[2:]).contiguous()

        def sinabs() -> None:
            for part in layers.modules():
                if hasattr(part, "reset_states"):
                    part.reset_states()
            layers(flat)

        found["sinabs"] = sinabs
    return found


def engine_alone(model: SpikingModel, x: Any) -> Run:
    """The call into C without what Python does before and after: spikes are packed, and nothing is recorded."""
    frames, steps = model._given(x)

    def run() -> None:
        model._state.reset()
        model._state.run(frames, steps)

    return run


def medians(bench: Bench, runs: dict[str, Run]) -> dict[str, float]:
    """Milliseconds.  A turn begins with a run that is not timed: a network that runs one sample after another finds its
    weights in the cache, and not another simulator's."""
    timings = bench.measure(list(runs.values()), warm=True)
    return {name: t.median / 1e3 for name, t in zip(runs, timings, strict=True)}


def compare(
    bench: Bench, title: str, models: dict[str, SpikingModel], peers: Callable[[Any], dict[str, Run]], x: Any
) -> dict[str, Any]:
    """``x``: (T, N, ...).  Milliseconds per sample at batch 1 and at the large batch."""
    one = np.ascontiguousarray(x[:, 0])
    ours: dict[str, Run] = {name: partial(m.run, one) for name, m in models.items()}
    ours |= {f"{name}, C": engine_alone(m, one) for name, m in models.items()}
    small = medians(bench, {**ours, **peers(x[:, :1])})
    many: dict[str, Run] = {name: partial(m.run, x) for name, m in models.items()}
    large = medians(replace(bench, rounds=max(bench.rounds // 5, 3)), {**many, **peers(x)})
    rows = {name: (ms, large[name] / x.shape[1] if name in large else ms) for name, ms in small.items()}
    run, base = next(iter(models.values())).run(one), rows["bnn float32"][0]
    bench.say(f"{title}: {run.synops:,} synaptic operations, {run.spikes:,} spikes a sample")
    cells = [[name, *(c for ms in row for c in (f"{ms:.3f} ms", f"{ms / base:.1f}x"))] for name, row in rows.items()]
    bench.say(table(["", "batch 1", "times", "batch", "times "], cells, [""]) + "\n")
    return {"network": title, "synops": run.synops, "spikes": run.spikes, "ms": rows}


@case(rounds=30, slice_ms=0.01, clock="cpu")
@click.option("--cnn", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE.nir",
              help="The NIR paper's convolutional network.")  # fmt: skip
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True)
def snn(bench: Bench, cnn: Path | None, batch: int) -> Found:
    import torch

    torch.set_num_threads(1)
    rng = np.random.default_rng(1)
    found = []
    with torch.no_grad():
        for steps, rate in ((20, 0.02), (100, 0.05), (100, 0.1), (100, 1.0)):
            x = (rng.random((steps, batch, SIZES[0])) < rate).astype(np.float32)
            models = {"bnn float32": dense(False), "bnn int8": dense(True)}
            found.append(compare(bench, f"784-400-10, T = {steps}, {rate:.0%} spikes", models, peers_dense, x))
        if not why_not("spikingjelly"):
            net, image = direct(), rng.random((1, batch, 1, 28, 28), np.float32)
            x = np.repeat(image, 32, axis=0)
            models = {"bnn float32": from_torch(net, x[:, :1], simulator="spikingjelly", inputs="values")}
            found.append(compare(bench, "28x28 image, T = 32, direct coding", models, partial(peers_direct, net), x))
        if cnn is not None:
            models = {
                f"bnn {w}": compile(cnn, simulator="spikingjelly", dt=1.0, weights=w) for w in ("float32", "int8")
            }
            few = replace(bench, rounds=max(bench.rounds // 5, 3))
            for rate in (0.05, 1.0):
                x = (rng.random((100, min(batch, 16), 2, 34, 34)) < rate).astype(np.float32)
                title = f"the NIR paper's CNN, T = 100, {rate:.0%} spikes"
                found.append(compare(few, title, models, lambda v: peers_cnn(cnn, v), x))
    return Found({"networks": found})
