# SPDX-License-Identifier: Apache-2.0
"""bnn.snn.from_nengo against Nengo itself: its neurons, fed with the same currents, and its simulator, whole networks.

Nengo computes in float64 unless ``nengo.rc`` says 32 bits.  Then SpikingRectifiedLinear equals the rule bit for bit;
everything else is equal, or rounding could have turned it.  ``-s`` prints what was compared.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import bnn
from bnn.errors import BnnError, CompileError, InputError
from bnn.snn import nengo_network
from bnn.snn.compare import settled
from bnn.snn.file import decode, encode
from bnn.snn.handle import State
from bnn.snn.model import SpikingModel
from bnn.snn.nengo_compile import alone
from bnn.snn.network import Population
from bnn.snn.rounding_risk import excused, find_risk
from bnn.snn.rules import RULES, Dynamics, Emits, Reset
from seed import SEED, numbers

nengo = pytest.importorskip("nengo", reason="nengo is not installed: pip install nengo (nengo: GPLv2)")

STEPS = 200


@pytest.fixture(params=["64", "32"])
def bits(request: pytest.FixtureRequest) -> Iterator[str]:
    """How many Nengo computes with."""
    before = nengo.rc.get("precision", "bits")
    nengo.rc.set("precision", "bits", request.param)
    yield request.param
    nengo.rc.set("precision", "bits", before)


def compiled(network: Any, **options: Any) -> SpikingModel:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="network: nothing fired")
        return bnn.snn.from_nengo(network, **options)


# -- neurons on the same currents --------------------------------------------------------------------------------------


def fed(neurons: Population, currents: Any) -> tuple[Any, Any]:
    """What the engine's neurons send, and whether rounding could turn it or what came before."""
    network = alone(neurons)
    state = State(SpikingModel.from_bytes(encode(network))._opened)
    given = currents.astype(np.float32)
    risk = find_risk(network, [given]).at_risk
    excused = np.maximum.accumulate(risk[1], axis=0) if risk else np.zeros(given.shape, bool)
    return settled(state, network.populations[1], 1, given), excused


@pytest.mark.drawn
def test_lif_neurons_are_nengos() -> None:
    """A million decisions in ``make test-all`` and ``make test``, of neurons that differ in all parameters."""
    print(f"BNN_TEST_SEED={SEED}")
    turned = excused = spikes = decisions = 0
    for number in numbers(50):
        rng, n = np.random.default_rng([SEED, number]), 100
        dt = float(10.0 ** rng.uniform(-4, -2))
        kind = nengo.LIF(tau_rc=dt * rng.uniform(1, 60), tau_ref=dt * float(rng.choice([0, 2, rng.uniform(0, 5)])),
                         min_voltage=float(rng.choice([0, -np.inf])), amplitude=rng.uniform(0.1, 2))  # fmt: skip
        currents = rng.uniform(-1, 12, n) + rng.normal(0, 1, (STEPS, n)) * rng.choice([0, 0.1, 2], n)
        voltage, rest, out = rng.random(n), np.zeros(n), np.zeros(n)
        floored = kind.min_voltage == 0
        values = {"threshold": 1, "reset": 0, "initial": voltage, "rate": dt / kind.tau_rc, "period": kind.tau_ref / dt}
        parameters = {key: np.atleast_1d(np.asarray(value, np.float32)) for key, value in values.items()}
        lif = Population("lif", (n,), Dynamics(RULES["refractory_lif"], Reset.VALUE, floored=floored), parameters)
        theirs = []
        for x in currents:
            kind.step(dt, x, out, voltage=voltage, refractory_time=rest)
            theirs.append(out > 0)
        ours, risky = fed(lif, currents)
        wrong = ours != np.array(theirs)
        assert not (wrong & ~risky).any(), (SEED, number, np.argwhere(wrong & ~risky)[0])
        decisions, spikes = decisions + wrong.size, spikes + int(ours.sum())
        turned, excused = turned + int(wrong.sum()), excused + int(risky.sum())
    print(f"{decisions:,} decisions, {spikes:,} spikes: {turned} differ; rounding could turn {excused:,}")
    assert spikes > decisions / 50 and excused < decisions / 50


