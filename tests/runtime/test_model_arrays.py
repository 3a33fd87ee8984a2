# SPDX-License-Identifier: Apache-2.0
"""Arrays that a model refuses, and with which words."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from bnn import errors
from bnn._arguments import check_count
from bnn.runtime import Model


@pytest.fixture
def model(small: Any) -> Model:
    return Model.from_bytes(small.data)


@pytest.fixture
def pair(two_by_two: Any) -> Model:
    return Model.from_bytes(two_by_two.data)


def unaligned(*shape: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.frombuffer(bytearray(4 * int(np.prod(shape)) + 1), np.float32, offset=1).reshape(shape)


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

    def test_nothing_is_allocated_anew(self, small: Any, model: Model) -> None:
        (x,) = small.inputs(256)
        out = np.empty((256, 10), np.float32)
        model(x, out=out)
        tracemalloc.start()  # sees NumPy's and cffi's memory
        try:
            for _ in range(10):
                model(x, out=out)
            kept, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 8192 < out.nbytes < x.nbytes  # views and pointers
        assert kept < 2048

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
            (unaligned(4, 10), ValueError, "C-contiguous and aligned"),
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

    def test_tuples_and_any_input(self, two_by_two: Any, pair: Model) -> None:
        inputs, expected = two_by_two.inputs(1), pair(two_by_two.inputs(1))
        out = (np.empty((1, 5, 5, 8), np.float32), np.empty((1, 6), np.float32))
        pair(inputs, out=out)
        np.testing.assert_array_equal(out[1], expected[1])
        for i in range(2):
            with pytest.raises(errors.InputError, match="out 'vector': the array overlaps an input"):
                pair(inputs, out=(out[0], inputs[i].reshape(-1)[:6].reshape(1, 6)))

    def test_outputs_must_not_overlap_each_other(self, two_by_two: Any, pair: Model) -> None:
        backing = np.zeros(500, np.float32)
        with pytest.raises(errors.InputError, match="overlaps out"):
            pair(two_by_two.inputs(1), out=[backing[:200].reshape(1, 5, 5, 8), backing[199:205].reshape(1, 6)])


class TestInputs:
    def test_lists_of_one(self, small: Any, model: Model) -> None:
        """One array, or the numbers of one."""
        (x,) = small.inputs(1)
        expected = model(x)
        for given in ([x], (x,), [list(x[0])]):
            np.testing.assert_array_equal(model(given), expected)
        (x,) = small.inputs(2)
        for images in ([x[0], x[1]], (x[0], x[1])):  # an array of them
            np.testing.assert_array_equal(model(images), model(x))
        with pytest.raises(errors.InputError, match="input 'image': found"):
            model([])

    def test_memory_at_any_address(self, small: Any, model: Model) -> None:
        (x,) = small.inputs(2)
        odd = unaligned(*x.shape)
        odd[:] = x
        np.testing.assert_array_equal(model(odd), model(x))
        (kept,) = model.check_inputs(odd)
        assert kept.flags.aligned and not odd.flags.aligned

    def test_counts(self) -> None:
        assert [check_count(value, "n") for value in (1, 2**31 - 1, np.int64(7))] == [1, 2**31 - 1, 7]
        assert check_count(0, "n", least=0) == 0 == check_count(0, "n", most=0, least=0)
        for value, limits in ((0, {}), (2**31, {}), (-1, {"least": 0}), (8, {"most": 7})):
            with pytest.raises(errors.InputError, match=f"n: found {value}, expected"):
                check_count(value, "n", **limits)
        for odd in (True, np.True_, 1.0, "1"):
            with pytest.raises(errors.InputTypeError, match="expected a whole number"):
                check_count(odd, "n")


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

    @pytest.mark.parametrize(
        "shape", [(), (1,), (12, 12), (1, 12, 12), (1, 12, 12, 3), (1, 1, 12, 12), (2, 12, 12, 1, 1)]
    )
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
