# SPDX-License-Identifier: Apache-2.0
"""bnn snn compile and verify, as a shell calls them."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn.errors import InputError
from bnn.snn.calling import why_not
from bnn.snn.exact_weights import inexact
from bnn.snn.file import decode
from snn.nir_graphs import chain, node, write


@pytest.fixture
def nir(tmp_path: Path) -> Path:
    """20 inputs -> 10 LIF neurons of SpikingJelly and snnTorch (tau = 2 steps of 0.1 ms, r = 2)."""
    pytest.importorskip("h5py", reason="h5py is not installed: pip install h5py")
    weights = np.round(np.random.default_rng(0).normal(0, 1, (10, 20)) * 8).astype(np.float32) / 8
    ones = np.ones(10, np.float32)
    return write(
        tmp_path / "net.nir",
        chain(
            input=node("Input", shape=[20]),
            fc=node("Affine", weight=weights, bias=ones / 4),
            lif=node("LIF", tau=ones * 2e-4, r=ones * 2, v_leak=0 * ones, v_threshold=ones, v_reset=0 * ones),
            output=node("Output", shape=[10]),
        ),
    )


def test_compiles_and_runs(call: Any, nir: Path, tmp_path: Path) -> None:
    target = tmp_path / "net.snn"
    done = call("snn", "compile", nir, "--simulator", "snntorch", "-o", target, "--json")
    assert done.status == 0, done.err
    assert done.json["dt"] == 1e-4
    assert done.json["bytes"] == target.stat().st_size and done.json["populations"][1]["neurons"] == 10
    text = call("snn", "compile", nir, "--as", "snntorch", "-o", target)
    assert "lif: 10 = 10 neurons: decay, >, reset late_subtract" in text.out
    assert "1 projection, 1 of them stored in 8 bits, exactly; a step is 100 us" in text.out
    warning = text.out.splitlines()[-1]
    assert warning.startswith("warning: the file does not say all that neurons do") and "--reset (reset=)" in warning
    assert 'reset_mechanism="subtract", reset_delay=True' in warning and done.json["warnings"] == [warning[9:]]
    said = call("snn", "compile", nir, "--as", "snntorch", "--reset", "zero", "--reset-delay", "no", "-o", target)
    assert "lif: 10 = 10 neurons: decay, >, reset value" in said.out and "warning" not in said.out
    model = bnn.snn.load(target)
    assert model.simulator == "snntorch" and model.dt == 1e-4
    run = model.run(np.ones((5, 20), np.uint8))
    assert run.output.shape == (5, 10) and 0 < run.output.sum() <= 50
    with pytest.warns(UserWarning, match="otherwise|say what yours do"):
        assert "late_subtract" in str(bnn.snn.compile(nir, simulator="snntorch").run(np.ones((5, 20), np.uint8)))
    again = bnn.snn.compile(nir, simulator="snntorch", reset="zero", reset_delay=False)
    assert model.to_bytes() == again.to_bytes() and not again.warnings


def test_wrong_calls(call: Any, nir: Path, tmp_path: Path) -> None:
    net = tmp_path / "net.snn"
    for arguments, words in (
        (("compile", nir), "Missing option '--simulator'"),
        (("compile", nir, "--simulator", "brian"), "'brian' is not one of 'norse'"),
        (("compile", nir, "--simulator", "norse", "-o", net), "r = 2"),
        (("compile", nir, "--simulator", "snntorch", "--dt", 1, "-o", net), "and no others; leave out dt (--dt)"),
        (
            ("compile", nir, "--simulator", "snntorch", "--reset", "value", "-o", net),
            "expected 'subtract' or 'zero' or 'none'",
        ),
        (
            ("compile", nir, "--simulator", "spikingjelly", "--reset-delay", "no", "-o", net),
            "no such option, but dt, parametric; leave it",
        ),
        (("verify", nir, net, "--time-major", "yes"), "--time-major is for --model; leave it out"),
        (("compile", nir, "--simulator", "norse", "-o", tmp_path / "net.bnn"), "expected a name ending in .snn"),
        (("compile", nir, "--simulator", "snntorch", "-o", tmp_path / "no" / "net.snn"), "there is no folder"),
        (("verify", net, net), "does not exist"),
        (("verify", nir, net), "net.snn"),
        (("verify", nir, net, "--data", "x.npy", "--seed", 1), "--seed is for random samples"),
    ):
        done = call("snn", *arguments)
        assert done.status == 2 and words in done.err, (arguments, done.err)
    net.write_bytes(b"\x89SNN\r\n\x1a\n" + bytes(200))
    assert "is a compiled network; expected: bnn snn verify FILE.nir NET.snn" in call("snn", "verify", net, net).err


def test_files_of_other_kinds(call: Any, nir: Path, net: Path, tmp_path: Path) -> None:
    """Each is named as what it is, with the command that reads it; ``net``: a .bnn file."""
    snn, zipped, picture = tmp_path / "net.snn", tmp_path / "net.zip", tmp_path / "net.png"
    bnn.snn.compile(nir, simulator="snntorch").save(snn)
    zipped.write_bytes(b"PK\x03\x04" + bytes(200))
    picture.write_bytes(b"\x89PNG" + bytes(200))
    x = tmp_path / "x.npy"
    np.save(x, np.zeros((3, 20), np.float32))
    for arguments, words in (
        (
            ("snn", "inspect", net),
            "net.bnn: is a .bnn file, a network without time, and not a .snn file; use bnn inspect,",
        ),
        (("snn", "run", net, "--data", x), "and not a .snn file; use bnn inspect, bnn run"),
        (("snn", "verify", nir, net), "and not a .snn file; use bnn inspect"),
        (("snn", "inspect", nir), f"probably a NIR file, and not a .snn file; compile it first: bnn snn compile {nir}"),
        (
            ("snn", "inspect", zipped),
            f"probably a Keras model, and not a .snn file; convert it first: bnn snn convert {zipped}",
        ),
        (
            ("snn", "inspect", picture),
            "net.png: not a .snn file: the first eight bytes are not its signature; make one with",
        ),
        (("snn", "inspect", tmp_path / "no.snn"), "give the path of a .snn file, made by bnn snn compile FILE.nir"),
        (("snn", "inspect", tmp_path), "give the .snn file itself"),
        (("snn", "compile", net, "--simulator", "norse"), "is a compiled network; give the NIR file"),
        (
            ("snn", "compile", zipped, "--simulator", "norse"),
            "probably a Keras model, and not a NIR file; convert it: bnn snn",
        ),
        (
            ("inspect", snn),
            "net.snn: is a .snn file, a network over time, and not a .bnn file; use bnn snn inspect, bnn snn",
        ),
        (("run", snn, x), "and not a .bnn file; use bnn snn inspect, bnn snn run"),
        (("inspect", tmp_path / "no.bnn"), "give the path of a .bnn file, made by bnn compile MODEL -o NET.bnn"),
    ):
        done = call(*arguments)
        assert done.status == 2 and words in done.err, (arguments, done.err)


@pytest.mark.parametrize("simulator", ["spikingjelly", "snntorch"])  # neurons of both hold their own state
def test_verifies(call: Any, nir: Path, tmp_path: Path, simulator: str) -> None:
    if reason := why_not(simulator):
        pytest.skip(reason)
    net = tmp_path / "net.snn"
    assert call("snn", "compile", nir, "--simulator", simulator, "-o", net).status == 0
    done = call("snn", "verify", nir, net, "--samples", 2, "--steps", 40, "--json")
    assert done.status == 0, done.out + done.err
    assert done.json["ok"] and done.json["proven"] and done.json["oracle"] == 0
    (layer,) = done.json["layers"]
    assert done.json["silent"] == [] and not done.json["rounded"]
    assert layer["fed"] == layer["alone"] == 0 and layer["decisions"] == 800 and layer["spikes"] > 50
    np.save(tmp_path / "x.npy", (np.random.default_rng(1).random((10, 3, 20)) < 0.3).astype(np.float32))
    text = call("snn", "verify", nir, net, "--data", tmp_path / "x.npy")
    assert text.status == 0 and "3 x 10 steps" in text.out and text.out.rstrip().endswith("OK")
    np.save(tmp_path / "x.npy", np.zeros((3, 20), np.float32))
    text = call("snn", "verify", nir, net, "--data", tmp_path / "x.npy")
    assert text.status == 1 and "1 x 3 steps" in text.out
    assert text.out.rstrip().endswith("NOT COMPARED: nothing fired in lif")
    assert "only silence was compared there; give more input" in text.out and "--allow-silent" in text.out
    silent = call("snn", "verify", nir, net, "--rate", 0, "--json").json
    assert silent["silent"] == ["lif"] and not silent["ok"] and silent["layers"][0]["spikes"] == 0
    allowed = call("snn", "verify", nir, net, "--rate", 0, "--allow-silent")
    assert allowed.status == 0 and "nothing fired in lif" in allowed.out and allowed.out.rstrip().endswith("OK")
    np.save(tmp_path / "x.npy", np.zeros((3, 21), np.float32))
    wrong = call("snn", "verify", nir, net, "--data", tmp_path / "x.npy").err
    assert "x.npy: input 'input': found shape (3, 21), expected (steps, 20) or (steps, samples, 20)" in wrong
    other = tmp_path / "other.nir"
    other.write_bytes(nir.read_bytes())
    import h5py

    with h5py.File(other, "r+") as file:
        file["node/nodes/fc/bias"][0] = 0.5
    refused = call("snn", "verify", other, net)
    assert refused.status == 2 and "was not compiled from this file" in refused.err


@pytest.mark.parametrize("simulator", ["spikingjelly", "snntorch"])
def test_rounded_weights_and_biases_make_sums_exact(call: Any, nir: Path, tmp_path: Path, simulator: str) -> None:
    """Numbers as training leaves them: not proven before, proven after rounding, on both sides alike."""
    import h5py

    net, rng = tmp_path / "net.snn", np.random.default_rng(2)
    with h5py.File(nir, "r+") as file:
        file["node/nodes/fc/weight"][...] = rng.normal(0, 0.5, (10, 20))
        file["node/nodes/fc/bias"][...] = rng.normal(0, 0.2, 10)
    for weights in ("float32", "int8"):
        assert call("snn", "compile", nir, "--simulator", simulator, "--weights", weights, "-o", net).status == 0
        network = decode(net.read_bytes())
        assert (inexact(network) == ["", ""]) == (weights == "int8")
        if why_not(simulator):
            continue
        text = call("snn", "verify", nir, net, "--rate", 0.3)
        assert text.status == 0 and ("proven: every sum is exact" in text.out) == (weights == "int8")
        assert ("weights (to eight bits) and biases are rounded on both sides" in text.out) == (weights == "int8")
    scales, bias = network.projections[0].scales, network.populations[1].bias
    assert network.projections[0].whole and scales is not None
    assert len(scales) == 10 and not (bias % 2.0 ** (np.frexp(scales)[1] - 5)).any()


@pytest.mark.parametrize(
    ("simulator", "there", "expected"),
    [
        ("sinabs", (), "not installed: torch, nir, nirtorch, sinabs; run: pip install torch nir nirtorch sinabs"),
        ("snntorch", ("torch", "nir"), "not installed: nirtorch, snntorch; run: pip install nirtorch snntorch"),
        ("norse", ("torch", "nir", "nirtorch"), "not installed: norse; run: pip install norse (norse: LGPLv3)"),
        ("no_such_module", ("torch", "nir", "nirtorch", "no_such_module"), "no_such_module cannot be imported (No mod"),
        ("needs_more", ("torch", "nir", "nirtorch", "needs_more"),
         "needs_more needs the package no_such_package, which is not installed; run: pip install no_such_package"),
    ],
)  # fmt: skip
def test_why_a_simulator_cannot_be_used(
    simulator: str, there: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "needs_more.py").write_text("import no_such_package.inner\n")
    monkeypatch.syspath_prepend(tmp_path)

    def version(name: str) -> str:
        if name not in there:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert why_not(simulator).startswith(expected) and why_not(simulator).count("pip install") == 1


def test_the_packages_that_are_missing_are_named(call: Any, nir: Path, tmp_path: Path) -> None:
    if not why_not("spikingjelly"):
        pytest.skip("SpikingJelly is installed")
    net = tmp_path / "net.snn"
    assert call("snn", "compile", nir, "--simulator", "spikingjelly", "-o", net).status == 0
    done = call("snn", "verify", nir, net)
    assert done.status == 2 and f"SpikingJelly 2.0: {why_not('spikingjelly')}" in done.err


MODELS = """
import snntorch
import torch

