# SPDX-License-Identifier: Apache-2.0
"""bnn snn compile and verify, as a shell calls them."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn.snn.file import decode
from bnn.snn.whole import inexact
from bnn.verification.over_time import why_not
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
    done = call("snn", "compile", nir, "--as", "snntorch", "-o", target, "--json")
    assert done.status == 0, done.err
    assert done.json["dt"] == 1e-4
    assert done.json["bytes"] == target.stat().st_size and done.json["populations"][1]["neurons"] == 10
    text = call("snn", "compile", nir, "--as", "snntorch", "-o", target)
    assert "lif: 10 = 10 neurons: decay, >, reset value" in text.out
    assert "1 projection, 1 of them stored in 8 bits, exactly; a step is 100 us" in text.out
    model = bnn.snn.load(target)
    assert model.simulator == "snntorch" and model.dt == 1e-4
    run = model.run(np.ones((5, 20), np.uint8))
    assert run.output.shape == (5, 10) and 0 < run.output.sum() <= 50
    assert model.to_bytes() == bnn.snn.compile(nir, simulator="snntorch").to_bytes()


def test_wrong_calls(call: Any, nir: Path, tmp_path: Path) -> None:
    net = tmp_path / "net.snn"
    for arguments, words in (
        (("compile", nir), "Missing option '--as'"),
        (("compile", nir, "--as", "brian"), "'brian' is not one of 'norse'"),
        (("compile", nir, "--as", "norse", "-o", net), "r = 2"),
        (("compile", nir, "--as", "snntorch", "--dt", 1, "-o", net), "and no others; leave out dt (--dt)"),
        (("compile", nir, "--as", "norse", "-o", tmp_path / "net.bnn"), "expected a name ending in .snn"),
        (("compile", nir, "--as", "snntorch", "-o", tmp_path / "no" / "net.snn"), "there is no folder"),
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
        (("snn", "compile", net, "--as", "norse"), "is a compiled network; give the NIR file"),
        (
            ("snn", "compile", zipped, "--as", "norse"),
            "probably a Keras model, and not a NIR file; convert it: bnn snn",
        ),
        (
            ("inspect", snn),
            "net.snn: is a .snn file, a network over time, and not a .bnn file; use bnn snn inspect, bnn snn",
        ),
        (("run", snn, x), "and not a .bnn file; use bnn snn inspect, bnn snn run"),
        (("inspect", tmp_path / "no.bnn"), "give the path of a .bnn file, made by bnn.compile(model).save(path)"),
    ):
        done = call(*arguments)
        assert done.status == 2 and words in done.err, (arguments, done.err)


@pytest.mark.parametrize("simulator", ["spikingjelly", "snntorch"])  # neurons of both hold their own state
def test_verifies(call: Any, nir: Path, tmp_path: Path, simulator: str) -> None:
    if reason := why_not(simulator):
        pytest.skip(reason)
    net = tmp_path / "net.snn"
    assert call("snn", "compile", nir, "--as", simulator, "-o", net).status == 0
    done = call("snn", "verify", nir, net, "--samples", 2, "--steps", 40, "--json")
    assert done.status == 0, done.out + done.err
    assert done.json["ok"] and done.json["proven"] and done.json["oracle"] == 0
    (layer,) = done.json["layers"]
    assert done.json["silent"] == [] and not done.json["rounded"]
    assert layer["fed"] == layer["alone"] == 0 and layer["decisions"] == 800 and layer["spikes"] > 50
    np.save(tmp_path / "x.npy", (np.random.default_rng(1).random((3, 10, 20)) < 0.3).astype(np.float32))
    text = call("snn", "verify", nir, net, "--data", tmp_path / "x.npy")
    assert text.status == 0 and "3 x 10 steps" in text.out and text.out.rstrip().endswith("OK")
    np.save(tmp_path / "x.npy", np.zeros((3, 20), np.float32))
    text = call("snn", "verify", nir, net, "--data", tmp_path / "x.npy")
    assert text.status == 0 and "1 x 3 steps" in text.out
    assert "warning: never sent anything: lif; their spikes were not compared" in text.out
    silent = call("snn", "verify", nir, net, "--rate", 0, "--json").json
    assert silent["silent"] == ["lif"] and silent["ok"] and silent["layers"][0]["spikes"] == 0
    np.save(tmp_path / "x.npy", np.zeros((3, 21), np.float32))
    wrong = call("snn", "verify", nir, net, "--data", tmp_path / "x.npy").err
    assert "x.npy: input 'input': found shape (3, 21), expected (steps, 20) or (samples, steps, 20)" in wrong
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
        assert call("snn", "compile", nir, "--as", simulator, "--weights", weights, "-o", net).status == 0
        network = decode(net.read_bytes())
        assert (inexact(network) == ["", ""]) == (weights == "int8")
        if why_not(simulator):
            continue
        text = call("snn", "verify", nir, net, "--rate", 0.3)
        assert text.status == 0 and ("proven: every sum is exact" in text.out) == (weights == "int8")
        assert ("weights (to eight bits) and biases are rounded on both sides" in text.out) == (weights == "int8")
    scale = network.projections[0].scale
    assert network.projections[0].whole and not (network.populations[1].bias % scale).any()


@pytest.mark.parametrize(
    ("simulator", "there", "expected"),
    [
        ("sinabs", (), "not installed: torch, nir, nirtorch, sinabs; run: pip install torch nir nirtorch sinabs"),
        ("snntorch", ("torch", "nir"), "not installed: nirtorch, snntorch; run: pip install nirtorch snntorch"),
        ("norse", ("torch", "nir", "nirtorch"), "not installed: norse; run: pip install norse (norse: LGPLv3)"),
        ("no_such_module", ("torch", "nir", "nirtorch", "no_such_module"), "no_such_module cannot be imported (No mod"),
    ],
)
def test_why_a_simulator_cannot_be_used(
    simulator: str, there: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert call("snn", "compile", nir, "--as", "spikingjelly", "-o", net).status == 0
    done = call("snn", "verify", nir, net)
    assert done.status == 2 and f"SpikingJelly 2.0: {why_not('spikingjelly')}" in done.err
