# SPDX-License-Identifier: Apache-2.0
"""Local learning equals BindsNET's: Diehl & Cook's network with PostPre, spike for spike and weight for weight.

BindsNET multiplies matrices, so its sums have no fixed order.  With weights, rates and traces that are multiples of
powers of two every sum is exact, and nothing may differ.  Its network picks one of the neurons that fire by a random
number (one_spike), which no other engine can repeat: it is off here.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

import numpy as np
import pytest

import bnn.snn
from bnn._types import Floats
from bnn.snn.learning import Learning
from bnn.snn.network import Network, Population, Projection
from bnn.snn.rules import RULES, Dynamics, Reset
from seed import SEED

torch = pytest.importorskip("torch")
if (FOUND := importlib.util.find_spec("bindsnet")) is None:
    pytest.skip("BindsNET is not installed", allow_module_level=True)
if "bindsnet" not in sys.modules:  # its own __init__ imports games, plots and data sets
    PACKAGE = types.ModuleType("bindsnet")
    PACKAGE.__path__ = list(FOUND.submodule_search_locations or ())
    sys.modules["bindsnet"] = PACKAGE
importlib.import_module("bindsnet.network")  # first: its parts import each other in a circle

INPUTS, NEURONS = 60, 12


def theirs(weights: Floats, inhibition: float, added: bool) -> Any:
    """Input, excitatory and inhibitory neurons, as bindsnet.models.DiehlAndCook2015 makes them."""
    from bindsnet.learning import PostPre
    from bindsnet.network import Network as TheirNetwork
    from bindsnet.network.nodes import DiehlAndCookNodes, Input, LIFNodes
    from bindsnet.network.topology import Connection

    net = TheirNetwork(dt=1.0)
    source = Input(n=INPUTS, traces=True, traces_additive=added, tc_trace=20.0)
    exc = DiehlAndCookNodes(
        n=NEURONS, traces=True, traces_additive=added, rest=-65.0, reset=-60.0, thresh=-52.0, refrac=5, tc_decay=100.0,
        tc_trace=20.0, theta_plus=0.0625, tc_theta_decay=1e7, one_spike=False,
    )  # fmt: skip
    inh = LIFNodes(n=NEURONS, rest=-60.0, reset=-45.0, thresh=-40.0, tc_decay=10.0, refrac=2)
    net.add_layer(source, name="X")
    net.add_layer(exc, name="Ae")
    net.add_layer(inh, name="Ai")
    learner = Connection(
        source, exc, w=torch.tensor(weights), update_rule=PostPre, nu=(2.0**-8, 2.0**-4), wmin=0.0, wmax=1.0, norm=6.0
    )
    net.add_connection(learner, "X", "Ae")
    net.add_connection(Connection(exc, inh, w=22.5 * torch.eye(NEURONS)), "Ae", "Ai")
    lateral = -inhibition * (torch.ones(NEURONS, NEURONS) - torch.eye(NEURONS))
    net.add_connection(Connection(inh, exc, w=lateral), "Ai", "Ae")
    for layer in (source, exc):
        layer.trace_decay = torch.tensor(0.5)
    return net


def ours(net: Any, delay: int) -> Network:
    """The same, with BindsNET's own numbers."""
    source, exc, inh = (net.layers[name] for name in ("X", "Ae", "Ai"))
    learner, up, lateral = (net.connections[pair] for pair in (("X", "Ae"), ("Ae", "Ai"), ("Ai", "Ae")))

    def numbers(nodes: Any) -> dict[str, Floats]:
        found = {
            "threshold": nodes.thresh, "reset": nodes.reset, "initial": nodes.rest, "decay": nodes.decay,
            "rest": nodes.rest, "period": nodes.refrac, "step": getattr(nodes, "theta_plus", 0),
            "fall": getattr(nodes, "theta_decay", 1),
        }  # fmt: skip
        return {k: np.full(1, float(v), np.float32) for k, v in found.items()}

    rule = Dynamics(RULES["adaptive"], Reset.VALUE, at_least=True)
    populations = [
        Population("X", (INPUTS,)),
        Population("Ae", (NEURONS,), rule, numbers(exc), output=True),
        Population("Ai", (NEURONS,), rule, numbers(inh), output=True),
    ]
    learning = Learning(
        *map(float, learner.update_rule.nu), float(source.trace_decay), float(exc.trace_decay), source.traces_additive,
        float(learner.wmin), float(learner.wmax), learner.norm,
    )  # fmt: skip
    return Network(
        populations,
        [
            Projection(0, 1, "dense", learner.w.numpy().copy(), delay=delay, name="learner", learning=learning),
            Projection(1, 2, "dense", up.w.numpy().copy(), delay=delay),
            Projection(2, 1, "dense", lateral.w.numpy().copy(), delay=1),
        ],
        dt=1e-3,
        simulator="bindsnet",
    )


def run_theirs(net: Any, spikes: Floats, one_step: bool) -> dict[str, Floats]:
    """A sample, (T, n): spikes of both layers; normalizes at the end."""
    from bindsnet.network.monitors import Monitor

    monitors = {}
    for name in ("Ae", "Ai"):
        monitors[name] = Monitor(net.layers[name], ["s"], time=len(spikes))
        net.add_monitor(monitors[name], name)
    net.run({"X": torch.tensor(spikes).bool()}, time=len(spikes), one_step=one_step)
    return {name: m.get("s").reshape(len(spikes), -1).numpy().astype(np.uint8) for name, m in monitors.items()}


@pytest.mark.parametrize("added", [False, True], ids=["set", "added"])
@pytest.mark.parametrize("one_step", [False, True], ids=["delayed", "one step"])
def test_diehl_and_cook_learns_as_in_bindsnet(one_step: bool, added: bool) -> None:
    """Everything is equal while every sum is exact: short samples, because traces gain a bit in each step."""
    print(f"seed {SEED}")
    decided = sent = 0
    for number in range(10):
        rng = np.random.default_rng([SEED, number])
        weights = (rng.integers(0, 257, (INPUTS, NEURONS)) / 256).astype(np.float32)
        net = theirs(weights, float(rng.choice([4.0, 17.5])), added)
        model = bnn.snn.build(ours(net, 0 if one_step else 1))
        learner, norm = net.connections["X", "Ae"], net.connections["X", "Ae"].norm
        learner.norm = None  # it would round
        for sample in range(3):
            spikes = (rng.random((8, INPUTS)) < 0.3).astype(np.float32)
            expected = run_theirs(net, spikes, one_step)
            run = model.run(spikes, learn=True)
            for name, found in expected.items():
                assert np.array_equal(run.outputs[name], found), (number, sample, name)
                decided += found.size
                sent += int(found.sum())
            assert np.array_equal(model.weights("learner"), learner.w.numpy()), (number, sample)
            assert np.array_equal(model.thresholds("Ae"), net.layers["Ae"].theta.numpy()), (number, sample)
            net.reset_state_variables()
        assert not np.array_equal(learner.w.numpy(), weights)
        learner.norm = norm
        learner.normalize()
        model.normalize()
        assert np.array_equal(model.weights("learner"), learner.w.numpy()), (number, "normalized")
    print(f"{decided} decisions, {sent} spikes")
    assert sent > 100
