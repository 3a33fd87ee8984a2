# SPDX-License-Identifier: Apache-2.0
"""Running a model from Python: results, threads, and what the environment changes."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn import errors
from bnn.runtime import Model, available_kernels


@pytest.fixture
def model(small: Any) -> Model:
    return Model.from_bytes(small.data)


@pytest.fixture
def pair(two_by_two: Any) -> Model:
    return Model.from_bytes(two_by_two.data)


class TestRunning:
    @pytest.mark.parametrize("batch", [1, 2, 7, 8, 9, 50])
    def test_equals_the_oracle(self, small: Any, model: Model, batch: int) -> None:
        (x,) = small.inputs(batch)
        y = model(x)
        assert y.dtype == np.float32 and y.shape == (batch, 10)
        np.testing.assert_array_equal(y, small.expected([x])[0])

    @pytest.mark.parametrize("kernels", available_kernels())
    def test_every_kernel_family_gives_the_same(self, small: Any, model: Model, kernels: str) -> None:
        (x,) = small.inputs(9)
        other = Model.from_bytes(small.data, kernels=kernels)
        assert other.kernels == kernels
        np.testing.assert_array_equal(other(x), model(x))

    @pytest.mark.parametrize("threads", [1, 2, 3, 5])
    @pytest.mark.parametrize("batch", [1, 3, 40])
    def test_threads_and_batch_size_change_nothing(self, small: Any, model: Model, threads: int, batch: int) -> None:
        (x,) = small.inputs(batch)
        expected = model(x)
        for size in (None, 1, 7, 1000):
            np.testing.assert_array_equal(model.predict(x, threads=threads, batch_size=size), expected)

    def test_an_empty_batch_gives_an_empty_result(self, model: Model, pair: Model) -> None:
        assert model(np.empty((0, 12, 12, 1), np.float32)).shape == (0, 10)
        a, b = pair.predict([np.empty((0, 5, 5, 8), np.float32), np.empty((0, 40), np.float32)], threads=2)
        assert a.shape == (0, 5, 5, 8) and b.shape == (0, 6)
        assert model.activations(np.empty((0, 12, 12, 1), np.float32))["softmax"].shape == (0, 10)

    def test_several_inputs_and_outputs(self, two_by_two: Any, pair: Model) -> None:
        inputs = two_by_two.inputs(11)
        expected = two_by_two.expected(inputs)
        assert pair.input_names == ["left", "right"]
        assert pair.input_shapes == [(5, 5, 8), (40,)] and pair.output_shapes == [(5, 5, 8), (6,)]
        for given in (inputs, tuple(inputs), dict(zip(("left", "right"), inputs, strict=True))):
            for found, wanted in zip(pair(given), expected, strict=True):
                np.testing.assert_array_equal(found, wanted)

    def test_one_input_may_come_in_a_list_or_dict(self, small: Any, model: Model) -> None:
        (x,) = small.inputs(3)
        np.testing.assert_array_equal(model([x]), model(x))
        np.testing.assert_array_equal(model({"image": x}), model(x))

    def test_layouts_are_copied_when_they_must_be(self, small: Any, model: Model) -> None:
        (x,) = small.inputs(6)
        expected = model(x)
        unaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
        unaligned[:] = x
        read_only = x.copy()
        read_only.setflags(write=False)
        for same in (np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], unaligned, read_only):
            np.testing.assert_array_equal(model(same), expected)
        np.testing.assert_array_equal(model(x[::-1]), expected[::-1])

    def test_not_a_number_comes_out_of_its_image_alone(self, small: Any, model: Model) -> None:
        (x,) = small.inputs(20)
        expected = model(x)
        x[7, 3, 3, 0] = np.nan
        for threads in (1, 2):
            y = model.predict(x, threads=threads)
            assert np.isnan(y[7]).all()
            np.testing.assert_array_equal(np.delete(y, 7, axis=0), np.delete(expected, 7, axis=0))

    def test_progress_prints_on_stderr(self, small: Any, model: Model, capfd: pytest.CaptureFixture[str]) -> None:
        (x,) = small.inputs(5)
        model.predict(x, batch_size=2, progress=True)
        out, err = capfd.readouterr()
        assert out == "" and "5/5" in err


class TestThreads:
    def test_python_threads_share_a_model(self, small: Any, model: Model) -> None:
        (x,) = small.inputs(40)
        expected = model(x)

        def work(i: int) -> None:
            for _ in range(20):
                np.testing.assert_array_equal(model(x[i : i + 1]), expected[i : i + 1])
                np.testing.assert_array_equal(model.predict(x[i:], threads=1 + i % 3), expected[i:])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(16)))

    def test_a_forked_child_runs_with_threads(self, small: Any, tmp_path: Path) -> None:
        """The child has none of its parent's worker threads."""
        Model.from_bytes(small.data).save(tmp_path / "net.bnn")
        np.save(tmp_path / "x.npy", small.inputs(40)[0])
        code = (
            "import os, bnn, numpy as np\n"
            "model, x = bnn.load('net.bnn'), np.load('x.npy')\n"
            "expected = model.predict(x, threads=3)\n"
            "child = os.fork()\n"
            "same = np.array_equal(model.predict(x, threads=3), expected)\n"
            "if child == 0:\n"
            "    del model\n"
            "    os._exit(0 if same else 1)\n"
            "assert os.waitpid(child, 0)[1] == 0 and same\n"
        )
        _python(code, tmp_path)

    def test_the_interpreter_lock_is_released(self, small: Any, tmp_path: Path) -> None:
        Model.from_bytes(small.data).save(tmp_path / "net.bnn")
        code = (
            "import sys, threading, bnn, numpy as np\n"
            "model, x = bnn.load('net.bnn'), np.zeros((20000, 12, 12, 1), np.float32)\n"
            "sys.setswitchinterval(1000)\n"  # only a released lock lets another thread go on
            "begun, ticks, done = threading.Event(), 0, False\n"
            "def run():\n"
            "    global done\n"
            "    begun.set()\n"
            "    model.predict(x, batch_size=len(x))\n"
            "    done = True\n"
            "thread = threading.Thread(target=run)\n"
            "thread.start()\n"
            "begun.wait()\n"
            "assert not done\n"
            "thread.join()\n"
        )
        _python(code, tmp_path)


