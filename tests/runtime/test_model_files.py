# SPDX-License-Identifier: Apache-2.0
"""Models as files, bytes and pickles; and models that were closed."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn import errors
from bnn.file.write import encode
from bnn.ir.graph import DType
from bnn.ir.ops import constant, input_node, make
from bnn.runtime import Model
from bnn.runtime.handles import Opened
from op_graphs import plan


@pytest.fixture
def model(small: Any) -> Model:
    return Model.from_bytes(small.data)


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
            (lambda d: d[:8] + b"\1\0\0\0" + d[12:], "version.*found 1, expected 2"),
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

    @pytest.mark.parametrize("filters", [2990, 2995, 3000, 3010, 6000, 6080, 9100])
    def test_the_checksum_of_long_files(self, filters: int, rng: np.random.Generator) -> None:
        """Which the runtime takes in three streams: the same number as zlib's, and no byte of any is left out."""
        x = input_node("x", (32,))
        y = make("bconv2d", make("binarize", x), constant(rng.choice([-1, 1], (filters, 1, 1, 32)), DType.b1))
        data = encode(plan([x], [y]))
        Model.from_bytes(data)
        for at in (24, len(data) - 1, *rng.integers(24, len(data), 60).tolist()):
            damaged = bytearray(data)
            damaged[at] ^= 1 << int(rng.integers(8))
            with pytest.raises(errors.ModelFormatError, match="checksum"):
                Model.from_bytes(bytes(damaged))

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
        portable = model.with_kernels("portable")
        assert pickle.loads(pickle.dumps(portable)).kernels == copy.copy(portable).kernels == "portable"


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
        (found,) = (o for o in gc.get_objects() if isinstance(o, Opened) and o.tensors is model.tensors)
        opened = weakref.ref(found)
        del found
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
            assert all(r.result() for r in results)
