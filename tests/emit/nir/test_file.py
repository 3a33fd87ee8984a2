# SPDX-License-Identifier: Apache-2.0
"""The NIR file and its proof: what is in them, and that they are written together or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._distribution import install
from bnn._types import Array
from bnn.emit.nir.layered import LayeredNetwork, NirLayer
from bnn.emit.nir.write import PROFILES, NirSummary, emit, layers_for, synapses
from bnn.errors import InputError, ModelFileError
from bnn.ir.graph import DType
from bnn.ir.interpret import run
from bnn.passes import lower
from bnn.runtime.files import replace_all

pytest.importorskip("nir", reason=f"the package nir is not installed: {install('nir')}")


def emitted(small: Any, folder: Path, profile: str = "if", **options: Any) -> NirSummary:
    summary, files = emit(lower(small.graph), folder / "net.nir", profile, sha256="0" * 64, **options)
    replace_all(files)
    return summary


@pytest.mark.parametrize("profile", PROFILES)
def test_the_file_holds_what_every_reader_knows(small: Any, tmp_path: Path, profile: str) -> None:
    import h5py
    import nir

    summary = emitted(small, tmp_path, profile)
    graph = nir.read(tmp_path / "net.nir")
    kinds = {"if": {"Conv2d", "IF"}, "lif": {"Conv2d", "LIF"}, "flat": {"Affine", "IF"}, "cuba": {"Affine", "CubaLIF"}}
    assert {type(n).__name__ for n in graph.nodes.values()} == {"Input", "Output"} | kinds[profile]
    starts, ends = [a for a, _ in graph.edges], [b for _, b in graph.edges]
    assert len(set(starts)) == len(starts) and len(set(ends)) == len(ends) == len(graph.nodes) - 1  # a chain
    for node in graph.nodes.values():
        if hasattr(node, "weight"):
            assert node.weight.dtype == np.float32 and not node.bias.any()  # all constants come from the clock
        if hasattr(node, "groups"):
            assert node.groups == 1 and node.weight.shape[2] == node.weight.shape[3]
        if hasattr(node, "v_threshold"):
            assert np.all(node.v_threshold == 1)
            taus = {"lif": ("tau",), "cuba": ("tau_syn", "tau_mem")}.get(profile, ())
            steps = {"lif": 1 + 2.0**-20, "cuba": 2.0**22}.get(profile, 1)  # of 1e-4 s
            assert all(np.all(getattr(node, name) == np.float32(1e-4 * steps)) for name in taus)
            assert np.all(node.r == np.float32(steps)) and np.all(getattr(node, "w_in", node.r) == node.r)
            assert not np.any(getattr(node, "v_leak", 0))
    with h5py.File(tmp_path / "net.nir") as file:
        names: list[str] = []
        file.visit(names.append)
    assert not [n for n in names if n.endswith("v_reset")]  # nir 1.0.4 stops at it
    assert graph.metadata["producer"] == "bnn" and graph.metadata["profile"] == profile
    assert summary.encoder == ("conv_a",) and summary.layers[-1].neurons == 0 and "softmax" in summary.decoder
    assert "net.nir" in str(summary) and summary.layers[0].name in str(summary)


def test_the_proof_holds_the_oracles_spikes(small: Any, tmp_path: Path) -> None:
    inputs = small.inputs(5)
    summary = emitted(small, tmp_path, inputs=inputs)
    with np.load(f"{summary.proof}.npz") as proof:
        arrays = dict(proof)
    text = json.loads(Path(f"{summary.proof}.json").read_text())
    np.testing.assert_array_equal(arrays["input/image"], inputs[0])
    np.testing.assert_array_equal(arrays["output/probabilities"], small.expected(inputs)[0])
    values = run(lower(small.graph), inputs)
    for node, value in values.items():
        if node.type.dtype is DType.b1 and node.name == "conv_b":
            found = arrays["spikes/conv_b_spikes"]
            assert found[:, -1].all()  # the clock
            np.testing.assert_array_equal(found[:, :-1], value.transpose(0, 3, 1, 2) > 0)
            break
    else:
        raise AssertionError("no layer conv_b")
    assert text["sha256"] == "0" * 64 and text["layer_fields"]["conv_b"][0]["margin"] > 0
    assert text["input_fields"][-1]["kind"] == "clock"


def test_the_same_network_gives_the_same_bytes(small: Any, tmp_path: Path) -> None:
    found = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        emitted(small, folder)
        found.append([(folder / f"net{end}").read_bytes() for end in (".nir", ".proof.npz", ".proof.json")])
    assert found[0] == found[1]


def test_proof_inputs_are_checked(small: Any, tmp_path: Path) -> None:
    model, (x,) = bnn.Model.from_bytes(small.data), small.inputs(2)
    for wrong in ([x] * 2, [], x[:0], x[:, :5], np.float32(1)[None], np.float32(1), x.astype(np.complex64)):
        with pytest.raises(InputError, match="input 'image': found"):
            bnn.emit_nir(model, tmp_path / "net.nir", proof_inputs=wrong)
    assert not list(tmp_path.iterdir())
    assert bnn.emit_nir(model, tmp_path / "net.nir").proof_images == 4
    assert bnn.emit_nir(model, tmp_path / "net.nir", proof_inputs=x.astype(np.float64)).proof_images == 2


def test_a_file_is_no_folder(small: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelFileError, match=r"net\.nir: cannot be written: there is no folder .*file"):
        emitted(small, tmp_path / "file")


@pytest.mark.parametrize("name", ["net.nir", "net.proof.npz", "net.proof.json"])
def test_all_three_files_are_written_or_none(small: Any, tmp_path: Path, name: str) -> None:
    """And the message names the one that cannot be."""
    (tmp_path / name).mkdir()
    with pytest.raises(ModelFileError, match=rf"{name}: cannot be written: Is a directory"):
        emitted(small, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_synapses_are_connections(small: Any, tmp_path: Path) -> None:
    """Of every element, as many as the matrices of the profile 'flat' have, but for the clock, which is an image."""
    found = []
    for profile in ("if", "flat"):
        chain = layers_for(lower(small.graph), profile)
        clockless = [replace(x, weight=without_clock(x, chain, i)) for i, x in enumerate(chain.layers)]
        shapes = [chain.input_shape, *(layer.shape for layer in chain.layers)]
        found.append([synapses(layer, before) for layer, before in zip(clockless, shapes, strict=False)])
        summary = emitted(small, tmp_path, profile)
        for before, layer, told in zip(shapes, chain.layers, summary.layers, strict=False):
            assert told.synapses == synapses(layer, before) >= told.weights == np.count_nonzero(layer.weight)
            assert f"{told.synapses:,} synapses, {told.weights:,} weights" in str(summary)
    assert found[0] == found[1]


def without_clock(layer: NirLayer, chain: LayeredNetwork, i: int) -> Array:
    weight = layer.weight.copy()
    weight[:, (chain.layers[i - 1].fields if i else chain.inputs)[-1].start] = 0
    return weight