@pytest.mark.drawn
def test_rectified_neurons_are_nengos_to_the_bit() -> None:
    """Nengo in float32, as with 32 bits: a million decisions in ``make test-all`` and ``make test``, none excused."""
    print(f"BNN_TEST_SEED={SEED}")
    spikes = 0
    for number in numbers(50):
        rng, n, dt = np.random.default_rng([SEED, number]), 100, 0.001
        kind = nengo.SpikingRectifiedLinear(amplitude=rng.uniform(0.01, 2))
        currents = (rng.uniform(-200, 3000, n) + rng.normal(0, 100, (STEPS, n))).astype(np.float32)
        voltage, out = rng.random(n).astype(np.float32), np.zeros(n, np.float32)
        parameters = {"threshold": np.ones(1, np.float32), "reset": np.zeros(1, np.float32), "initial": voltage.copy()}
        dynamics = Dynamics(RULES["integrate_rectified"], emits=Emits.COUNTS)
        state = State(SpikingModel.from_bytes(encode(alone(Population("n", (n,), dynamics, parameters))))._opened)
        theirs = []
        for x in currents:
            kind.step(dt, x, out, voltage=voltage)
            theirs.append(np.rint(out * (dt / kind.amplitude)))
        population = Population("n", (n,), dynamics, parameters)
        assert np.array_equal(settled(state, population, 1, currents * np.float32(dt)), theirs), (SEED, number)
        assert np.array_equal(state.get(1, "v"), voltage), (SEED, number)
        spikes += int(np.sum(theirs))
    print(f"{spikes:,} spikes")
    assert spikes


# -- whole networks ----------------------------------------------------------------------------------------------------


def draw(rng: Any) -> Any:
    """An input, a few ensembles of either kind, connections of every kind that is read, and probes."""

    def kind() -> Any:
        if rng.random() < 0.4:
            return nengo.SpikingRectifiedLinear(amplitude=float(rng.choice([1, 0.5])))
        floor, amplitude = float(rng.choice([0, -np.inf])), float(rng.choice([1, 0.5]))
        return nengo.LIF(*rng.uniform((0.005, 0), (0.05, 0.004)).tolist(), min_voltage=floor, amplitude=amplitude)

    def synapse() -> Any:
        return nengo.Lowpass(float(rng.choice([1e-6, 0.002, 0.01, 0.1])))

    wave = rng.uniform(5, 60, 2)
    with nengo.Network(seed=int(rng.integers(1 << 30))) as net:
        wanted = {"max_rates": nengo.dists.Uniform(60, 200)}
        inputs = nengo.Node(lambda t: np.sin(wave * t))
        constant = nengo.Node([0.5, -0.25], label="constant")
        passed = nengo.Node(size_in=2)
        nengo.Node(lambda t: None)
        first = nengo.Ensemble(40, 2, neuron_type=kind(), radius=1.5, label="first", **wanted)
        second = nengo.Ensemble(30, 1, neuron_type=kind(), label="second", **wanted)
        array = nengo.networks.EnsembleArray(20, 2, neuron_type=kind(), label="array", **wanted)
        nengo.Connection(inputs, passed, synapse=None, transform=[[1, 0.5], [0, 1]])
        nengo.Connection(passed, first, synapse=rng.choice([None, 0.005]))
        nengo.Connection(constant[1], second, synapse=synapse(), transform=0.5)
        nengo.Connection(first, second, function=lambda x: x[0] * x[1], synapse=synapse())
        nengo.Connection(first[[1, 0]], array.input, synapse=synapse())
        nengo.Connection(second, array.input[1], synapse=None)
        nengo.Connection(second, second, synapse=0.1, transform=0.9)
        weights = rng.normal(0, 0.002, (20, 15))
        nengo.Connection(first.neurons[:30:2], array.ensembles[0].neurons, transform=weights, synapse=synapse())
        nengo.Connection(first, second, solver=nengo.solvers.LstsqL2(weights=True), function=lambda x: x[0],
                         synapse=rng.choice([None, 0.01]))  # fmt: skip
        for name, each in {"first": first, "second": second, **dict(zip(EACH, array.ensembles, strict=True))}.items():
            nengo.Probe(each.neurons, label=name)
        nengo.Probe(first, synapse=0.02, label="decoded")
        nengo.Probe(array.output, label="passed")
        nengo.Probe(first.neurons[:3], synapse=0.01, label="filtered")
    return net


EACH = ("array.array_0", "array.array_1")


