# SPDX-License-Identifier: Apache-2.0
"""The parts of `verify_nir`, each alone and without a simulator: what is compared, and that each difference decides."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.verification import nir
from bnn.verification.changes import ACCEPT
from bnn.verification.nir import ImporterReport, LayerReport, NirReport
from bnn.verification.simulators import IMPORTERS

# -- the verdict ------------------------------------------------------------------------------------------------------


def layer(**changed: Any) -> LayerReport:
    return LayerReport(**{"layer": "a", "kind": "spikes", "compared": 5, "fired": 2, **changed})


def run(**changed: Any) -> ImporterReport:
    return ImporterReport(**{"importer": "norse", "version": "1", "profile": "if", "layers": [layer()], **changed})


SKIPPED = run(skipped="not installed", layers=[], version="")


def test_the_words() -> None:
    wrong = layer(layer="b", mismatched=2, outside=3, first="there")
    several = run(layers=[layer(), wrong], images=1000, classes_different=4)
    assert (several.compared, several.mismatched, several.outside) == (10, 2, 3)
    expected = (
        "the file is not what the model gives: a change\n"
        "norse 1, profile 'if': 1,000 images, 10 values compared: 2 mismatched, 3 taps not 0 or 1, "
        "4 classes different\n"
        "  b: 2 of 5 spikes wrong; there\n"
        "norse 1, profile 'if': FAILED: odd\n"
        "norse , profile 'if': skipped: not installed"
    )
    assert str(NirReport([several, run(error="odd"), SKIPPED], ["a change"])) == expected
    dead = [run(layers=[layer(fired=0), layer(layer="b", unchanged=True)])] * 2
    lines = ["nothing fired in 'a', in any image: its comparison says nothing",
             "no bit of 'b' changed, in any image: its comparison says nothing"]  # fmt: skip
    assert str(NirReport(dead, allow_silent=True)).splitlines()[2:] == lines
    assert str(NirReport(dead)).splitlines()[2:] == [*lines, ACCEPT] and "--allow-silent" in ACCEPT


# -- what is compared -------------------------------------------------------------------------------------------------


def chain_of(bits: Array) -> tuple[Any, Any]:
    """A chain of one layer of three neurons, and what runs it."""
    node = object()
    one = SimpleNamespace(name="sums", neuron_name="a", neurons=True, fields=[field("a", node)])
    network = SimpleNamespace(form=None, decode=lambda sums, bits: [])
    chain = SimpleNamespace(layers=[one], flat=True, inputs=[field("x", node)], network=network)
    return chain, SimpleNamespace(run=lambda chunk: ({node: bits[: len(chunk[0])]}, []))


def field(name: str, node: Any) -> Any:
    return SimpleNamespace(name=name, node=node, shape=(1, 1, 3), start=0)


BITS = np.int8([[1, -1, 1], [-1, 1, 1]])  # of two images
SPIKES = (BITS > 0).astype(np.float32)


@pytest.mark.parametrize(
    ("at", "value", "mismatched", "outside"),
    [((1, 2), 1, 0, 0), ((1, 2), 0, 1, 0), ((0, 1), 1, 1, 0), ((0, 1), 2, 1, 1), ((1, 2), -1, 1, 1),
     ((1, 1), 0.5, 1, 1), ((1, 0), np.nan, 1, 1)],
)  # fmt: skip
def test_one_spike(at: tuple[int, int], value: float, mismatched: int, outside: int) -> None:
    """The first that differs is told, with its image among all."""
    found, report = SPIKES.copy(), layer(compared=0, fired=0)
    found[at] = value
    chain, runtime = chain_of(BITS)
    for begin in (10, 20):
        nir._compare(report, chain.layers[0], found, runtime.run([BITS])[0], chain, begin)
    assert (report.compared, report.mismatched, report.outside) == (12, 2 * mismatched, 2 * outside)
    assert report.fired == 8  # of the runtime, whatever was found
    first = f"first in image {10 + at[0]}, layer 'a', element ({at[1]},): found {value:g}, the C runtime has "
    assert report.first == (f"{first}{SPIKES[at]:g}" if mismatched else "")
    with pytest.raises(ValueError, match=r"layer 'a' gave an array of \(3, 2\), expected \(2, 3\)"):
        nir._compare(report, chain.layers[0], found.reshape(3, 2), runtime.run([BITS])[0], chain, 0)


def test_classes_are_those_of_all_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = [np.float32([[1, 2], [2, 1], [1, 2]]), np.float32([[[1], [2]], [[1], [2]], [[2], [1]]])]
    theirs = [np.float32([[1, 3], [1, 2], [1, 2]]), np.float32([[[1], [2]], [[1], [2]], [[1], [2]]])]
    monkeypatch.setattr(nir, "readout_sums", lambda chain, last: ({}, {}))
    chain: Any = SimpleNamespace(network=SimpleNamespace(decode=lambda sums, bits: ours))
    assert nir._classes(chain, np.zeros((3, 1)), theirs) == 2


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (None, ""), (ValueError("first\nsecond"), "ValueError: first"), (KeyError(), "KeyError: "),
        (RuntimeError("x" * 500), f"RuntimeError: {'x' * 300}"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("able", [True, False])
def test_a_run_in_batches(error: Exception | None, says: str, able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three images, two at a time; what an importer raises is its report's."""
    chain, runtime = chain_of(BITS)
    monkeypatch.setattr(nir, "_RuntimeBits", lambda model, form, images: runtime)
    monkeypatch.setattr(nir, "_classes", lambda chain, last, outputs: len(last))
    done: list[int] = []

    def taps(spikes: Array, names: list[str]) -> dict[str, Array]:
        if error is not None:
            raise error
        return {"a": spikes}

    importer: Any = SimpleNamespace(
        load=lambda graph, profile, stream: SimpleNamespace(run=taps), profiles=["if"] if able else [], why_not="why",
    )  # fmt: skip
    report = run(layers=[])
    x = [np.zeros((3, 3), np.float32)]
    nir._run(importer, report, None, chain, None, x, 2, False, done.append)  # type: ignore[arg-type]
    assert report.error == (says and says + ("" if able else " (why)"))
    counts = (report.images, report.classes_different, report.compared, report.mismatched)
    assert counts == ((0, 0, 0, 0) if error else (3, 3, 9, 0)) and done == ([] if error else [2, 1])
    assert report.seconds > 0


