# SPDX-License-Identifier: Apache-2.0
"""What a model tells about itself: tables, times, activations, one op at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from bnn import errors
from bnn._native import ffi, lib
from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.graph import Graph
from bnn.ir.ops import ConvAttrs, constant, input_node, make
from bnn.runtime import Model, available_kernels
from op_cases import CASES, CONV
from op_graphs import plan, signs
from opened import Opened
from raw_model import B1, CONSTANT, F32, INPUT, OUTPUT, Net, Op, Tensor, aligned


@pytest.fixture
def model(small: Any) -> Model:
    return Model.from_bytes(small.data)


def test_any_op_may_need_the_whole_batch() -> None:
    """The last op of all these is another."""
    right = (name for name in CASES if name != "threshold on floats")
    assert {name for name in right if lib.bnn_whole_batch(Opened(CASES[name]().file()[1]).model)} == {
        "batch_sum", "batch_size",
    }  # fmt: skip


def test_inputs_and_outputs_of_a_step_lie_apart(rng: np.random.Generator) -> None:
    """Three images of sizes that are no whole lines; and what is poked has a rim of zeros, whatever was there."""
    a, b = Tensor(F32, (5,), INPUT), Tensor(F32, (3, 3, 1), INPUT)
    bits, framed = Tensor(B1, (3, 3, 1)), Tensor(F32, (3, 3, 1), halo=(1, 1, 1, 1))
    sums = Tensor(F32, (3, 3, 1), OUTPUT)
    w = Tensor(F32, (1, 3, 3, 1), CONSTANT, value=np.ones(9))
    pads = {f"pad_{side}": 1 for side in ("top", "left", "bottom", "right")}
    net = Net([
        Op("copy", [a], Tensor(F32, (5,), OUTPUT)),
        Op("copy", [b], framed),
        Op("conv2d", [framed, w], sums, {**CONV, **pads}),
        Op("binarize", [b], bits),
        Op("unpack", [bits], Tensor(F32, (3, 3, 1), OUTPUT)),
    ])  # fmt: skip
    opened = Opened(net.bytes())
    size, made = ffi.new("size_t *"), ffi.new("bnn_context **")
    assert lib.bnn_stepping_size(opened.model, 3, 1, size) == lib.BNN_OK
    memory = aligned(size[0])
    ffi.memmove(memory, b"\xff" * size[0], size[0])
    assert lib.bnn_context_create(opened.model, 3, 1, memory, size[0], made) == lib.BNN_OK
    context = made[0]

    def call(function: Any, tensor: Tensor, values: Any) -> None:
        pointer = ffi.cast("float *", ffi.from_buffer(values, require_writable=True))
        assert function(context, net.number[id(tensor)], pointer, 3) == lib.BNN_OK

    ports = [t for t in net.tensors if t.storage in (INPUT, OUTPUT)]
    values = [rng.normal(size=(3, *t.shape)).astype(np.float32) for t in ports]
    for tensor, value in zip(ports, values, strict=True):
        call(lib.bnn_poke, tensor, value)
    for tensor, value in zip(ports, values, strict=True):
        back = np.zeros_like(value)
        call(lib.bnn_peek, tensor, back)
        np.testing.assert_array_equal(back, value)
    call(lib.bnn_poke, framed, np.ones((3, 3, 3, 1), np.float32))
    assert lib.bnn_step(context, 2, 3) == lib.BNN_OK
    found = np.zeros((3, 3, 3, 1), np.float32)
    call(lib.bnn_peek, sums, found)
    assert found[..., 0].tolist() == [[[4, 6, 4], [6, 9, 6], [4, 6, 4]]] * 3


@pytest.mark.parametrize("kernels", available_kernels())
def test_accumulators_have_the_layers_own_slots(kernels: str, rng: np.random.Generator) -> None:
    """Each alone, all but one, all and none of those that an op has."""
    x, slots = input_node("x", (3, 4, 32)), ("pre_mul", "pre_add", "clamp0", "sub", "mul", "add", "clamp1")
    bits, filters, image = make("binarize", x), signs(rng, (5, 1, 1, 32)), rng.normal(size=(2, 3, 4, 32))
    operands = {slot: constant(rng.integers(-8, 9, 5) / 4) for slot in slots if not slot.startswith("clamp")}
    limits = {"clamp0": (-3.0, 5.0), "clamp1": (-4.0, 6.0)}

    def conv(some: Sequence[str], own: Sequence[str] = ()) -> Graph:
        attrs = ConvAttrs(slots=tuple(some), layer_slots=tuple(own), **limits)  # type: ignore[arg-type]
        return plan([x], [make("bconv2d", bits, filters, *(operands[s] for s in some if s in operands), attrs=attrs)])

    for own in ((), slots, *((s,) for s in slots), *(tuple(s for s in slots if s != left) for left in slots)):
        model = Model.from_bytes(encode(conv(slots, own)), kernels=kernels)
        stepper = model.stepper(2)
        stepper.poke(0, image.astype(np.float32))
        stepper.step(0, 2)
        expected = interpret.outputs(conv(own), [image.astype(np.float32)])[0]
        np.testing.assert_array_equal(stepper.step_raw(1, 2), expected, err_msg=f"{own}")


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
        (x,) = small.inputs(21)
        values = interpret.run(small.graph, [x])
        expected = {node.name: value for node, value in values.items()}  # the last node of a layer is its output
        taps = model.activations(x)
        assert {"conv_a", "sign_b", "conv_b", "sign_c", "dense", "softmax"} <= set(taps)
        for name, value in taps.items():
            assert value.dtype == np.float32
            wanted = expected[name]
            value = value.reshape(wanted.shape)
            np.testing.assert_array_equal(value, wanted)

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
        for odd in (0.5, "0", None, True):
            for use in (
                lambda odd=odd: stepper.step(odd, 1),
                lambda odd=odd: stepper.step(0, odd),
                lambda odd=odd: stepper.step_raw(odd, 1),
                lambda odd=odd: stepper.peek(odd, 1),
                lambda odd=odd: stepper.poke(odd, np.zeros((1, 12, 12, 1), np.float32)),
            ):
                with pytest.raises(errors.InputTypeError, match="expected a whole number") as caught:
                    use()
                assert isinstance(caught.value, TypeError)
        stepper.step(np.int64(0), np.int64(1))  # type: ignore[arg-type]
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
