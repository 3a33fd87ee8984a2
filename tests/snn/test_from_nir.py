# SPDX-License-Identifier: Apache-2.0
"""Networks from NIR files: what becomes a projection, where elements lie, and what is refused."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn.errors import CompileError, InputError, InputTypeError, ModelFileError
from bnn.snn.from_nir import network_from_nir
from bnn.snn.network import Network
from bnn.snn.nir_file import read_nir
from bnn.snn.oracle import Oracle
from bnn.snn.rules import Emits, Reset
from bnn.snn.simulators import sinabs

from . import nir_graphs
from .nir_graphs import chain, graph, node
from .nir_refused import IDS, REFUSED, Refused, between, conv, cuba, if_, image, lif


def network(tmp_path: Path, root: dict[str, Any], simulator: str = "norse", **options: Any) -> Network:
    return network_from_nir(read_nir(nir_graphs.write(tmp_path / "a.nir", root)), simulator, **options)


@pytest.mark.parametrize("one", REFUSED, ids=IDS)
def test_what_a_simulator_gets_wrong_is_refused_by_name(one: Refused, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=one.message) as raised:
        network(tmp_path, one.file, one.simulator, dt=one.dt)
    assert str(raised.value).startswith(str(tmp_path / "a.nir"))


def test_options_that_a_simulator_has_not(tmp_path: Path) -> None:
    root = between(lif())
    for simulator, options, message in (
        ("brian", {}, "expected one of norse, snntorch, spikingjelly, sinabs"),
        ("norse", {"dt": 0.0}, "dt: found 0.0, expected a positive number"),
        ("norse", {"dt": float("nan")}, "dt: found nan"),
        ("norse", {"dt": "1e-3"}, "dt: found '1e-3', expected a number"),
        (["norse"], {}, "simulator: found list, expected one of norse"),
        ("snntorch", {"dt": 1e-3}, "steps of 0.0001 s and no others"),
        ("snntorch", {"reset": "value"}, "expected 'subtract' or 'zero' or 'none': snnTorch 1.0 has no other"),
        ("norse", {"reset": "zero"}, "expected 'value' or 'subtract'"),
        ("spikingjelly", {"reset": "subtract"}, "expected 'value': SpikingJelly 2.0 has no other"),
        ("norse", {"reset_delay": True}, "reset_delay: Norse 1.1 has no such option, but dt, reset, v_reset; leave it"),
        ("norse", {"reset": "subtract", "v_reset": 0.5}, "v_reset: found 0.5 with reset 'subtract', which leaves"),
        ("norse", {"reset": "subtract", "v_reset": -0.5}, "v_reset: found -0.5 with reset 'subtract', which leaves"),
        ("norse", {"v_reset": float("nan")}, "v_reset: found nan"),
        ("spikingjelly", {"parametric": "no"}, "parametric: found 'no', expected True or False"),
        ("sinabs", {"spike_fn": "max"}, "spike_fn: found 'max', expected one of multi, single"),
        ("sinabs", {"tau_syn": -1.0}, "tau_syn: found -1.0, expected a number of steps, or 0: none"),
        ("sinabs", {"tau_syn": float("inf")}, "tau_syn: found inf"),
        ("snntorch", {"norm_input": True}, "no such option, but reset, reset_delay; leave it out"),
        ("snntorch", {"reset_delay": 1}, "reset_delay: found 1, expected True or False"),
        ("sinabs", {"min_v_mem": "x"}, "min_v_mem: found 'x', expected a number"),
    ):
        with pytest.raises(InputError, match=message):
            network(tmp_path, root, simulator, **options)
    with pytest.raises(CompileError, match="found reset 'subtract' asked for; Norse's IAFCell only resets to a value"):
        network(tmp_path, between(if_()), reset="subtract")
    cell = cuba(r=[1.0] * 3, w_in=[1.0] * 3)
    with pytest.raises(CompileError, match="found reset 'subtract' asked for; Norse's LIFCell only resets to a value"):
        network(tmp_path, between(cell), reset="subtract")
    for made, rule in ((cuba(), "synaptic_approach"), (lif(), "approach")):
        dynamics = network(tmp_path, between(made), reset="subtract").populations[1].dynamics
        assert dynamics is not None and (dynamics.rule.name, dynamics.reset) == (rule, Reset.SUBTRACT)
    dynamics = network(tmp_path, between(cell)).populations[1].dynamics
    assert dynamics is not None and (dynamics.rule.name, dynamics.reset) == ("synaptic_jump", Reset.VALUE)
    assert network(tmp_path, root, "snntorch", dt=1e-4).dt == 1e-4


def test_what_is_said_of_neurons_becomes_their_rule(tmp_path: Path) -> None:
    rate = np.float32(0.3)  # sigmoid(w), which its exporter writes as 1 / rate in double precision
    jelly = lif(1e-4 / float(rate), v_leak=[0.0] * 3, v_reset=[0.0] * 3)
    steps = np.float32(-1) / np.float32(3)
    synapse = {"alpha": np.float32(np.exp(np.float64(steps))), "gain": 1}
    scaled = {"beta": np.float32(np.exp(-0.5)), "gain": 1 - np.float32(np.exp(-0.5))}
    two = cuba(tau_syn=[4e-4] * 3, tau_mem=[8e-4] * 3, w_in=[4.0] * 3, r=[8.0] * 3)  # r, w_in: they are tau / dt
    single: dict[str, Any] = {"spike_fn": "single", "norm_input": False, "dt": 1}
    for simulator, made, said, rule, reset, expected in (
        ("spikingjelly", jelly, {"parametric": True}, "approach_rest", Reset.VALUE, {"rate": rate}),
        ("spikingjelly", jelly, {}, "divide_all", Reset.VALUE, {"tau": np.float32(1 / float(rate))}),
        ("norse", lif(), {"v_reset": -0.25}, "approach", Reset.VALUE, {"reset": -0.25, "initial": 0}),
        # exp(-t / tau) by one step of Euler's; of the threshold what an input is multiplied by
        ("snntorch", lif(4e-4, r=[8.0] * 3), {}, "decay", None, {"beta": 0.75, "threshold": 0.125}),
        ("spikingjelly", two, {}, "synaptic", Reset.VALUE, {"alpha": 0.75, "beta": 0.875}),
        ("norse", lif(v_leak=[0.5] * 3), {}, "approach", Reset.VALUE, {"leak": 0.5, "initial": 0.5}),  # nothing moves
        ("norse", if_(), {"v_reset": -0.25}, "integrate", Reset.VALUE, {"reset": -0.25, "initial": -0.25}),
        ("sinabs", lif(2.0), single, "decay", Reset.SUBTRACT, {"reset": 0}),
        ("sinabs", lif(2.0), {**single, "reset": "zero"}, "decay", Reset.VALUE, {"reset": 0}),
        ("sinabs", lif(2.0), {**single, "min_v_mem": -1.0}, "decay", Reset.SUBTRACT, {"reset": -1}),
        ("sinabs", lif(2.0), {**single, "norm_input": True}, "decay_scaled", Reset.SUBTRACT, scaled),
        ("sinabs", lif(2.0), {**single, "tau_syn": 3}, "synaptic_scaled", Reset.SUBTRACT, synapse),
    ):
        population = network(tmp_path, between(made), simulator, **said).populations[1]
        dynamics = population.dynamics
        assert dynamics is not None and dynamics.rule.name == rule and reset in (None, dynamics.reset)
        assert dynamics.emits == Emits.SPIKES and dynamics.at_least == (simulator in ("sinabs", "spikingjelly"))
        for name, value in expected.items():
            assert (population.parameters[name] == value).all(), (simulator, said, name)
    for wrong, message in (
        ({}, "send several spikes per step"),
        ({"min_v_mem": -1.0, **single}, "which is not the floor"),
    ):
        with pytest.raises(CompileError, match=message):
            network(tmp_path, between(lif(2.0)), "sinabs", reset="zero", **{"dt": 1, **wrong})


def test_a_few_numbers_declare_many_neurons(tmp_path: Path) -> None:
    padded = {**conv(1, 4), "padding": [2**13, 2**13]}
    one = lif(n=1)
    with pytest.raises(CompileError, match="found that it sends 1,0.*elements, .*at most 16,777,216 and 134,217,728"):
        network(tmp_path, image(padded, one), "norse")
    nodes = {"input": node("Input", shape=[2**12, 2**12]), **{f"n{i}": one for i in range(9)}}
    with pytest.raises(CompileError, match=r"node 'n7' .*16,777,216 elements, all nodes up to it 150,994,944"):
        network(tmp_path, chain(**nodes, output=node("Output", shape=[2**12, 2**12])), "norse")


def test_time_constants_of_decays() -> None:
    for tau in np.random.default_rng(5).uniform(0.3, 300, 2000).astype(np.float32):
        decay = sinabs._decay(tau)
        assert sinabs._decay(sinabs.tau_of(float(decay))) == decay, tau


def test_paths_that_are_none() -> None:
    for call in (read_nir, lambda path: bnn.snn.compile(path, simulator="norse")):
        for path in (None, 5):
            with pytest.raises(InputTypeError, match="path: found .*, expected a string or an os.PathLike"):
                call(path)  # type: ignore[arg-type]


def test_a_node_and_one_in_a_graph_have_different_names(tmp_path: Path) -> None:
    fc = node("Affine", weight=np.eye(3), bias=np.zeros(3))
    inner = chain(input=node("Input", shape=[3]), b=fc, output=node("Output", shape=[3]))
    nodes = {"input": node("Input", shape=[3]), "a": inner, "c": fc, "a.b": fc, "output": node("Output", shape=[3])}
    names = list(nodes)
    with pytest.raises(CompileError, match="a.nir: found two nodes called 'a.b', one of them in a graph of its own"):
        network(tmp_path, graph(nodes, list(zip(names[:-1], names[1:], strict=True))))


def test_a_node_and_the_sum_before_another_have_different_names(tmp_path: Path) -> None:
    fc = node("Affine", weight=np.eye(3), bias=np.zeros(3))
    nodes = {
        "input": node("Input", shape=[3]),
        "b.sum": lif(n=3),
        "a": fc,
        "b": fc,
        "output": node("Output", shape=[3]),
    }
    edges = [("input", "b.sum"), ("b.sum", "a"), ("a", "b"), ("b.sum", "b"), ("b", "output")]
    with pytest.raises(CompileError, match="a.nir: found two nodes called 'b.sum', one of them with a sum; rename one"):
        network(tmp_path, graph(nodes, edges))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nir")
    with pytest.raises(ModelFileError, match="pipe.nir: not a regular file but a pipe; expected a NIR file"):
        bnn.snn.compile(tmp_path / "pipe.nir", simulator="norse")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": np.full((3, 2, 5, 6), 0.5)}, r"input input: found 0.5 at \(0, 0, 0, 0\), expected spikes, 0 or 1"),
        ({"x": np.full((2, 3, 2, 5, 6), np.nan)}, "input input: found nan at .*; 120 are not finite"),
        ({"x": np.ones((3, 2, 5, 6), complex)}, "x: found dtype complex128, expected numbers"),
        ({"x": [[1], [1, 2]]}, "x: list is not an array"),
        ({"x": np.ones((3, 5, 6))}, r"x: found shape \(3, 5, 6\), expected \(steps, 2, 5, 6\) or"),
        ({"samples": 0}, "samples: found 0, expected 1 to"),
        ({"steps": 1.5}, "steps: found 1.5, expected a whole number"),
        ({"rate": "x"}, "rate: found 'x', expected a number"),
        ({"rate": 2}, "rate: found 2, expected 0 to 1"),
        ({"seed": -1}, "seed: found -1, expected 0 to"),
    ],
)
def test_what_cannot_be_verified(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """A value that the input cannot send is no difference between the engine and its definition."""
    path = nir_graphs.write(tmp_path / "a.nir", nir_graphs.small())
    with pytest.raises(InputError, match=message):
        bnn.verify_snn(path, bnn.snn.compile(path, simulator="norse"), **options)


def test_networks_of_another_file_are_not_verified(tmp_path: Path) -> None:
    path = nir_graphs.write(tmp_path / "a.nir", nir_graphs.small())
    right = network(tmp_path, nir_graphs.small())
    right.populations[0].input_emits = Emits.CHANGES
    alone = Network([replace(right.populations[-1], output=True)], [], right.dt, "norse")
    for other in (right, alone):
        with pytest.raises(InputError, match="a.nir: the network was not compiled from this file; compile the file"):
            bnn.verify_snn(path, bnn.snn.build(other))


def test_linear_nodes_become_projections_and_chains_of_them_pass_sums_on(tmp_path: Path) -> None:
    weight = np.ones((3, 2, 3, 3), np.float32)
    root = chain(
        input=node("Input", shape=[2, 6, 8]),
        conv=node("Conv2d", weight=weight, bias=[0.0, 0.5, 1.0], stride=[1, 1], padding=[1, 1], dilation=[1, 1],
                  groups=1, input_shape=[6, 8]),
        pool=node("SumPool2d", kernel_size=[2, 2], stride=[2, 2], padding=[0, 0]),
        z=node("IF", r=np.ones((3, 3, 4), np.float32), v_threshold=np.full((3, 3, 4), 2, np.float32)),
        flat=node("Flatten", start_dim=0, end_dim=-1),
        a=node("Affine", weight=np.ones((5, 36), np.float32), bias=[1.0] * 5),
        b=node("Linear", weight=np.ones((4, 5), np.float32)),
        output=node("Output", shape=[4]),
    )  # fmt: skip
    net = network(tmp_path, root)
    assert [(p.name, p.shape, p.emits) for p in net.populations] == [
        ("input", (6, 8, 2), Emits.SPIKES), ("conv", (6, 8, 3), Emits.VALUES), ("z", (3, 4, 3), Emits.SPIKES),
        ("a", (5,), Emits.VALUES), ("b", (4,), Emits.VALUES),
    ]  # fmt: skip
    assert [(p.name, p.kind, p.source, p.target, p.groups) for p in net.projections] == [
        ("conv", "conv", 0, 1, 1), ("pool", "conv", 1, 2, 3), ("a", "dense", 2, 3, 1), ("b", "dense", 3, 4, 1),
    ]  # fmt: skip
    assert net.populations[1].bias.tolist() == [0, 0.5, 1]  # per channel
    assert net.populations[2].parameters["threshold"].tolist() == [2]  # one for all
    assert [p.output for p in net.populations] == [False] * 4 + [True]


def test_same_padding_is_that_of_convolutions_elsewhere(tmp_path: Path, rng: np.random.Generator) -> None:
    """Kernels of an even size have the odd pixel of padding after the image, as ONNX's SAME_UPPER."""
    helper = pytest.importorskip("onnx").helper
    runtime = pytest.importorskip("onnxruntime")
    weight, x = rng.integers(-9, 10, (3, 2, 2, 4)).astype(np.float32), rng.integers(0, 2, (4, 2, 5, 6))
    conv2d = node("Conv2d", weight=weight, bias=[0.0] * 3, stride=[1, 1], padding="same", dilation=[1, 1], groups=1,
                  input_shape=[5, 6])  # fmt: skip
    root = chain(
        input=node("Input", shape=[2, 5, 6]), conv=conv2d, relu=node("Flatten", start_dim=0, end_dim=-1),
        fc=node("Linear", weight=np.eye(90, dtype=np.float32)), output=node("Output", shape=[90]),
    )  # fmt: skip
    net = network(tmp_path, root)
    found = Oracle(net).run([np.moveaxis(x, 1, 3).reshape(4, -1).astype(np.float32)]).sent[len(net.populations) - 1]
    infos = [helper.make_tensor_value_info(n, 1, [None] * 4) for n in "xwy"]
    one = helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER")
    proto = helper.make_model(helper.make_graph([one], "one", infos[:2], infos[2:]), ir_version=10,
                              opset_imports=[helper.make_opsetid("", 17)])  # fmt: skip
    session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": x.astype(np.float32), "w": weight})
    assert np.array_equal(found, expected.reshape(4, -1))


