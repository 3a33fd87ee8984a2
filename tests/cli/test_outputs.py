# SPDX-License-Identifier: Apache-2.0
"""Where commands write: never over what they read, never two things under one name, and not after work in vain."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn import errors
from bnn.cli.common import check_outputs, check_suffix, default_output
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import Graph
from bnn.passes import lower

DIGITS = Path(__file__).parents[2] / "examples/digits.bnn"


def several_outputs(path: Path, names: Sequence[str]) -> Path:
    """A network whose outputs, (4) each, have these names."""
    x = ops.input_node("x", (4,))
    outputs = [ops.make("clamp", x, attrs=ops.ClampAttrs(0.0, 1.0 + i), name=name) for i, name in enumerate(names)]
    path.write_bytes(encode(lower(Graph((x,), tuple(outputs), tuple(names)))))
    return path


@pytest.fixture
def x(net: Path, small: Any) -> Path:
    path = net.with_name("x.npy")
    np.save(path, small.inputs(2)[0])
    return path


class TestArchives:
    @pytest.mark.parametrize(
        ("names", "keys"),
        [
            (("y", "y"), ["y", "y_1"]),
            (("file", "y"), ["file", "y"]),  # np.savez takes this one for its own argument
            (("a/b", "a/b"), ["a/b", "a/b_1"]),
            (["a", "a_1", "a"], ["a", "a_1", "a_2"]),
            (["", "output"], ["output", "output_1"]),
            (["y", "y", "y_1", "a.npy", "", ".npy", "b\0c", "b", "y"],
             ["y", "y_1", "y_1_1", "a", "output", "output_1", "b", "b_1", "y_2"]),
        ],
    )  # fmt: skip
    def test_no_output_is_lost(
        self, call: Any, tmp_path: Path, names: Sequence[str], keys: list[str], rng: np.random.Generator
    ) -> None:
        net, data = several_outputs(tmp_path / "net.bnn", names), 99 * rng.random((3, 4), np.float32)
        np.save(tmp_path / "x.npy", data)
        done = call("run", net, tmp_path / "x.npy", "--output", tmp_path / "y.npz")
        assert done.status == 0, done.err
        with np.load(tmp_path / "y.npz") as archive:
            assert archive.files == keys
            for key, wanted in zip(keys, bnn.load(net)(data), strict=True):
                np.testing.assert_array_equal(archive[key], wanted)

    def test_links_and_permissions(self, call: Any, net: Path, x: Path, tmp_path: Path) -> None:
        (tmp_path / "real.npy").touch(0o600)
        (tmp_path / "link.npy").symlink_to("real.npy")
        assert call("run", net, x, "--output", tmp_path / "link.npy").status == 0
        assert (tmp_path / "link.npy").is_symlink() and np.load(tmp_path / "real.npy").shape == (2, 10)
        assert stat.S_IMODE((tmp_path / "real.npy").stat().st_mode) == 0o600


class TestInputsAreKept:
    def refused(self, call: Any, kept: Path, *arguments: object) -> str:
        """The message of a call that must leave a file as it is."""
        before = kept.read_bytes()
        done = call(*arguments)
        assert done.status == 2 and done.out == "", done.out
        assert kept.read_bytes() == before
        return str(done.err)

    def test_compile(self, call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Before TensorFlow is loaded: the files need not even be models."""
        model, saved = tmp_path / "m.keras", tmp_path / "saved"
        model.write_bytes(b"trained for a week")
        (saved / "variables").mkdir(parents=True)
        (saved / "saved_model.pb").write_bytes(b"trained too")
        (tmp_path / "link.bnn").symlink_to(model)
        os.link(model, tmp_path / "hard.bnn")
        for output in (model, tmp_path / "link.bnn", tmp_path / "hard.bnn", f"{saved}/../m.keras"):
            assert "would overwrite the input" in self.refused(call, model, "compile", model, "-o", output)
        for output in (saved / "saved_model.pb", saved / "net.bnn", saved / "variables" / "net.bnn"):
            err = self.refused(call, saved / "saved_model.pb", "compile", saved, "-o", output)
            assert "lies inside the input" in err
        assert not list(saved.rglob("*.bnn"))
        monkeypatch.chdir(tmp_path)
        (tmp_path / "n.bnn").write_bytes(b"a model under an odd name")
        err = self.refused(call, tmp_path / "n.bnn", "compile", "n.bnn")  # which is the default output, too
        assert "n.bnn: is a compiled network; give the model that was trained: a .keras, .h5, .onnx" in err
        for name, words in (
            ("net.json", "model.save('net.keras')"), ("net.safetensors", "safetensors.torch.load_model(module, path)"),
            ("net.ckpt", "load them into the model"), ("net.pb", "give the SavedModel folder"),
            ("net.nir", "bnn snn compile NET.nir --simulator"), ("net.pth", "torch.onnx.export("),
        ):  # fmt: skip
            (tmp_path / name).write_bytes(b"a model")
            assert words in self.refused(call, tmp_path / name, "compile", name), name
        monkeypatch.chdir(saved / "variables")
        assert "a folder without saved_model.pb" in self.refused(call, model, "compile", ".")
        monkeypatch.chdir(saved)
        assert default_output(".", ".bnn") == f"{saved}.bnn"

    def test_run(self, call: Any, net: Path, x: Path, tmp_path: Path) -> None:
        for output in (x, net):
            assert "would overwrite the input" in self.refused(call, output, "run", net, x, "--output", output)
        labels = tmp_path / "labels.npy"
        labels.write_text("zero\n")
        err = self.refused(call, labels, "run", net, x, "--labels", labels, "--output", labels)
        assert "would overwrite the input" in err

    def test_emit_nir(self, call: Any, net: Path, tmp_path: Path) -> None:
        """Its proof too: out.proof.npz may be what --proof names."""
        assert "would overwrite" in self.refused(call, net, "emit", "nir", net, net)
        images = tmp_path / "out.proof.npz"
        np.savez(images, x=np.zeros((1, 12, 12, 1), np.float32))
        err = self.refused(call, images, "emit", "nir", net, tmp_path / "out.nir", "--proof", images)
        assert "would overwrite the input" in err
        os.mkfifo(tmp_path / "pipe.nir")
        done = call("emit", "nir", net, tmp_path / "pipe.nir")
        assert done.status == 2 and "not a regular file" in done.err

    def test_events(self, call: Any, tmp_path: Path) -> None:
        net, x = tmp_path / "net.bnn", tmp_path / "x.npy"
        net.write_bytes(DIGITS.read_bytes())
        np.save(x, np.zeros((1, 8, 8, 1), np.float32))
        for option in ("--plot", "--html"):
            for output in (net, x):
                err = self.refused(call, output, "events", net, x, option, output)
                assert f"{option} {output}: would overwrite the input" in err
        both = tmp_path / "run.html"
        done = call("events", net, x, "--plot", both, "--html", f"{tmp_path}/./run.html")
        assert done.status == 2 and "is also written by --plot" in done.err and not both.exists()
        assert call("events", net, x, "--html", both).status == 0
        both.chmod(0o600)
        assert call("events", net, x, "--html", both).status == 0
        assert stat.S_IMODE(both.stat().st_mode) == 0o600 and both.read_text(encoding="utf-8").endswith("</html>\n")


