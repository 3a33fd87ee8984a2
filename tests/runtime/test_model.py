"""The Python face of the runtime: what goes in, what comes out, and what is refused with which words."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
import weakref
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
        np.testing.assert_allclose(y, small.expected([x])[0], rtol=1e-5, atol=1e-7)

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
                np.testing.assert_allclose(found, wanted, rtol=1e-6)

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


class TestOut:
    def test_writes_in_place(self, small: Any, model: Model) -> None:
        (x,) = small.inputs(4)
        out = np.full((4, 10), np.nan, np.float32)
        assert model(x, out=out) is out
        np.testing.assert_array_equal(out, model(x))

    def test_several(self, two_by_two: Any, pair: Model) -> None:
        inputs = two_by_two.inputs(2)
        out = [np.empty((2, 5, 5, 8), np.float32), np.empty((2, 6), np.float32)]
        found = pair.predict(inputs, out=out)
        assert found[0] is out[0] and found[1] is out[1]
        np.testing.assert_array_equal(out[1], pair(inputs)[1])

    def test_refusals(self, small: Any, model: Model) -> None:
        (x,) = small.inputs(4)
        read_only = np.empty((4, 10), np.float32)
        read_only.setflags(write=False)
        backing = np.zeros(1000, np.float32)
        cases: list[tuple[Any, type[Exception], str]] = [
            (np.empty((4, 10)), TypeError, "float64"),
            ([[0.0] * 10] * 4, errors.InputError, "1 outputs"),
            ("text", TypeError, "found str"),
            (np.empty((3, 10), np.float32), ValueError, r"\(3, 10\), expected \(4, 10\)"),
            (np.empty((10, 4), np.float32).T, ValueError, "C-contiguous"),
            (read_only, ValueError, "read-only"),
            ([read_only, read_only], ValueError, "1 outputs"),
        ]
        for out, kind, words in cases:
            with pytest.raises(kind, match=words) as caught:
                model(x, out=out)
            assert isinstance(caught.value, errors.InputError)
        overlapping = backing[: 4 * 144].reshape(4, 12, 12, 1)
        with pytest.raises(errors.InputError, match="overlaps an input"):
            model(overlapping, out=backing[500:540].reshape(4, 10))

    def test_outputs_must_not_overlap_each_other(self, two_by_two: Any, pair: Model) -> None:
        backing = np.zeros(500, np.float32)
        with pytest.raises(errors.InputError, match="overlaps out"):
            pair(two_by_two.inputs(1), out=[backing[:200].reshape(1, 5, 5, 8), backing[199:205].reshape(1, 6)])


class TestRefusedInputs:
    @pytest.mark.parametrize("dtype", [np.float64, np.uint8, np.int32, np.float16, np.bool_, ">f4", np.complex64])
    def test_dtype(self, model: Model, dtype: Any) -> None:
        with pytest.raises(TypeError, match=r"'image'.*found dtype.*expected float32.*astype\(np.float32\)") as caught:
            model(np.zeros((1, 12, 12, 1), dtype))
        assert isinstance(caught.value, errors.InputTypeError)

    def test_things_that_are_no_arrays(self, model: Model) -> None:
        for thing in (None, "text", 3, [[1.0, 2.0], [3.0]], object(), [1, "a"]):
            with pytest.raises(errors.InputTypeError):
                model(thing)

    @pytest.mark.parametrize("shape", [(), (1,), (12, 12), (1, 12, 12), (1, 12, 12, 3), (1, 1, 12, 12), (2, 12, 12, 1, 1)])
    def test_shape(self, model: Model, shape: tuple[int, ...]) -> None:
        with pytest.raises(errors.InputError, match=r"expected \(N, 12, 12, 1\)") as caught:
            model(np.zeros(shape, np.float32))
        assert str(shape) in str(caught.value)

    def test_an_image_without_a_batch_is_told_what_to_do(self, model: Model) -> None:
        with pytest.raises(errors.InputError, match=r"pass x\[None\]"):
            model(np.zeros((12, 12, 1), np.float32))

    def test_number_names_and_batches_of_inputs(self, two_by_two: Any, pair: Model) -> None:
        left, right = two_by_two.inputs(2)
        for given, words in (
            (left, "2 inputs.*'left', 'right'.*one ndarray"),
            ([left], "found 1 arrays"),
            ([left, right, right], "found 3 arrays"),
            ({"left": left}, "missing: 'right'"),
            ({"left": left, "right": right, "up": left}, "unknown: 'up'"),
            ([left, right[:1]], "'right' has 1 images but 'left' has 2"),
            ([right, left], "'left': found shape"),
        ):
            with pytest.raises(errors.InputError, match=words):
                pair(given)

    @pytest.mark.parametrize("name", ["threads", "batch_size"])
    def test_counts(self, small: Any, model: Model, name: str) -> None:
        (x,) = small.inputs(1)
        for value in (0, -1, 10**10):
            with pytest.raises(errors.InputError, match=f"{name}: found {value}"):
                model.predict(x, **{name: value})
        for odd in (1.5, "2", True):
            with pytest.raises(errors.InputTypeError, match=name):
                model.predict(x, **{name: odd})

    def test_a_model_goes_on_after_an_error(self, small: Any, model: Model) -> None:
        (x,) = small.inputs(1)
        expected = model(x)
        with pytest.raises(errors.InputError):
            model(x[0])
        np.testing.assert_array_equal(model(x), expected)


class TestFiles:
    def test_save_and_load(self, small: Any, model: Model, tmp_path: Path) -> None:
        path = tmp_path / "net.bnn"
        model.save(path)
        assert path.read_bytes() == small.data == model.to_bytes()
        assert [p.name for p in tmp_path.iterdir()] == ["net.bnn"]
        loaded = bnn.load(path)
        (x,) = small.inputs(3)
        np.testing.assert_array_equal(loaded(x), model(x))
        assert "net.bnn" in repr(loaded) and "(N, 12, 12, 1) -> (N, 10)" in repr(loaded)
        assert loaded.nbytes == len(small.data)

    def test_saving_over_a_file_in_use(self, small: Any, model: Model, tmp_path: Path) -> None:
        path = str(tmp_path / "net.bnn")
        model.save(path)
        loaded = bnn.load(path)
        (x,) = small.inputs(3)
        expected = loaded(x)
        for _ in range(3):
            loaded.save(path)
        os.unlink(path)
        np.testing.assert_array_equal(loaded(x), expected)

    def test_saving_where_it_cannot_be(self, model: Model, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="cannot be written") as caught:
            model.save(tmp_path / "absent" / "net.bnn")
        assert isinstance(caught.value, errors.BnnError)
        (tmp_path / "folder").mkdir()
        with pytest.raises(errors.ModelFileError, match="cannot be written"):
            model.save(tmp_path / "folder")
        assert [p.name for p in tmp_path.iterdir()] == ["folder"]

    def test_what_cannot_be_opened(self, tmp_path: Path) -> None:
        with pytest.raises(errors.ModelFormatError, match=r"absent\.bnn.*No such file.*bnn\.compile") as caught:
            bnn.load(tmp_path / "absent.bnn")
        assert isinstance(caught.value, FileNotFoundError)
        with pytest.raises(errors.ModelFormatError, match="directory"):
            bnn.load(tmp_path)
        with pytest.raises(errors.ModelFormatError, match="null character"):
            bnn.load("net\0.bnn")
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(errors.ModelFormatError, match="cannot be opened"):
            bnn.load(tmp_path / "pipe")

    @pytest.mark.parametrize(
        ("damage", "words"),
        [
            (lambda d: b"", "empty"),
            (lambda d: d[:7], "length"),
            (lambda d: d[:200], "length"),
            (lambda d: d[:-1], "length"),
            (lambda d: d + b"\0", "length"),
            (lambda d: b"\x89PNG" + d[4:], "signature"),
            (lambda d: d[:8] + b"\2\0\0\0" + d[12:], "version.*found 2, expected 1"),
            (lambda d: d[:-1] + bytes([d[-1] ^ 1]), "checksum"),
            (lambda d: d[:12] + b"\0\0\0\0" + d[16:], "checksum"),
            (lambda d: b"x" * 1000, "signature"),
        ],
    )
    def test_damaged_files(self, small: Any, tmp_path: Path, damage: Any, words: str) -> None:
        path = tmp_path / "damaged.bnn"
        path.write_bytes(damage(small.data))
        with pytest.raises(errors.ModelFormatError, match=f"damaged.bnn.*{words}"):
            bnn.load(path)
        with pytest.raises(errors.ModelFormatError):
            Model.from_bytes(damage(small.data))

    def test_from_bytes_takes_any_buffer_and_keeps_none(self, small: Any) -> None:
        (x,) = small.inputs(2)
        expected = Model.from_bytes(small.data)(x)
        buffer = bytearray(small.data)
        model = Model.from_bytes(buffer)
        buffer[:] = bytes(len(buffer))
        np.testing.assert_array_equal(model(x), expected)
        np.testing.assert_array_equal(Model.from_bytes(memoryview(small.data))(x), expected)
        with pytest.raises(errors.InputError, match="found str"):
            Model.from_bytes("text")  # type: ignore[arg-type]

    def test_pickle_and_copy(self, small: Any, model: Model) -> None:
        (x,) = small.inputs(2)
        for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
            assert other is not model
            np.testing.assert_array_equal(other(x), model(x))


class TestClosing:
    def test_everything_says_that_it_is_closed(self, small: Any, tmp_path: Path) -> None:
        (x,) = small.inputs(1)
        model = Model.from_bytes(small.data)
        model(x)
        assert not model.closed
        model.close()
        model.close()
        assert model.closed and "closed" in repr(model)
        for use in (
            lambda: model(x),
            lambda: model.predict(x),
            lambda: model.activations(x),
            lambda: model.profile(x),
            lambda: model.stepper(1),
            lambda: model.save(tmp_path / "net.bnn"),
            lambda: model.input_shapes,
            lambda: pickle.dumps(model),
            model.summary,
            model.to_bytes,
            model.__enter__,
        ):
            with pytest.raises(errors.ClosedModelError, match="closed"):
                use()

    def test_as_a_context_manager(self, small: Any, tmp_path: Path) -> None:
        Model.from_bytes(small.data).save(tmp_path / "net.bnn")
        with bnn.load(tmp_path / "net.bnn") as model:
            assert model.input_shapes == [(12, 12, 1)]
        assert model.closed

    def test_closing_gives_the_memory_back(self, small: Any) -> None:
        model = Model.from_bytes(small.data)
        model.predict(small.inputs(9)[0], threads=2)
        opened = weakref.ref(model._open())
        model.close()
        gc.collect()
        assert opened() is None

    def test_closing_while_others_run(self, small: Any) -> None:
        model = Model.from_bytes(small.data)
        (x,) = small.inputs(64)
        expected = model(x)
        started = threading.Barrier(3)

        def work() -> bool:
            started.wait()
            try:
                while True:
                    np.testing.assert_array_equal(model(x), expected)
            except errors.ClosedModelError:
                return True

        with ThreadPoolExecutor(2) as pool:
            results = [pool.submit(work) for _ in range(2)]
            started.wait()
            model.close()
            assert all(r.result(timeout=60) for r in results)


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
        with pytest.raises(errors.InputError, match="kernels: found 'mmx'.*scalar"):
            Model.from_bytes(small.data, kernels="mmx")

    def test_threads(self, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        (x,) = small.inputs(30)
        expected = Model.from_bytes(small.data)(x)
        monkeypatch.setenv("BNN_THREADS", "2")
        np.testing.assert_array_equal(Model.from_bytes(small.data)(x), expected)
        for wrong in ("0", "-1", "two", "1.5", "100000", "²"):
            monkeypatch.setenv("BNN_THREADS", wrong)
            with pytest.raises(errors.EnvironmentVariableError, match="BNN_THREADS: found"):
                Model.from_bytes(small.data)


class TestInspection:
    def test_summary(self, model: Model) -> None:
        text = model.summary()
        lines = {line.split()[0]: line for line in text.splitlines()}
        assert "float" in lines["conv_a"] and "its input is float" in lines["conv_a"]
        assert "binary" in lines["conv_b"] and "b1 6x6x33" in lines["conv_b"]
        assert f"{6 * 6 * 33 * 9 * 32:,}" in lines["conv_b"]
        assert "total" in lines and f"{model.nbytes:,} bytes" in text and model.kernels in text

    def test_profile(self, small: Any, model: Model) -> None:
        (x,) = small.inputs(10)
        profile = model.profile(x, repeats=5)
        assert [r.op for r in profile] == [op.op for op in model.ops]
        assert profile.nanoseconds == sum(r.nanoseconds for r in profile) > 0
        assert sum(r.share for r in profile) == pytest.approx(1)
        assert "conv_b" in str(profile) and "10 images, median of 5" in str(profile)
        with pytest.raises(errors.InputError, match="empty"):
            model.profile(x[:0])
        with pytest.raises(errors.InputError, match="repeats"):
            model.profile(x, repeats=0)

    def test_activations_are_the_source_layers_values(self, small: Any, model: Model) -> None:
        from bnn import interpret

        (x,) = small.inputs(21)
        values = interpret.run(small.graph, [x])
        expected = {node.name: value for node, value in values.items()}  # the last node of a layer is its output
        taps = model.activations(x)
        assert {"conv_a", "sign_b", "conv_b", "sign_c", "dense", "softmax"} <= set(taps)
        for name, value in taps.items():
            assert value.dtype == np.float32
            np.testing.assert_allclose(value.reshape(expected[name].shape), expected[name], rtol=1e-5, atol=1e-6)
        for name in ("sign_b", "conv_b", "sign_c", "dense"):
            np.testing.assert_array_equal(taps[name].reshape(expected[name].shape), expected[name])

    def test_tensors_and_ops(self, model: Model) -> None:
        assert [t.index for t in model.tensors] == list(range(len(model.tensors)))
        for op in model.ops:
            assert all(0 <= i < len(model.tensors) for i in (*op.inputs, op.output))
        filters = model.tensors[next(op for op in model.ops if op.layer == "conv_b").inputs[1]]
        assert filters.storage == "constant" and filters.shape == (33, 3, 3, 32) and filters.dtype == "b1"
        assert model.arena_bytes % 64 == 0

    def test_stepper_refuses_what_does_not_fit(self, model: Model) -> None:
        stepper = model.stepper(2)
        first = model.tensors[model.ops[0].inputs[0]].index
        for values, kind in (
            (np.zeros((3, 12, 12, 1), np.float32), errors.InputError),
            (np.zeros((0, 12, 12, 1), np.float32), errors.InputError),
            (np.zeros((1, 12, 12), np.float32), errors.InputError),
            (np.zeros((1, 12, 12, 1)), errors.InputTypeError),
            ("text", errors.InputTypeError),
        ):
            with pytest.raises(kind):
                stepper.poke(first, values)  # type: ignore[arg-type]
        for images in (0, 3):
            with pytest.raises(errors.InputError):
                stepper.step(0, images)
        for number in (-1, 10**6):
            with pytest.raises(errors.InputError, match="number"):
                stepper.step(number, 1)
            with pytest.raises(errors.InputError, match="number"):
                stepper.peek(number, 1)
        with pytest.raises(errors.InputError, match="not a convolution"):
            stepper.step_raw(len(model.ops) - 1, 1)
        constant = next(t.index for t in model.tensors if t.storage == "constant")
        with pytest.raises(errors.InputError, match="constant"):
            stepper.peek(constant, 1)


def _python(code: str, folder: Path) -> None:
    """Run code in a new interpreter; shows what it printed if it fails."""
    root = str(Path(bnn.__file__).resolve().parents[1])
    environment = os.environ | {"PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