def test_elements_are_moved_from_channels_first_to_channels_last(tmp_path: Path, rng: np.random.Generator) -> None:
    """Numbers of each neuron, and rows of weights after a Flatten, belong to the neurons that they belong to in NIR."""
    threshold = rng.permutation(24).reshape(2, 3, 4).astype(np.float32)
    weight = rng.integers(0, 9, (5, 24)).astype(np.float32)
    root = chain(
        input=node("Input", shape=[2, 3, 4]),
        z=node("IF", r=np.ones((2, 3, 4), np.float32), v_threshold=threshold),
        flat=node("Flatten", start_dim=0, end_dim=-1),
        y=node("IF", r=np.ones(24, np.float32), v_threshold=threshold.reshape(-1)),
        fc=node("Linear", weight=weight),
        output=node("Output", shape=[5]),
    )
    net = network(tmp_path, root)
    last = np.moveaxis(threshold, 0, -1).reshape(-1)
    for name in ("z", "y"):
        population = next(p for p in net.populations if p.name == name)
        assert population.shape == (3, 4, 2) and np.array_equal(population.parameters["threshold"], last)
    rows = np.moveaxis(weight.reshape(5, 2, 3, 4), 1, -1).reshape(5, 24).T
    assert np.array_equal(net.projections[-1].weights, rows)