@pytest.mark.parametrize(("bits", "silent"), [(BITS, ""), (-np.ones((2, 3), np.int8), "nothing fired in 'a'"),
                                              (BITS[[1, 1]], "no bit of 'a' changed")])  # fmt: skip
def test_a_run_in_which_nothing_happens(bits: Array, silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chain, runtime = chain_of(bits)
    monkeypatch.setattr(nir, "_RuntimeBits", lambda model, form, images: runtime)
    monkeypatch.setattr(nir, "_classes", lambda chain, last, outputs: 0)
    network = SimpleNamespace(run=lambda spikes, names: {"a": spikes})
    importer: Any = SimpleNamespace(load=lambda graph, profile, stream: network, profiles=["if"], why_not="")
    report = run(layers=[])
    nir._run(importer, report, None, chain, None, [np.zeros((4, 3), np.float32)], 2, False, None)  # type: ignore[arg-type]
    (found,) = report.layers
    assert found.silent == silent and report.ok and NirReport([report]).ok == (not silent)


def test_bits_and_outputs_of_the_runtime(two_by_two: Any) -> None:
    """Outputs by their index, bits as integers, of as many images as there are."""
    from bnn.file.read import decode
    from bnn.ir.neurons import neuron_form

    model = bnn.Model.from_bytes(two_by_two.data)
    inputs = two_by_two.inputs(3)
    bits, outputs = nir._RuntimeBits(model, neuron_form(decode(two_by_two.data)), 4).run(inputs)
    for found, wanted in zip(outputs, model(inputs), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert bits and all(b.dtype == np.int8 and set(np.unique(b)) <= {-1, 1} and len(b) == 3 for b in bits.values())


def test_outputs_are_in_their_order() -> None:
    """Whichever is computed first."""
    storages = (("input", 0), ("output", 1), ("output", 0))
    tensors = [SimpleNamespace(index=i, dtype="f32", storage=s, offset=o) for i, (s, o) in enumerate(storages)]
    stepper = SimpleNamespace(step=lambda op, count: np.full((count, 1), op), poke=lambda index, values: None)
    ops = [SimpleNamespace(index=i, output=i + 1) for i in range(2)]
    model: Any = SimpleNamespace(tensors=tensors, ops=ops, stepper=lambda images: stepper)
    graph = SimpleNamespace(inputs=["x"], schedule=["first", "second"], nodes=lambda: [])
    form: Any = SimpleNamespace(original=graph, graph=graph, same={})
    _, outputs = nir._RuntimeBits(model, form, 3).run([np.zeros((3, 1), np.float32)])
    assert [y.tolist() for y in outputs] == [[[1]] * 3, [[0]] * 3]


# -- what goes in -----------------------------------------------------------------------------------------------------


def test_arrays(two_by_two: Any) -> None:
    model = bnn.Model.from_bytes(two_by_two.data)
    left, right = two_by_two.inputs(2)
    found = model.check_inputs([left.astype(np.float64), right], least=1, convert=True)
    assert [a.dtype for a in found] == [np.float32] * 2 and found[0].flags.c_contiguous
    for given, words in (
        ([left], "the model has 2 inputs .*, found 1 arrays"), ([left, right, right], "found 3 arrays"),
        ([left, right[:1]], "input 'right' has 1 images but 'left' has 2"),
        ([left[:0], right[:0]], "input 'left': found an empty batch"),
        ([right, left], "input 'left': found"),
    ):  # fmt: skip
        with pytest.raises(bnn.InputError, match=words):
            bnn.verify_nir("absent.nir", model, given, "all")


@pytest.mark.parametrize("size", [0, -1, 2.5, "2", None])
def test_batches_are_of_one_image_at_least(small: Any, size: Any) -> None:
    model = bnn.Model.from_bytes(small.data)
    with pytest.raises(bnn.InputError, match="batch_size: found .*, expected"):
        bnn.verify_nir("absent.nir", model, small.inputs(1), "all", batch_size=size)
    with pytest.raises(bnn.ModelNotFoundError, match="absent.nir: there is no such file"):
        bnn.verify_nir("absent.nir", model, small.inputs(1), "all", batch_size=1)
    with pytest.raises(bnn.InputError, match="importer: found 'any', expected one of all, "):
        bnn.verify_nir("absent.nir", model, small.inputs(1), "any")


@pytest.mark.parametrize("installed", [(), ("norse",), ("snntorch", "norse")])
@pytest.mark.parametrize("any_of_them", [True, False])
def test_which_importers_are_installed(installed: tuple[str, ...], any_of_them: bool, monkeypatch: Any) -> None:
    """One that runs the profile, where any will do; else it is asked, and says why not."""
    for name, one in IMPORTERS.items():
        monkeypatch.setattr(type(one), "version", lambda self: "1" if self.name in installed else None)
        monkeypatch.setitem(one.__dict__, "profiles", ("if",) if name == "spikingjelly" else ("lif",))
    chosen = list(IMPORTERS.values())
    if not installed:
        with pytest.raises(bnn.SetupError, match=r"rockpool: not installed; pip install 'bnn-compiler\[spiking\]'"):
            nir._check_installed(chosen, "lif", any_of_them)
        return
    nir._check_installed(chosen, "lif", any_of_them)
    if any_of_them:
        with pytest.raises(bnn.SetupError, match=f"'if': found .*{installed[0]}.*, expected spikingjelly;"):
            nir._check_installed(chosen, "if", any_of_them)
    else:
        nir._check_installed(chosen, "if", any_of_them)


def test_a_model_is_not_overwritten(small: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.bnn"
    path.write_bytes(small.data)
    (tmp_path / "link").symlink_to(path)
    for model in (path, str(path)):
        for out in (path, tmp_path / "link", str(path)):
            with pytest.raises(bnn.InputError, match="would overwrite the model; give another path"):
                bnn.emit_nir(model, out)
    assert path.read_bytes() == small.data


def test_what_nir_would_follow_or_fail_to_copy(small: Any, tmp_path: Path) -> None:
    model, path = bnn.Model.from_bytes(small.data), tmp_path / "net.nir"
    for name, value, words in (
        ("tau", np.empty(2, h5py.ref_dtype), "found values of object, expected numbers or a text"),
        ("metadata/again", h5py.HardLink(), "is the same object as"),
        ("metadata/other", h5py.ExternalLink("other.h5", "/"), "is a link to another file"),
    ):
        with h5py.File(path, "w") as file:
            node = file.create_group("node")
            node[name] = file["/"] if isinstance(value, h5py.HardLink) else value
        with pytest.raises((bnn.CompileError, bnn.ModelFormatError), match=words):
            bnn.verify_nir(path, model, np.zeros((1, *model.input_shapes[0]), np.float32))


@pytest.mark.parametrize(
    ("metadata", "kind", "words"),
    [
        ({"producer": "other"}, bnn.ModelFormatError, "only files from bnn.emit_nir can be verified"),
        ({"producer": None}, bnn.ModelFormatError, "only files from bnn.emit_nir can be verified"),
        ({"bnn_sha256": "0" * 64}, bnn.ModelFormatError, "was emitted from another .bnn file"),
        ({"profile": "spikes"}, bnn.ModelFormatError, "name the profile 'spikes', expected one of"),
        (ValueError("odd"), bnn.ModelFormatError, r"nir cannot read it \(ValueError: odd\); emit it again"),
    ],
)
def test_which_files_are_read(
    small: Any, tmp_path: Path, metadata: Any, kind: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, model = tmp_path / "net.nir", bnn.Model.from_bytes(small.data)
    fine = {"producer": b"bnn", "bnn_sha256": nir.digest(small.data), "profile": "lif"}

    def read(name: str) -> Any:
        if isinstance(metadata, Exception) and wrong:
            raise metadata
        return SimpleNamespace(metadata=fine | (metadata if wrong and isinstance(metadata, dict) else {}))

    monkeypatch.setitem(sys.modules, "nir", SimpleNamespace(read=read))  # type: ignore[arg-type]
    wrong = True
    with pytest.raises(kind, match=words) as caught:
        nir._read(str(path), model)
    assert type(caught.value) is kind
    wrong = False
    assert nir._read(str(path), model)[1] == "lif"