net = torch.nn.Sequential(torch.nn.Linear(20, 10), snntorch.Leaky(torch.full((10,), 0.5), torch.ones(10),
                          init_hidden=True))
with torch.no_grad():
    for parameter in net[0].parameters():
        parameter.copy_((torch.arange(parameter.numel()).reshape(parameter.shape) * 7 % 11 - 4) / 8)


class Looped(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.lif = net[0], snntorch.Leaky(torch.full((10,), 0.5), torch.ones(10))

    def forward(self, x):
        mem, rows = self.lif.init_leaky(), []
        for step in x:
            spikes, mem = self.lif(self.fc(step), mem)
            rows.append(spikes)
        return torch.stack(rows), mem


class Explicit(Looped):
    def forward(self, x, mem=None):
        return self.lif(self.fc(x), mem)


def made():
    return net


broken = torch.nn.Linear(21, 10)
number = 5
"""


def test_a_trained_module_is_compared(call: Any, tmp_path: Path) -> None:
    """Called step by step, with its states, or with all steps; from the user's own file."""
    if reason := why_not("snntorch"):
        pytest.skip(reason)
    import contextlib
    import io
    import runpy

    import nir
    import torch
    from snntorch.export_nir import export_to_nir

    models = tmp_path / "models.py"
    models.write_text(MODELS)
    path, net, other = tmp_path / "net.nir", tmp_path / "net.snn", tmp_path / "other.snn"
    with contextlib.redirect_stdout(io.StringIO()):
        trained = runpy.run_path(str(models))["net"]
        nir.write(path, export_to_nir(trained, torch.zeros(1, 20), ignore_dims=[0]))
    assert call("snn", "compile", path, "--simulator", "snntorch", "-o", net).status == 0
    assert call("snn", "compile", path, "--simulator", "snntorch", "--reset", "zero", "-o", other).status == 0
    ways = {"net": "step by step, with (1, 20)", "Looped": "once, with (steps, 1,",
            "Explicit": "step by step, with (1, 20) and the state that it returned"}  # fmt: skip
    found = runpy.run_path(str(models))
    for name, way in ways.items():
        module = found[name]() if isinstance(found[name], type) else found[name]
        report = bnn.verify_snn(path, bnn.snn.load(net), module=module, rate=0.3)
        assert report.ok and report.module.startswith(way), report
        report = bnn.verify_snn(path, bnn.snn.load(other), module=module, rate=0.3)
        assert report.verdict == "DIFFERENT" and report.first is None and report.first_trained is not None
    for module, words in (
        (found["broken"], r"Linear, called step by step, with \(1, 20\), fails \(RuntimeError"),
        (5, "module: found int, expected the trained torch.nn.Module"),
    ):
        with pytest.raises(InputError, match=words):
            bnn.verify_snn(path, bnn.snn.load(net), module=module)
    done = call("snn", "verify", path, net, "--rate", 0.3, "--model", f"{models}:made")
    assert done.status == 0 and "the trained module was called step by step, with (1, 20)" in done.out, done.err
    wrong = call("snn", "verify", path, other, "--rate", 0.3, "--model", f"{models}:net")
    assert wrong.status == 1 and "the file is another network than the trained module" in wrong.out, wrong.out
    for model, words in ((f"{models}:none", "found no none in"), ("no.py", "expected FILE.py:NAME")):
        done = call("snn", "verify", path, net, "--model", model)
        assert done.status == 2 and words in done.err, done.err
    assert trained.training
    report = bnn.verify_snn(path, bnn.snn.load(net), module=trained, rate=0.3, time_major=False)
    assert report.ok and trained.training


NENGO = """
import nengo

with nengo.Network(seed=0) as net:
    node = nengo.Node([0.5], label="node")
    ensemble = nengo.Ensemble(10, 1, label="a")
    nengo.Connection(node, ensemble)
    nengo.Probe(ensemble.neurons)
number = 5
"""


def test_compiles_a_network_of_nengo(call: Any, tmp_path: Path) -> None:
    models, net, nir = tmp_path / "models.py", tmp_path / "net.snn", tmp_path / "net.nir"
    models.write_text(NENGO)
    nir.touch()
    source = f"{models}:net"
    for arguments, words in (
        ((source, "--inputs", "values", "--unsafe"), "--inputs is not for networks of Nengo; leave it out"),
        ((source, "--sample", models, "--unsafe"), "--sample is not for networks of Nengo; leave it out"),
        ((source,), "if you trust it, say --unsafe"),
        ((nir,), "found no Python file; --simulator nengo is for FILE.py:NAME"),
    ):
        done = call("snn", "compile", *arguments, "--simulator", "nengo", "-o", net)
        assert done.status == 2 and words in done.err, done.err
    if reason := why_not("nengo", ()):
        done = call("snn", "compile", source, "--simulator", "nengo", "--unsafe", "-o", net)
        assert done.status == 2 and "models.py cannot be run" in done.err, done.err
        pytest.skip(reason)
    done = call("snn", "compile", source, "--simulator", "nengo", "--unsafe", "--dt", 0.002, "-o", net, "--json")
    assert done.status == 0 and done.json["dt"] == 0.002, done.err
    assert ["a", "10", 10] in [[p["name"], p["shape"], p["neurons"]] for p in done.json["populations"]]
    assert bnn.snn.load(net).run(np.full((200, 1), 0.5)).output.any()
    for name, words in (("none", "found no none in"), ("number", "found int, expected a nengo.Network")):
        done = call("snn", "compile", f"{models}:{name}", "--simulator", "nengo", "--unsafe", "-o", net)
        assert done.status == 2 and words in done.err, done.err


def test_compiles_a_module(call: Any, tmp_path: Path) -> None:
    if reason := why_not("snntorch", ("torch",)):
        pytest.skip(reason)
    models, sample, net = tmp_path / "models.py", tmp_path / "x.npy", tmp_path / "net.snn"
    models.write_text(MODELS)
    arguments = ("--simulator", "snntorch", "--sample", sample, "--unsafe", "-o", net)
    x = np.random.default_rng(0).random((40, 1, 20)) < 0.3
    sent = []
    for name, given in (("net", x[0]), ("made", x[0]), ("Looped", x), ("Explicit", x[0])):
        np.save(sample, given)
        done = call("snn", "compile", f"{models}:{name}", *arguments, "--json")
        assert done.status == 0, done.err
        assert done.json["source"] == f"{models}:{name}" and done.json["populations"][1]["neurons"] == 10
        sent.append(bnn.snn.load(net).run(x[:, 0]).output)
    assert sent[0].any() and all((other == sent[0]).all() for other in sent)
    for name, words in (("broken", "fails in its forward"), ("none", "found no none in"), ("number", "found int")):
        done = call("snn", "compile", f"{models}:{name}", *arguments)
        assert done.status == 2 and words in done.err, done.err