@pytest.mark.drawn
def test_networks_are_nengos(bits: str) -> None:
    """The network's own decisions and values against a new simulator's."""
    print(f"BNN_TEST_SEED={SEED}")
    decisions = turned = risky = 0
    for number in numbers(8):
        net = draw(np.random.default_rng([SEED, number]))
        model = compiled(net, steps=20)
        probes = list(net.all_probes)
        with net:
            given = [nengo.Probe(node) for node in net.all_nodes if not node.size_in and node.size_out]
        with nengo.Simulator(net, progress_bar=False) as simulator:
            simulator.run_steps(STEPS, progress_bar=False)
        x = [simulator.data[probe].astype(np.float32) for probe in given]
        run, network = model.run(x), decode(model.to_bytes())
        risk, names = find_risk(network, x), [p.name for p in network.populations]
        first_risk = min(
            int(np.argwhere(rows)[0][0]) for rows in [*risk.at_risk.values(), np.ones((1, 1))] if rows.any()
        )
        for probe in probes:
            ours, theirs = run.outputs[probe.label], simulator.data[probe]
            i = names.index(probe.label)
            if network.populations[i].rule != "relay":
                theirs = np.rint(theirs * simulator.dt / probe.obj.ensemble.neuron_type.amplitude)
                wrong = np.argwhere(ours != theirs)
                assert all(excused(network, risk, i, *each) for each in wrong[:1]), (SEED, number, probe.label)
                decisions, turned, risky = (
                    decisions + theirs.size,
                    turned + len(wrong),
                    risky + int(risk.at_risk[i].sum()),
                )
            else:
                off = np.abs(ours.astype(np.float64) - theirs)
                assert (off <= risk.errors[i] + 1e-6)[: first_risk + 1].all(), (SEED, number, probe.label, off.max())
    print(f"{bits} bits: {decisions:,} decisions, {turned} differ; rounding could turn {risky}")
    assert decisions


# -- what is refused ---------------------------------------------------------------------------------------------------


def small(change: Callable[[Any, Any], object] = lambda a, b: None, seed: int | None = 0, **options: Any) -> Any:
    """A node, two ensembles and a probe, and one thing more."""
    with nengo.Network(seed=seed) as net:
        node = nengo.Node([0.5], label="node")
        a = nengo.Ensemble(10, 1, label="a", **options)
        b = nengo.Ensemble(10, 1, label="b")
        nengo.Connection(node, a)
        nengo.Connection(a, b, label="ab")
        nengo.Probe(b.neurons)
        change(a, b)
    return net


def cycle(a: Any, b: Any) -> None:
    """Nengo runs it, because the slices do not depend on each other."""
    node = nengo.Node(size_in=2, label="sliced")
    nengo.Connection(node[0], node[1], synapse=None)


def without_input() -> Any:
    with nengo.Network(seed=0) as net:
        nengo.Probe(nengo.Ensemble(5, 1))
    return net


