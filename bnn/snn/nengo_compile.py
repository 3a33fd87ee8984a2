# SPDX-License-Identifier: Apache-2.0
"""From a Nengo network to a network that runs: ``bnn.snn.from_nengo``."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .._arguments import check_count, check_number
from .._types import Array, Floats
from ..errors import CompileError, InputError, InputTypeError, SetupError
from .calling import why_not
from .compare import differing, first_of, run_engine, settled
from .exact_weights import with_int8_weights
from .file import encode
from .handle import State
from .model import SpikingModel, build
from .nengo_network import NengoReader
from .network import Network, Population, Projection
from .rounding_risk import Risk, find_risk
from .rules import Emits


def from_nengo(network: Any, *, dt: float = 0.001, steps: int = 100, kernels: str | None = None) -> SpikingModel:
    """Compile a Nengo network of LIF and SpikingRectifiedLinear neurons: it sends what the network's probes show.

    Nengo builds the network, so decoders, and with them functions on connections, are those that it solves for.  Nodes
    of a function of time, of a process or of an array become inputs of real values: the model is given what they send.
    Then Nengo runs, and every decision of every ensemble must be its, unless rounding can turn it: Nengo computes in
    float64, here float32 is used (``nengo.rc`` may say float32 there, too).

    Args:
        network: a ``nengo.Network`` with a seed: otherwise Nengo would build another one each time.
        dt: seconds of a step, as of ``nengo.Simulator``.
        steps: how many steps are compared.

    Returns:
        The model.  Neurons send how often they fire; a spike is ``amplitude / dt`` in Nengo.  Other probes send their
        values.  ``warnings`` keeps what was warned of.

    Raises:
        CompileError, UnsupportedOpError: names the ensemble, node, connection or probe, and the reason; or the network
            differs from Nengo's.
        InputError, InputTypeError: an argument is wrong.
        SetupError: Nengo is not installed.
    """
    if not check_number(dt, "dt") > 0:
        raise InputError(f"dt: found {dt!r}, expected a positive number of seconds")
    check_count(steps, "steps")
    if reason := why_not("nengo", ()):
        raise SetupError(f"Nengo: {reason}")
    with _built(network, dt) as simulator:
        reader = NengoReader(network, simulator)
        made = reader.read()
        model = build(with_int8_weights(made), kernels=kernels)
        found = (*reader.warnings, *_prove(reader, simulator, made, steps))
    model.warnings += found
    for text in found:
        warnings.warn(text, stacklevel=2)
    return model


def _built(network: Any, dt: float) -> Any:
    """A ``nengo.Simulator`` of the network."""
    import nengo

    if not isinstance(network, nengo.Network):
        raise InputTypeError(f"network: found {type(network).__name__}, expected a nengo.Network")
    if network.seed is None:
        raise CompileError("network: found no seed: Nengo would draw other encoders and decoders each time; give "
                           "nengo.Network(seed=...)")  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of how fast Nengo runs
            return nengo.Simulator(network, dt=dt, progress_bar=False)
    except (nengo.exceptions.NengoException, ValueError, NotImplementedError) as error:
        raise CompileError(f"network: Nengo does not build it: {error}") from None


def run_nengo(
    reader: NengoReader, simulator: Any, steps: int
) -> tuple[list[Floats], dict[str, Array], dict[str, Floats]]:
    """Steps of Nengo: what each input sent, (T, n); by population, the currents, in the type that Nengo computes in and
    scaled as here, and the numbers of spikes."""
    sig, ensembles, nodes = simulator.model.sig, reader.ensembles, reader.inputs
    sent: list[list[Array]] = [[] for _ in nodes]
    currents: dict[str, list[Array]] = {name: [] for name in ensembles}
    spikes: dict[str, list[Array]] = {name: [] for name in ensembles}
    for _ in range(steps):
        simulator.step()
        for rows, node in zip(sent, nodes, strict=True):
            rows.append(simulator.signals[sig[node]["out"]].copy())
        for name, (ensemble, scale, factor) in ensembles.items():
            both = sig[ensemble.neurons]
            currents[name].append(simulator.signals[both["in"]] * scale)
            spikes[name].append(np.rint(simulator.signals[both["out"]] / factor))
    inputs = [np.array(rows, np.float32) for rows in sent]
    return (
        inputs,
        {k: np.array(v) for k, v in currents.items()},
        {k: np.array(v, np.float32) for k, v in spikes.items()},
    )


def alone(population: Population) -> Network:
    """One that feeds a population with its currents, which are real values and hold its bias."""
    n = population.size
    fed = Population(population.name, (n,), population.dynamics, population.parameters, output=True)
    given = Population(f"{population.name}.given", (n,), input_emits=Emits.VALUES)
    return Network([given, fed], [Projection(0, 1, "diagonal", np.ones(1, np.float32))])


def _prove(reader: NengoReader, simulator: Any, network: Network, steps: int) -> list[str]:
    """Raise CompileError unless the network's neurons decide as Nengo's, except where rounding can turn it.  Returns a
    warning of ensembles that never fired."""
    inputs, currents, spikes = run_nengo(reader, simulator, steps)
    opened = SpikingModel.from_bytes(encode(network))._opened
    state = State(opened)
    for i, population in enumerate(network.populations):
        if population.name not in spikes:
            continue
        given = currents[population.name].astype(np.float32)
        wrong = settled(state, population, i, given) != spikes[population.name]
        if wrong.any():
            wrong &= ~np.maximum.accumulate(find_risk(alone(population), [given]).at_risk[1], axis=0)
        if wrong.any():
            step, neuron = np.argwhere(wrong)[0]
            raise CompileError(
                f"'{population.name}': found {wrong.sum():,} of {wrong.size:,} decisions that are not its rule's, "
                f"first of neuron {neuron} in step {step}, and rounding does not explain it: its neurons were changed; "
                "use Nengo's own"
            )
    ours = run_engine(opened, inputs)
    if any(rows.any() for rows in differing(network, ours, Risk([], {}), spikes).values()):
        risk = find_risk(network, inputs)
        first, explained = first_of(network, risk, differing(network, ours, risk, spikes), 0)
        if first and not explained:
            raise CompileError(f"network: found that it differs from Nengo's, first in step {first[1]}, '{first[2]}', "
                               f"neuron {first[3]}, and rounding does not explain it: something that is not read "
                               "changes it; leave it out")  # fmt: skip
    silent = [name for name, rows in spikes.items() if not rows.any()]
    return [f"network: nothing fired in {', '.join(silent)} in {steps} steps: only silence was compared there; give "
            "more steps, or nodes that make them fire"] if silent else []  # fmt: skip