def test_cycles_start_with_nothing_and_several_edges_add_up(tmp_path: Path) -> None:
    inner = graph({"input": node("Input", shape=[2]), "z": if_(n=2, v_threshold=[9.0] * 2),
                   "back": node("Affine", weight=[[1.0, 0.0], [0.0, 1.0]], bias=[0.25, 0.5]),
                   "output": node("Output", shape=[2])},
                  [("input", "z"), ("z", "back"), ("back", "z"), ("z", "output")])  # fmt: skip
    root = graph({"input": node("Input", shape=[2]), "deep": inner, "output": node("Output", shape=[2]),
                  "fc": node("Affine", weight=[[1.0, 1.0]] * 2, bias=[2.0] * 2)},
                 [("input", "fc"), ("fc", "deep"), ("input", "deep"), ("deep", "output")])  # fmt: skip
    net = network(tmp_path, root)
    assert [p.name for p in net.populations] == ["input", "deep.z"]
    record = Oracle(net).run([np.array([[1, 0], [0, 0]], np.float32)])
    assert record.currents[1].tolist() == [[4.0, 3.0], [2.25, 2.5]]  # the bias on the way back is added from step 1 on


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [([5, 20], "export the network again with a sample that has no"), ([4, 5], "add a Flatten, or correct the weight")],
)
def test_a_sample_with_a_batch(shape: list[int], remedy: str, tmp_path: Path) -> None:
    fc = node("Linear", weight=np.ones((4, 20), np.float32))
    root = chain(input=node("Input", shape=shape), fc=fc, output=node("Output", shape=[4]))
    with pytest.raises(CompileError, match=f"node 'fc' .*: found an input of the shape .*; {remedy}"):
        network(tmp_path, root)


def test_an_input_may_send_real_values(tmp_path: Path) -> None:
    assert network(tmp_path, between(lif()), inputs=Emits.VALUES).populations[0].emits == Emits.VALUES
