# SPDX-License-Identifier: Apache-2.0
"""bnn.verify: what is a difference, and what rounding explains."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.file.read import decode
from bnn.ir.ops.rounding import NOTHING
from bnn.verification.results import ROUNDING, compare_bits, compare_floats, distances
from bnn.verification.rounding import bound
from seed import some

tf = pytest.importorskip("tensorflow")
lq = pytest.importorskip("larq")

from bnn.verification.synchronous import VerifyReport, verify  # noqa: E402

QUANTIZED = {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip", "use_bias": False}


def scrambled(model: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    values = [
        rng.uniform(0.3, 2, w.shape) if "variance" in w.name else rng.normal(0, 0.5, w.shape) for w in model.weights
    ]
    model.set_weights(values)
    return model


@functools.cache
def binary_network(seed: int = 0, size: int | None = 6) -> Any:
    """(6, 6, 2) -> 4: a float stem whose pool stands before the quantizer, a binary layer, batch norm."""
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        name="binary",
        layers=[
            layers.Input((size, size, 2)),
            lq.layers.QuantConv2D(16, 3, padding="same", name="stem", **QUANTIZED),
            layers.MaxPooling2D(2, name="pool"),
            layers.BatchNormalization(name="norm_1"),
            lq.layers.QuantConv2D(4, 3, input_quantizer="ste_sign", name="conv", **QUANTIZED),
            layers.GlobalAveragePooling2D(name="mean"),
            layers.BatchNormalization(name="norm_2"),
        ],
    )
    return scrambled(model, seed)


@functools.cache
def float_network(seed: int = 0) -> Any:
    """(40) -> 5, of floats."""
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        name="floats",
        layers=[
            layers.Input((40,)),
            layers.Dense(30, activation="relu", name="first"),
            layers.Dense(5, activation="softmax", name="last"),
        ],
    )
    return scrambled(model, seed)


@functools.cache
def file_of(model: Any) -> bnn.Model:
    """Of a network that several tests compile."""
    return bnn.compile(model)


def with_weight(model: Any, name: str, change: Any) -> Any:
    """A copy, with one variable changed."""
    other = tf.keras.models.clone_model(model)
    values = model.get_weights()
    i = next(i for i, w in enumerate(model.weights) if w.name.startswith(name))
    values[i] = change(values[i])
    other.set_weights(values)
    return other


def images(count: int, *shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 1, (count, *shape)).astype(np.float32)


def whole_images(count: int, *shape: int) -> Array:
    return np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(np.float32)


def found(report: VerifyReport, layer: str, kind: str = "floats") -> Any:
    return next(c for c in report.layers if c.layer == layer and c.kind == kind)


@functools.cache
def dead_network(seed: int = 0) -> Any:
    """(6, 6, 2) -> (2, 2, 16): a ReLU before the quantizer of the second layer, and a third."""
    layers = tf.keras.layers
    stack = [lq.layers.QuantConv2D(16, 3, name="stem", **QUANTIZED), layers.BatchNormalization(), layers.ReLU()]
    for name in ("second", "third"):
        stack.append(lq.layers.QuantConv2D(16, 2, input_quantizer="ste_sign", name=name, **QUANTIZED))
        stack.append(layers.BatchNormalization())
    return scrambled(tf.keras.Sequential([layers.Input((6, 6, 2)), *stack]), seed)


class TestSilence:
    """What does not depend on the image equals everything else that does not."""

    def test_a_relu_before_a_sign(self) -> None:
        model = dead_network()
        compiled, x = file_of(model), images(20, 6, 6, 2)
        report = verify(model, compiled, x)
        assert not report.ok and not report.differs and report.unchanged == ["second/input", "third/input"]
        assert verify(model, compiled, x, allow_silent=True).ok
        assert verify(model, compiled, x[:1]).unchanged == ["second/input"]  # whose bits are all +1
        wrong = with_weight(model, "third/kernel", np.negative)
        assert not verify(wrong, compiled, x, allow_silent=True).ok

    @pytest.mark.parametrize("count", [1, 20])
    def test_a_living_network_on_few_images(self, count: int) -> None:
        for seed in range(3):
            model = binary_network(seed)
            report = verify(model, file_of(model), images(count, 6, 6, 2, seed=seed))
            assert report.ok and not report.unchanged

    def test_images_that_are_all_the_same(self) -> None:
        model = binary_network()
        compiled = file_of(model)
        for same in (np.zeros((4, 6, 6, 2), np.float32), np.repeat(images(1, 6, 6, 2), 70, axis=0)):
            report = verify(model, compiled, same)
            compared = {check.layer for check in report.layers if check.kind == "bits"}
            assert not report.ok and compared and compared <= {*report.unchanged}


class TestFloats:
    @pytest.mark.parametrize("build", [binary_network, float_network])
    def test_equal(self, build: Any) -> None:
        model = build()
        report = verify(model, file_of(model), images(70, *model.input_shape[1:]))
        assert report.ok and not report.hint and not report.different_floats and not report.different_bits
        assert report.end_to_end.images_judged + report.end_to_end.images_with_different_bits == 70

    def test_another_beta_behind_the_last_binary_layer(self) -> None:
        """No bit and no sum differs, but every output does."""
        model = binary_network()
        other = with_weight(model, "norm_2/beta", lambda beta: beta + np.float32([0.01, 0, 0, 0]))
        report = verify(other, file_of(model), images(8, 6, 6, 2))
        assert not report.ok and report.different_bits == 0 and report.end_to_end.beyond_rounding == 0
        assert report.different_floats == 8 and found(report, "norm_2").beyond == 8
        assert report.end_to_end.images_judged == report.end_to_end.outputs_beyond_rounding == 8
        assert "'norm_2'" in report.hint and "was the file compiled from this model" in report.hint

    def test_other_weights(self) -> None:
        report = verify(float_network(1), file_of(float_network(0)), images(64, 40))
        end = report.end_to_end
        assert not report.ok and end.outputs_beyond_rounding == end.images_judged == 64
        assert 0 < end.classes_different == end.classes_beyond_rounding
        assert "'first', 'last'" in report.hint

    def test_one_weight_of_many(self) -> None:
        model = float_network()

        def change(kernel: Array) -> Array:
            kernel = kernel.copy()
            kernel[7, 3] += 1e-3
            return kernel

        report = verify(with_weight(model, "first/kernel", change), file_of(model), images(64, 40))
        assert not report.ok and found(report, "first").beyond > 20 and found(report, "last").beyond == 0

    def test_exact_sums_leave_no_room(self) -> None:
        """Sums of signs times multiples of 1/256 are exact in every order: no difference is rounding."""
        model = binary_network()
        compiled = bnn.compile(tf.keras.Model(model.input, model.get_layer("stem").output))
        node = next(n for n in decode(compiled.to_bytes()).schedule if n.op == "conv2d")
        for x, exact in ((whole_images(4, 6, 6, 2) / 256, True), (images(4, 6, 6, 2), False)):
            operands = [x, *(i.value for i in node.inputs[1:])]
            limit = bound(node, lambda operands=operands: operands, [NOTHING] * len(operands))
            assert (limit == 0).all() == exact

    @pytest.mark.parametrize("seed", range(4))
    def test_what_moves_differs_by_no_more(self, seed: int) -> None:
        """A sign that another order of a sum turns makes values differ, which a move then carries along."""
        rng = np.random.default_rng(seed)
        layers, w, b = tf.keras.layers, np.float32(rng.normal() * 3), np.float32(rng.normal() * (seed % 2))

        def jump(x: Any) -> Any:
            return (tf.sign(x - tf.reduce_mean(tf.abs(x), axis=-1, keepdims=True)) * w + x + b) / 3.0

        x = rng.normal(size=(300, 9)).astype(np.float32)
        x[:, 0] = np.abs(x[:, 1:]).sum(axis=1) / 8
        moves = [layers.Reshape((3, 3)), layers.Permute((2, 1))]
        model = tf.keras.Sequential([layers.Input((9,)), layers.Lambda(jump), *moves])
        report = verify(model, bnn.compile(model), x)
        assert report.ok, report

    def test_behind_a_pole(self) -> None:
        """One side divides by a sum that is 0 there, the other by its rounding: all that follows may be anything."""
        layers = tf.keras.layers
        dense = lq.layers.QuantDense(1, input_quantizer=lq.quantizers.DoReFa(k_bit=2), **QUANTIZED)
        curves = [layers.Lambda(lambda x: tf.math.rsqrt(tf.abs(x))), layers.Lambda(tf.square)]
        model = tf.keras.Sequential([layers.Input((6,)), dense, *curves])
        model.set_weights([np.float32([[1], [1], [1], [-1], [-1], [-1]])])
        assert verify(model, bnn.compile(model), whole_images(200, 6) % 9 / 8).ok

    def test_a_function_of_levels_that_are_moved(self) -> None:
        """A table of the compiler's, and Keras' own exponentials, somewhere else."""
        layers = tf.keras.layers
        steps = [layers.Lambda(lambda x: tf.where(x > 0.0, 1.0, -1.0)), layers.Activation("sigmoid")]
        model = tf.keras.Sequential([layers.Input((2, 3)), *steps, layers.Permute((2, 1))])
        assert verify(model, bnn.compile(model), images(4, 2, 3)).ok

    @pytest.mark.parametrize("quantizer", ["ste_heaviside", "ste_tern", "dorefa", "ste_sign"])
    def test_exact_sums_of_levels_leave_no_room(self, quantizer: str) -> None:
        q = lq.quantizers.DoReFa(k_bit=1) if quantizer == "dorefa" else quantizer
        dense = lq.layers.QuantDense(3, input_quantizer=q, name="dense", **{**QUANTIZED, "use_bias": True})
        model = scrambled(tf.keras.Sequential([tf.keras.layers.Input((256,)), dense]), 0)
        compiled, x = bnn.compile(model), images(50, 256)
        assert verify(model, compiled, x).ok
        assert not verify(with_weight(model, "dense/bias", lambda bias: bias * 1.01), compiled, x).ok


class TestBits:
    @pytest.mark.drawn
    @pytest.mark.parametrize("quantizer", some([
        "ste_heaviside", "ste_sign", "ste_tern", lq.quantizers.DoReFa(k_bit=1), lq.quantizers.DoReFa(k_bit=2),
    ]))  # fmt: skip
    def test_wrong_weights_before_bits_without_a_name(self, quantizer: Any) -> None:
        """Sums of scaled weights round, but what quantizes them may not turn where no threshold is near."""
        layers, scaled = tf.keras.layers, {**QUANTIZED, "kernel_quantizer": "magnitude_aware_sign"}
        first = lq.layers.QuantDense(8, input_quantizer="ste_sign", name="first", **scaled)
        last = lq.layers.QuantDense(3, input_quantizer=quantizer, **QUANTIZED)
        model = tf.keras.Sequential([layers.Input((16,)), first, layers.BatchNormalization(), last])
        scrambled(model, 1)
        compiled, x = bnn.compile(model), images(50, 16)
        assert verify(model, compiled, x).ok
        assert not verify(with_weight(model, "first/kernel", np.negative), compiled, x).ok

    @pytest.mark.parametrize(("offset", "sign"), [(0.9, 1), (0.1, -1)])
    def test_wrong_thresholds_behind_a_mean_over_the_batch(self, offset: float, sign: int) -> None:
        def network(offset: float, sign: int) -> Any:
            def above(x: Any) -> Any:
                return tf.where(x > tf.reduce_mean(x, 0) + offset, 1.0, -1.0)

            dense = lq.layers.QuantDense(3, input_quantizer=above, name="dense", **QUANTIZED)
            model = tf.keras.Sequential([tf.keras.layers.Input((16,)), dense], name="above")
            model.set_weights([sign * np.random.default_rng(0).choice([-1.0, 1.0], (16, 3))])
            return model

        compiled, x = bnn.compile(network(0.1, 1)), images(50, 16)
        assert verify(network(0.1, 1), compiled, x).ok and not verify(network(offset, sign), compiled, x).ok

    @pytest.mark.parametrize(
        ("quantizer", "middle"),
        [("ste_sign", 0), (tf.sign, 0), (lq.quantizers.DoReFa(2), 0.5)],
        ids=["signs", "three levels", "four levels"],
    )
    def test_within_rounding_is_reported_and_not_judged(self, quantizer: Any, middle: float) -> None:
        """Sums that only rounding keeps from zero: the order of their terms decides the sign, or the level."""
        layers = tf.keras.layers
        model = tf.keras.Sequential(
            [
                layers.Input((1000,)),
                layers.Dense(8, name="first"),
                lq.layers.QuantDense(5, input_quantizer=quantizer, name="second", **QUANTIZED),
            ]
        )
        scrambled(model, 3)
        model.layers[0].bias.assign([middle] * 8)
        x = images(64, 1000)
        kernel = model.get_weights()[0][:, :1].astype(np.float64)
        for row in x:
            for i in (0, 1, 2):  # each takes what the rounding of the one before left
                row[i] -= np.float32((row @ kernel)[0] / kernel[i, 0])
        report = verify(model, bnn.compile(model), x)
        end = report.end_to_end
        assert end.images_with_different_bits > 0, "choose other data: no sum fell on the other side"
        assert report.ok and 0 < end.largest_distance < ROUNDING and end.beyond_rounding == 0
        assert end.images_judged == 64 - end.images_with_different_bits

    @pytest.mark.parametrize("quantizer", [
        lambda x: lq.quantizers.ste_sign(x - 0.5), lambda x: tf.where(x * 2.0 > 1.0, 1.0, -1.0),
    ])  # fmt: skip
    def test_the_distance_is_that_from_the_threshold(self, quantizer: Any, rng: np.random.Generator) -> None:
        """Sigmoids a few units of the last place around 0.5, which two libraries round to either side of it."""
        near = rng.integers(-9, 10, (64, 200)) * np.float32(2.0**-24)
        x = np.concatenate([near, rng.normal(size=(64, 200))], axis=1).astype(np.float32)
        layers = tf.keras.layers
        dense = lq.layers.QuantDense(3, input_quantizer=quantizer, **QUANTIZED)
        model = tf.keras.Sequential([layers.Input((400,)), layers.Activation("sigmoid"), dense])
        report = verify(model, bnn.compile(model), x)
        assert report.ok and report.end_to_end.largest_distance < ROUNDING

    @pytest.mark.drawn
    @pytest.mark.parametrize("value", some([np.inf, -np.inf, 1e30, 3e38]))
    def test_huge_values_hide_nothing(self, value: float) -> None:
        """Of the other images of the batch, or of the same one."""
        model = binary_network()
        compiled = bnn.compile(with_weight(model, "norm_1/beta", lambda beta: beta + 0.3))
        x = images(9, 6, 6, 2)
        alone = verify(model, compiled, x[:8]).end_to_end
        assert alone.beyond_rounding > 0 and alone.largest_distance > 1e-3
        x[8, 0, 0, 0] = value
        report = verify(model, compiled, x)
        assert not report.ok and report.end_to_end.beyond_rounding > alone.beyond_rounding
        assert report.end_to_end.largest_distance == pytest.approx(alone.largest_distance, rel=0.5)
        assert verify(model, file_of(model), x).ok

    def test_distances(self) -> None:
        values = np.float32([[1, -1, 2, -2, 1e-6], [1, -1, 2, -2, np.inf], [np.nan, -1, 2, -2, 1e30]])
        far = distances(values)
        assert far[0, 4] < ROUNDING < far[0, 0] and np.isinf(far[1, 4]) and np.isinf(far[2, 0])
        assert np.isfinite(far[2, 1:]).all() and far[2, 1] > 0.1
        assert (distances(np.full((2, 3), 1e-3, np.float32)) > ROUNDING).all()

    def test_what_is_judged(self) -> None:
        theirs, ours = np.float32([1, 1, 1, 1]), np.float32([1, -1, -1, -1])
        near = lambda: np.array([0, 1e-7, 1e-3, np.inf])  # noqa: E731
        assert compare_bits(ours, theirs, np.float32(2), near).beyond.tolist() == [False, False, True, True]
        assert compare_bits(ours, theirs, np.float32(0), near).beyond.tolist() == [False, True, True, True]
        nan = compare_bits(ours, np.float32([np.nan] * 4), np.float32(2), lambda: np.full(4, np.inf))
        assert nan.beyond.all() and np.isinf(nan.amount).all()
        a, b = np.float32([1, np.nan, np.nan, np.inf, -np.inf]), np.float32([1, np.nan, 1, np.inf, np.inf])
        assert compare_floats(a, b, np.float32(9)).beyond.tolist() == [False, False, True, False, True]


class TestNan:
    def test_at_a_quantizer(self) -> None:
        """Keras' max-pool skips it and gives a class; the compiled network's outputs are not-a-number."""
        model = binary_network()
        compiled = file_of(model)
        x = images(7, 6, 6, 2)
        x[2, 1, 1, 0] = np.nan
        assert np.isnan(compiled(x)[2]).all()
        report = verify(model, compiled, x)
        assert report.ok and report.images == 7 and report.images_with_nan == 1 and report.end_to_end.images_judged == 6
        assert all(c.compared % 6 == 0 for c in report.layers)
        assert not verify(with_weight(model, "norm_2/beta", lambda beta: beta + 1), compiled, x).ok
        with pytest.raises(bnn.InputError, match="every image"):
            verify(model, compiled, x[2:3])

    def test_without_a_quantizer(self) -> None:
        """It comes out where Keras has it."""
        model = float_network()
        x = images(3, 40)
        x[1, 5] = np.nan
        report = verify(model, file_of(model), x)
        assert report.ok and report.images_with_nan == 0 and report.end_to_end.images_judged == 3


class TestShapes:
    def test_open_sizes(self) -> None:
        model = binary_network(size=None)
        compiled = bnn.compile(model, input_shape=(6, 8, 2))
        x = images(3, 6, 8, 2)
        assert verify(model, compiled, x, input_shape=(6, 8, 2)).ok
        with pytest.raises(bnn.CompileError, match="input_shape"):
            verify(model, compiled, x)
        with pytest.raises(bnn.InputError, match=r"\(8, 8, 2\).*\(6, 8, 2\)"):
            verify(model, compiled, x, input_shape=(8, 8, 2))


def test_the_report_in_words(rng: np.random.Generator) -> None:
    """It names the layer that differs; ``bnn.verify`` takes what a model takes."""
    keras = binary_network()
    model, images = bnn.compile(keras), rng.normal(0, 1, (20, 6, 6, 2)).astype(np.float32)
    report = bnn.verify(keras, model, {model.input_names[0]: images})
    assert report.ok and "EQUAL: " in str(report) and "conv" in str(report)
    report = bnn.verify(scrambled(keras, 1), model, images)
    assert not report.ok and "With Keras' own input, the first layer that differs is '" in str(report)
    with pytest.raises(bnn.InputError, match="missing.*unknown: 'other'"):
        bnn.verify(keras, model, {"other": images})