def test_where_to_write_is_looked_at_before_the_work(call: Any, net: Path, pair_net: Path, tmp_path: Path) -> None:
    """What is read is not there: this would be the next error."""
    for path, output, words in (
        (net, "y.txt", "expected a name ending in .npy or .npz"), (pair_net, "y.npy", "expected a name ending in .npz"),
        (net, "absent/y.npy", "y.npy: cannot be written: there is no folder"),
    ):  # fmt: skip
        done = call("run", path, tmp_path / "x.npy", "--output", tmp_path / output)
        assert done.status == 2 and words in done.err


@pytest.mark.parametrize(
    ("command", "name", "kinds"),
    [
        (["events", DIGITS, "x.npy", "--html"], "a.png", ".html or .htm"),
        (["events", DIGITS, "x.npy", "--plot"], "a.html", ".png or .svg or .pdf or .jpg"),
        (["emit", "nir", DIGITS], "a.txt", ".nir or .h5 or .hdf5"),
    ],
)
def test_names_that_say_something_else(
    call: Any, command: list[Any], name: str, kinds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether there is such a file or not: what is there stays."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((1, 8, 8, 1), np.float32))
    for there in (False, True):
        if there:
            Path(name).write_text("mine")
        done = call(*command, name)
        assert done.status == 2 and f"{name}: expected a name ending in {kinds}" in done.err
        assert Path(name).exists() == there
    assert Path(name).read_text() == "mine"


def test_names_of_outputs(tmp_path: Path) -> None:
    """A pipe may be called anything, unless its name decides what is written."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for name, devices, fits in (
        ("a.npy", True, True), ("a.npz", True, False), ("a", True, False), ("file", True, False), ("pipe", True, True),
        ("pipe", False, False), ("a.npy", False, True), (".npy", True, False),
    ):  # fmt: skip
        if fits:
            check_suffix("-o", str(tmp_path / name), (".npy",), devices=devices)
        else:
            with pytest.raises(bnn.InputError, match="-o .*: expected a name ending in .npy"):
                check_suffix("-o", str(tmp_path / name), (".npy",), devices=devices)
    check_suffix("-o", None, (".npy",))


def test_outputs_beside_inputs(tmp_path: Path) -> None:
    folder, file = tmp_path / "model", tmp_path / "net"
    folder.mkdir()
    file.touch()
    (tmp_path / "link").symlink_to("net")
    (tmp_path / "inside").symlink_to("model")
    check_outputs({"-a": os.devnull}, [os.devnull])
    given = [str(folder), str(file), None, str(tmp_path / "absent")]
    check_outputs({"-a": str(tmp_path / "modelx"), "-b": None, "-c": str(tmp_path / "absent")}, given)
    for path, words in (
        ("net", "would overwrite the input"), ("link", "would overwrite the input"),
        ("model/a", "lies inside the input"), ("inside/a", "lies inside the input"), ("model", "lies inside the input"),
    ):  # fmt: skip
        with pytest.raises(bnn.InputError, match=words):
            check_outputs({"-a": str(tmp_path / path)}, given)
    for other in ("x", "./x", "model/../x"):
        with pytest.raises(bnn.InputError, match="-b .*: is also written by -a"):
            check_outputs({"-a": str(tmp_path / "x"), "-b": f"{tmp_path}/{other}"}, [])
    with pytest.raises(errors.ModelNotFoundError, match="there is no folder"):
        check_outputs({"-a": str(tmp_path / "none" / "x")}, [])


def test_without_what_draws(call: Any, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said before the work."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.chdir(tmp_path)
    Path("empty.npy").touch()
    for command in ("evaluate", "--plot"), ("events", "--plot"), ("snn run", "--data", "--plot"):
        done = call(*command[0].split(), net, *command[1:-1], "empty.npy", command[-1], "a.png")
        assert done.status == 2 and "a.png: pictures need matplotlib (" in done.err and "pip install" in done.err