def probes_alone(a: Any, b: Any) -> None:
    net = nengo.Network.context[-1]
    net.probes.clear()


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "neurons": (lambda: small(neuron_type=nengo.AdaptiveLIF()), r"'a' \(Ensemble\): found AdaptiveLIF neurons"),
    "rates": (lambda: small(neuron_type=nengo.LIFRate()), "found LIFRate neurons, expected LIF or Spiking"),
    "direct": (lambda: small(neuron_type=nengo.Direct()), "found Direct neurons"),
    "a floor": (lambda: small(neuron_type=nengo.LIF(min_voltage=-1)), "found min_voltage=-1, expected 0 or -inf"),
    "steps": (lambda: small(neuron_type=nengo.LIF(tau_rc=0.0005)), "a: found dt / tau from 2 to 2 in refractory_lif"),
    "a high start": (lambda: small(neuron_type=nengo.LIF(initial_state={"voltage": nengo.dists.Choice([2])})),
                     "an initial state with a voltage of 2 or"),
    "a rest": (lambda: small(neuron_type=nengo.LIF(initial_state={"refractory_time": nengo.dists.Choice([1])})),
               "or a refractory time, expected at most 1"),
    "a low start": (lambda: small(neuron_type=nengo.SpikingRectifiedLinear(
        initial_state={"voltage": nengo.dists.Choice([-1])})), "found the initial voltage -1, expected at least 0"),
    "noise": (lambda: small(noise=nengo.processes.WhiteNoise()), r"'a' \(Ensemble\): found noise"),
    "a synapse": (lambda: small(lambda a, b: nengo.Connection(a, b, synapse=nengo.Alpha(0.1), label="alpha")),
                  r"'alpha' \(Connection\): found the synapse Alpha.*use nengo.Lowpass"),
    "a transform": (lambda: small(lambda a, b: nengo.Connection(
        a.neurons, b.neurons, transform=nengo.Convolution(1, (10, 1), kernel_size=(1,), strides=(1,)))),
        r"'a to b' \(Connection\): found the transform Convolution"),
    "learning": (lambda: small(lambda a, b: nengo.Connection(a, b, learning_rule_type=nengo.PES())),
                 r"'a to b' \(Connection\): found a learning rule"),
    "a function of a node": (lambda: small(lambda a, b: nengo.Connection(nengo.Node([1]), b, function=lambda x: x * x)),
                             r"'node 2 to b' \(Connection\): found a function of what a node sends"),
    "a node": (lambda: small(lambda a, b: nengo.Connection(a, nengo.Node(lambda t, x: x, size_in=1, label="f"))),
               r"'f' \(Node\): found a function of what it gets"),
    "a probe": (lambda: small(lambda a, b: nengo.Probe(a, synapse=nengo.Alpha(0.1), label="p")),
                r"'p' \(Probe\): found the synapse Alpha"),
    "no probe": (lambda: small(probes_alone), "found no nengo.Probe of spikes or values"),
    "no input": (without_input, r"found no nengo.Node that sends something, .* add nengo.Node\(\[0\]\)"),
    "no seed": (lambda: small(seed=None), r"found no seed: .*nengo.Network\(seed=...\)"),
    "slices": (lambda: small(cycle), "found a way back to 'sliced', or from there, without a synapse"),
    "a cycle": (lambda: small(lambda a, b: nengo.Connection(b, b, synapse=None)), "network: Nengo does not build it: "),
    "no network": (lambda: 5, "network: found int, expected a nengo.Network"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(BnnError, match=message):
        compiled(make())


@pytest.mark.parametrize(
    ("options", "message"), [({"dt": 0}, "dt: found 0"), ({"steps": 0}, "steps"), ({"dt": "a"}, "dt: found")]
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compiled(small(), **options)


def test_what_is_said() -> None:
    """Silence, and probes of what no object sends."""

    def quiet(a: Any, b: Any) -> None:
        nengo.Connection(nengo.Node([-1]), a.neurons, transform=np.full((10, 1), 100), synapse=None)
        nengo.Probe(a.neurons, "voltage", label="v")

    with pytest.warns(UserWarning) as seen:
        model = bnn.snn.from_nengo(small(quiet))
    assert tuple(str(w.message) for w in seen) == model.warnings
    assert model.warnings[0].startswith("'v' (Probe): found 'voltage'")
    assert model.warnings[1].startswith("network: nothing fired in a in 100 steps")


# -- the comparison finds mistakes -------------------------------------------------------------------------------------


def test_neurons_that_were_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = nengo.LIF.step
    compiled(small())
    monkeypatch.setattr(
        nengo.LIF, "step", lambda self, dt, J, output, **state: right(self, dt, 1.01 * J, output, **state)
    )
    with pytest.raises(CompileError, match=r"'a': found .* decisions that are not its rule's"):
        compiled(small())


@pytest.mark.parametrize("mistake", ["no delay", "another factor", "no bias"])
def test_what_is_read_wrong(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = nengo_network.NengoReader
    right, add = reader._project, reader._add

    def project(self: Any, source: str, target: str, matrix: Any, delay: int = 0) -> None:
        wrong = matrix * np.float32(1.001) if mistake == "another factor" and target == "b.input" else matrix
        right(self, source, target, wrong, 2 * delay if mistake == "no delay" else delay)

    def without(self: Any, population: Population) -> None:
        population.bias = population.bias * np.float32(mistake != "no bias" or population.name != "b")
        add(self, population)

    monkeypatch.setattr(reader, "_project", project)
    monkeypatch.setattr(reader, "_add", without)
    with pytest.raises(CompileError, match="network: found that it differs from Nengo's, first in step"):
        compiled(small())