class TestEnvironment:
    def test_kernels(self, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BNN_KERNELS", "scalar")
        assert Model.from_bytes(small.data).kernels == "scalar"
        assert Model.from_bytes(small.data, kernels=available_kernels()[0]).kernels == available_kernels()[0]
        monkeypatch.setenv("BNN_KERNELS", "mmx")
        with pytest.raises(errors.EnvironmentVariableError, match="BNN_KERNELS: found 'mmx'.*scalar"):
            Model.from_bytes(small.data)
        monkeypatch.setenv("BNN_KERNELS", "")
        assert Model.from_bytes(small.data).kernels == available_kernels()[0]

    def test_the_argument_is_checked_too(self, small: Any) -> None:
        model = Model.from_bytes(small.data)
        for refused in (lambda: Model.from_bytes(small.data, kernels="mmx"), lambda: model.with_kernels("mmx")):
            with pytest.raises(errors.InputError, match="kernels: found 'mmx'.*scalar.*portable"):
                refused()

    def test_threads(self, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        (x,) = small.inputs(30)
        expected = Model.from_bytes(small.data)(x)
        monkeypatch.setenv("BNN_THREADS", "2")
        np.testing.assert_array_equal(Model.from_bytes(small.data)(x), expected)
        for most in ("1", "256"):
            monkeypatch.setenv("BNN_THREADS", most)
            Model.from_bytes(small.data)
        for wrong in ("0", "-1", "two", "1.5", "257", "²"):
            monkeypatch.setenv("BNN_THREADS", wrong)
            with pytest.raises(errors.EnvironmentVariableError, match="BNN_THREADS: found"):
                Model.from_bytes(small.data)


def _python(code: str, folder: Path) -> None:
    """Run code in a new interpreter; shows what it printed if it fails."""
    root = str(Path(bnn.__file__).resolve().parents[1])
    environment = os.environ | {"PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
