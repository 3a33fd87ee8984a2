# SPDX-License-Identifier: Apache-2.0
"""The parts of `verify_nir`, each alone and without a simulator: what is compared, and that each difference decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import bnn
from bnn.verification.nir import ImporterReport, NirLayerCheck, NirReport
from bnn.verification.report import ACCEPT

# -- the verdict ------------------------------------------------------------------------------------------------------


def layer(**changed: Any) -> NirLayerCheck:
    return NirLayerCheck(**{"layer": "a", "kind": "spikes", "compared": 5, "fired": 2, **changed})


def run(**changed: Any) -> ImporterReport:
    return ImporterReport(**{"importer": "norse", "version": "1", "profile": "if", "layers": [layer()], **changed})


SKIPPED = run(skipped="not installed", layers=[], version="")


def test_the_words() -> None:
    wrong = layer(layer="b", mismatched=2, outside=3, first="there")
    several = run(layers=[layer(), wrong], images=1000, classes_different=4)
    assert (several.compared, several.mismatched, several.outside) == (10, 2, 3)
    assert str(NirReport([several, run(error="odd"), SKIPPED], ["a change"])).splitlines() == [
        "the file is not what the model gives: a change",
        "importer  version  profile  images  other classes  values  mismatched  not 0 or 1",
        "--------  -------  -------  ------  -------------  ------  ----------  ----------",
        "norse     1        if        1,000              4      10           2           3",
        "norse, 'b': 2 of 5 spikes wrong; there", "norse 1, profile 'if': FAILED: odd",
        "norse , profile 'if': skipped: not installed", "DIFFERENT",
    ]  # fmt: skip
    dead = [run(layers=[layer(fired=0), layer(layer="b", unchanged=True)])] * 2
    lines = ["nothing fired in 'a', in any image: its comparison says nothing",
             "no bit of 'b' changed, in any image: its comparison says nothing"]  # fmt: skip
    assert str(NirReport(dead, allow_silent=True)).splitlines()[4:] == [*lines, "OK"]
    assert str(NirReport(dead)).splitlines()[4:] == [*lines, ACCEPT, "SILENT"] and "--allow-silent" in ACCEPT


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
