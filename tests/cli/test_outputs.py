# SPDX-License-Identifier: Apache-2.0
"""Where commands write: never over what they read, never two things under one name, and not after work in vain."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn.cli import run as run_module
from bnn.cli.common import check_outputs
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import Graph
from bnn.passes import lower

DIGITS = Path(__file__).parents[2] / "examples/digits.bnn"


def two_outputs(path: Path, names: Sequence[str]) -> Path:
    """A network whose outputs, (4) and (4), have these names."""
    x = ops.input_node("x", (4,))
    first = ops.make("clamp", x, attrs=ops.ClampAttrs(0.0, 1.0), name=names[0])
    second = ops.make("softmax", x, name=names[1])
    path.write_bytes(encode(lower(Graph((x,), (first, second), tuple(names)))))
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
        ],
    )
    def test_no_output_is_lost(
        self, call: Any, tmp_path: Path, names: Sequence[str], keys: list[str], rng: np.random.Generator
    ) -> None:
        net, data = two_outputs(tmp_path / "two.bnn", names), rng.random((3, 4), np.float32)
        np.save(tmp_path / "x.npy", data)
        done = call("run", net, tmp_path / "x.npy", "--output", tmp_path / "y.npz")
        assert done.status == 0, done.err
        with np.load(tmp_path / "y.npz") as archive:
            assert archive.files == keys
            for key, wanted in zip(keys, bnn.load(net)(data), strict=True):
                np.testing.assert_array_equal(archive[key], wanted)

    def test_keys(self) -> None:
        for names, keys in (
            (["a", "a_1", "a"], ["a", "a_1", "a_2"]),
            (["a", "a", "a_1"], ["a", "a_1", "a_1_1"]),
            (["", "", "output"], ["output", "output_1", "output_2"]),
            (["a", "a.npy", "a\0b"], ["a", "a_1", "a_2"]),
        ):
            assert run_module._unique(names) == keys

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

    def test_a_device_is_not_overwritten(self) -> None:
        check_outputs({"--output": os.devnull}, [os.devnull])

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
        assert "n.bnn: has the name of a compiled network; give the model that was trained" in err

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


class TestBeforeTheWork:
    @pytest.fixture(autouse=True)
    def no_prediction(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: Any, **__: Any) -> Any:
            raise AssertionError("ran before it looked where to write")

        monkeypatch.setattr(bnn.Model, "predict", fail)

    def test_the_suffix(self, call: Any, net: Path, pair_net: Path, x: Path, tmp_path: Path) -> None:
        done = call("run", net, x, "--output", tmp_path / "y.txt")
        assert done.status == 2 and "expected a name ending in .npy or .npz" in done.err
        done = call("run", pair_net, x, "--output", tmp_path / "y.npy")
        assert done.status == 2 and "expected a name ending in .npz" in done.err

    def test_the_folder(self, call: Any, net: Path, x: Path, tmp_path: Path) -> None:
        done = call("run", net, x, "--output", tmp_path / "absent" / "y.npy")
        assert done.status == 2 and "y.npy: cannot be written: there is no folder" in done.err


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
