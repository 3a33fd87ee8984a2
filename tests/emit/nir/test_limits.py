# SPDX-License-Identifier: Apache-2.0
"""Spike-equivalent networks at their limits: thresholds at the ends of what sums reach, the largest sums, odd sizes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from bnn.emit.nir import layered as nir_layers
from bnn.emit.nir.layered import as_convolutions
from bnn.emit.nir.network import SpikeOp, Term
from bnn.emit.nir.proof import prove, random_inputs
from bnn.emit.nir.write import LARGEST_LEAKY_T, STEPS_PER_TAU, layers_for, synapses
from bnn.errors import CompileError, UnsupportedOpError
from bnn.ir.graph import DType, Graph, Node
from bnn.ir.ops import ConvAttrs, ReshapeAttrs, SliceAttrs, constant, input_node, make

from .test_emit import Rng, bits, check, conv, dense, flatten


def of_ones(x: Node, limits: list[int], kernel: int = 1, name: str = "ones") -> Node:
    """Filters of ones with these thresholds."""
    w = constant(np.ones((len(limits), kernel, kernel, x.type.shape[-1])), DType.b1)
    attrs = ConvAttrs(slots=("threshold",), out=DType.b1)
    return make("bconv2d", x, w, constant(limits, DType.i32), attrs=attrs, name=name)


def bits_input(x: Node) -> Node:
    """The network's input that a value is made of."""
    while x.op != "input":
        x = x.inputs[0]
    return x


@pytest.mark.parametrize("profile", ["if", "flat"])
def test_thresholds_at_the_ends(profile: str) -> None:
    """Of sums of 27 bits, which images of ones and of minus ones do reach."""
    spikes = of_ones(bits((3, 3, 3)), [-999, -27, -26, -25, 0, 25, 26, 27, 28, 999], 3)
    graph = Graph((spikes.inputs[0].inputs[0],), (make("unpack", spikes),))
    images = np.ones((3, 3, 3, 3), np.float32) * np.float32([1, -1, 1]).reshape(3, 1, 1, 1)
    images[2, 0, 0, 0] = -1
    prove(layers_for(graph, profile), [images])


@pytest.mark.parametrize(("products", "limit", "fits"), [
    (1572863, 0, True), (1572863, -2, True), (1572863, -3, False), (1572864, 0, False),
])  # fmt: skip
def test_the_largest_sums(products: int, limit: int, fits: bool) -> None:
    """2 (4 K + |offset| + 1) units of a half stay below 2^24, for T = 2^21 and K = 3/4 T."""
    source = bits((products,))
    one = np.broadcast_to(np.int64(1), (1, 1, 1, products))
    op = SpikeOp(source, (Term(source, one, (1, 1), (0,) * 4, np.zeros(1, int)),), np.array([limit]), (1, 1, 1))
    if fits:
        assert nir_layers.scaled(op, "layer").T.tolist() == [2**21]
    else:
        with pytest.raises(UnsupportedOpError, match=f"its sums reach {products:,}, which float32 membranes"):
            nir_layers.scaled(op, "layer")


@pytest.mark.parametrize(("products", "fits"), [(2**17 - 1, True), (2**17, False)])
def test_the_smallest_margin_of_leaky_neurons(products: int, fits: bool) -> None:
    graph = Graph((), (make("unpack", of_ones(bits((products,)), [0])),))
    layers_for(graph, "flat")
    if fits:
        layers_for(graph, "cuba")
    else:
        with pytest.raises(CompileError, match="layer 'ones': its margin 1/524288 is too small.*use profile 'flat'"):
            layers_for(graph, "cuba")


def test_the_largest_matrix() -> None:
    """8192 x 8192, and a clock."""
    graph = Graph((), (make("unpack", of_ones(bits((64, 64, 2)), [0, 0])),))
    with pytest.raises(UnsupportedOpError, match="layer 'ones': as a matrix it has 8,193 x 8,193 weights"):
        layers_for(graph, "flat")


def test_one_tap_of_the_clock_lies_inside() -> None:
    """Whatever the output, if there are such taps; a kernel of the image's size that is not padded always has them."""
    for size, out, stride, padding, kernel in itertools.product(
        range(1, 6), range(1, 5), (1, 2, 3), range(4), range(1, 7)
    ):
        taps = nir_layers.constant_taps(size, out, stride, padding, kernel)
        for o in range(out if taps is not None else 0):
            assert taps is not None and all(k < kernel for k in taps)
            inside = [k for k in taps if 0 <= o * stride - padding + k < size]
            assert len(inside) == 1, (size, out, stride, padding, kernel)
        assert taps is not None or padding or (out - 1) * stride >= size


def test_names_of_layers_and_of_their_neurons() -> None:
    names = {"input", "output"}
    given = ["conv", "conv", "conv_spikes", "1st", "1st", "Gr\u00f6\u00dfe", "", "input", "a/b", "z_spikes", "z"]
    made = [nir_layers.unique_name(name, names) for name in given]
    every = [name for plain in made for name in (plain, f"{plain}_spikes")]
    assert len(set(every)) == len(every) and not {"input", "output"} & set(every)
    assert all(name.isascii() and name.isidentifier() for name in every)


def test_images_of_two_sizes_at_the_input(rng: Rng) -> None:
    left, right = bits((6, 6, 2), "left"), bits((3, 3, 2), "right")
    half = conv(rng, left, 3, (2, 2), "half", stride=(2, 2))
    joined = dense(rng, flatten(conv(rng, make("concat", half, right), 3, (2, 2), "joined")), 2)
    with pytest.raises(UnsupportedOpError, match="'right_sign': its image of 3x3 would .* 'left_sign', which is 6x6"):
        check(rng, joined, profile="if")
    check(rng, joined, profile="flat")


def test_two_strides_side_by_side(rng: Rng) -> None:
    x = bits((6, 6, 2))
    both = make("concat", conv(rng, x, 3, (2, 2), "two", stride=(2, 2)), conv(rng, x, 3, (4, 4), "one"))
    joined = dense(rng, flatten(conv(rng, both, 3, (2, 2), "joined")), 2)
    with pytest.raises(UnsupportedOpError, match=r"strides \[1, 2\] in parallel.*use the profile 'flat'"):
        check(rng, joined, profile="if")
    check(rng, joined, profile="flat")


ELEMENTS = np.arange(5 * 6 * 3).reshape(5, 6, 3)
HOLE, ALL_HOLES, SWAPPED = ELEMENTS.copy(), np.full((2, 2, 3), -1), ELEMENTS.copy()
HOLE[2, 3, 1] = -1
FIRST_HOLE = ELEMENTS.copy()
FIRST_HOLE[0, 0, 1] = -1
SWAPPED[4, 5] = SWAPPED[4, 5, ::-1]
OTHERS = np.where(np.arange(3) == 1, -1, ELEMENTS)  # the channel in the middle is another source's
PATCHES = np.stack([ELEMENTS[:4, :4, 0], ELEMENTS[1:, 2:, 2]], axis=-1)


def moved_by(index: np.ndarray) -> Term:  # type: ignore[type-arg]
    """The convolution that a move is."""
    source = bits((5, 6, 3))
    c = index.shape[-1]
    term = Term(source, np.ones((c, 1, 1, 1), np.int64), (1, 1), (0, 0, 0, 0), np.zeros(c, np.int64), index)
    (found,) = as_convolutions(SpikeOp(source, (term,), np.zeros(c, np.int64), index.shape)).terms
    return found


@pytest.mark.parametrize(
    "index",
    [
        *(ELEMENTS[y : y + 2 * d : d, x : x + 6 // d : 3 - d] for y in (0, 1) for x in (0, 2) for d in (1, 2)),
        *(ELEMENTS[y : y + 1, x::dx] for y in (0, 4) for x in (0, 3) for dx in (1, 2)),
        *(ELEMENTS[y::dy, x : x + 1] for y in (0, 2) for x in (0, 5) for dy in (1, 2)),
        ELEMENTS[4:, 5:], ELEMENTS[..., ::-1], ELEMENTS[..., [1, 1, 0, 2]], OTHERS, PATCHES,
        ELEMENTS[:4].reshape(2, 2, 3, 2, 3).transpose(0, 2, 1, 3, 4).reshape(2, 3, 12),
    ],
)  # fmt: skip
def test_moves_that_are_convolutions(index: np.ndarray) -> None:  # type: ignore[type-arg]
    """Every element is where the convolution looks for it, and those of other sources nowhere."""
    t, (h, w, c) = moved_by(index), index.shape
    for y, x, o in itertools.product(range(h), range(w), range(c)):
        taps = np.argwhere(t.weight[o]) + (y * t.stride[0] - t.pads[0], x * t.stride[1] - t.pads[1], 0)
        assert [int(ELEMENTS[tuple(tap)]) for tap in taps] == [int(i) for i in index[y, x, o : o + 1] if i >= 0]
    assert t.index is None and t.pads[2:] == (0, 0) and set(t.outside) == {-1}


@pytest.mark.parametrize(
    "index",
    [
        ELEMENTS[::-1], ELEMENTS[:, ::-1], ELEMENTS[[1, 1]], ELEMENTS[:, [2, 2]], ELEMENTS.transpose(1, 0, 2),
        ELEMENTS[[0, 1, 3]], ELEMENTS[:, [0, 2, 3]], HOLE, FIRST_HOLE, ALL_HOLES, SWAPPED,
    ],
)  # fmt: skip
def test_moves_that_are_none(index: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(UnsupportedOpError, match="it moves bits as no convolution does"):
        moved_by(index)


@pytest.mark.parametrize("channels", [(0, 3), (4, 7), (0, 7)])
def test_channels_that_are_flattened(rng: Rng, channels: tuple[int, int]) -> None:
    part = make("slice", bits((4, 4, 7)), attrs=SliceAttrs(*channels), name="part")
    check(rng, dense(rng, flatten(part), 3))


def summed(rng: Rng, **attrs: object) -> tuple[Node, Node]:
    """Raw sums of a layer (or what its slots make of them), and the bits of its data as numbers."""
    x = bits((4, 4, 3))
    w = constant(rng.choice([-1, 1], (3, 3, 3, 3)), DType.b1)
    same = ConvAttrs(pads=(1, 1, 1, 1), **attrs)  # type: ignore[arg-type]
    return make("bconv2d", x, w, attrs=same, name="sums"), make("unpack", x, name="image_sign")


@pytest.mark.parametrize("profile", ["if", "flat"])
@pytest.mark.parametrize("turned", [False, True])
def test_differences_of_whole_numbers(rng: Rng, turned: bool, profile: str) -> None:
    pair = summed(rng)
    difference = make("sub", *(pair[::-1] if turned else pair), name="difference")
    check(rng, dense(rng, flatten(make("binarize", difference, name="sign")), 3), profile=profile)


def test_clipped_sums_are_added_to_nothing(rng: Rng) -> None:
    total = make("add", *summed(rng, slots=("clamp0",), clamp0=(-2.0, 2.0)), name="add")
    with pytest.raises(UnsupportedOpError, match="layer 'sign'"):
        check(rng, dense(rng, flatten(make("binarize", total, name="sign")), 3))


def test_an_activation_that_falls_and_rises_is_no_threshold(rng: Rng) -> None:
    """Of a sum of two layers' values; one that only rises is."""
    for slope, fits in ((0.5, True), (-0.5, False)):
        total = make("prelu", make("add", *summed(rng), name="add"), constant(np.full(3, slope)), name="prelu")
        spikes = make("binarize", make("sub", total, constant(np.full(3, 0.6))), name="sign")
        if fits:
            check(rng, dense(rng, flatten(spikes), 3))
        else:
            with pytest.raises(UnsupportedOpError, match="change more than once as its sums grow"):
                check(rng, dense(rng, flatten(spikes), 3))


@pytest.mark.parametrize("profile", ["if", "flat"])
def test_a_pixel_that_is_added_to_all(rng: Rng, profile: str) -> None:
    """An image of another size has other pixels: no neuron would see them where they are repeated."""
    x = make("unpack", of_ones(bits((2, 2, 3)), [0, 1, 2]))
    for size, fits in ((1, False), (2, True)):
        pixels = make("unpack", of_ones(bits((size, size, 3)), [0, 1, 2]))
        spikes = make("binarize", make("add", x, pixels, name="add"), name="sign")
        graph = Graph((bits_input(x), bits_input(pixels)), (dense(rng, flatten(spikes), 3),))
        if fits:
            prove(layers_for(graph, profile), random_inputs(graph))
        else:
            with pytest.raises(UnsupportedOpError, match=r"'sign': .*different shapes are added \(layer 'add'"):
                layers_for(graph, profile)


def test_real_numbers_that_pass_by_all_spikes(rng: Rng) -> None:
    x = input_node("image", (4,))
    sums = dense(rng, make("binarize", x, name="sign"), 4)
    with pytest.raises(UnsupportedOpError, match="real numbers that pass by all spikes"):
        layers_for(Graph((x,), (make("add", sums, x, name="shortcut"),)), "if")


def test_what_a_proof_is_given(small: Any) -> None:
    graph, (x,) = small.graph, small.inputs(2)
    (made,) = random_inputs(graph)
    assert made.shape == (4, *x.shape[1:]) and made.dtype == np.float32 and 0 <= made.min() < made.max() < 1


def test_synapses_at_the_border(rng: Rng) -> None:
    """A tap has one wherever it lies inside the image."""
    for _ in range(30):
        kernel, (sy, sx), (py, px) = (
            int(rng.integers(1, 5)),
            rng.integers(1, 4, 2).tolist(),
            rng.integers(0, 4, 2).tolist(),
        )
        before, out = (2, *rng.integers(1, 7, 2).tolist()), rng.integers(1, 5, 2).tolist()
        weight = rng.integers(-1, 2, (3, 2, kernel, kernel)).astype(np.float32)
        layer = nir_layers.NirLayer("x", weight, (sy, sx), (py, px), (3, *out), (), True, False)
        count = sum(
            0 <= y * sy - py + ky < before[1] and 0 <= x * sx - px + kx < before[2]
            for y, x, (_, _, ky, kx) in itertools.product(range(out[0]), range(out[1]), np.argwhere(weight))
        )
        assert synapses(layer, before) == count


def test_what_leaky_neurons_keep_is_less_than_the_margin() -> None:
    """Of a frame, and what they lose of one; both are seen in no spike."""
    lif, cuba = (STEPS_PER_TAU[profile] for profile in ("lif", "cuba"))
    assert lif > 1 and 0 < 1 - 1 / lif < 2.0**-20
    assert 1 / cuba < 1 / (2 * LARGEST_LEAKY_T) / 8


@pytest.mark.parametrize("before", [[0], [2], [-1], [-2], [0, 1], [-1, 1], [-2, -1]])
def test_kernels_that_hold_every_term(before: list[int]) -> None:
    """Along an axis: of every size that there is, with a padding that is none below 0, and no smaller one is missed."""
    x = bits((1, 1, 1))
    for size, out, kernel in itertools.product((3, 6), (1, 2, 4), (1, 3)):
        weight, none = np.ones((1, kernel, kernel, 1), np.int64), np.zeros(1, np.int64)
        terms = [Term(x, weight, (1, 1), (b, b, 0, 0), none) for b in before]
        found = nir_layers.axis_geometry(terms, 0, size, out, "x")
        possible = set()
        strides = (1, 2) if out == 1 else (1,)
        for stride, padding, k in itertools.product(strides, range(max(before) + 12), range(1, 41)):
            holds = padding >= max(before) and max(padding - b + kernel for b in before) <= k
            count = (size + 2 * padding - k) // stride + 1
            if holds and count == out and nir_layers.constant_taps(size, out, stride, padding, k) is not None:
                possible.add((k, stride, padding))
        assert {(k, *place) for k, place in found.items()} <= possible
        assert min(found, default=None) == min((k for k, *_ in possible), default=None)


@pytest.mark.parametrize("profile", ["if", "flat"])
def test_channels_one_by_one(rng: Rng, profile: str) -> None:
    """A slice of each of them, and one that is taken twice, whose weights add up."""
    x = bits((3, 3, 3))
    for c in range(3):
        check(rng, conv(rng, make("slice", x, attrs=SliceAttrs(c, c + 1)), 4), profile=profile)
    twice = make("gather", x, constant(np.arange(27).reshape(3, 3, 3)[..., [1, 1, 0, 2]], DType.i32))
    check(rng, conv(rng, twice, 4), profile=profile)


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 0, 0, 0), (0, 0, 0, 1)])
def test_one_pixel_with_a_rim(rng: Rng, pads: tuple[int, int, int, int]) -> None:
    """Its elements lie elsewhere before it was one; what is around it is no element."""
    pixel = make("reshape", bits((2, 2, 3)), attrs=ReshapeAttrs((1, 1, 12)))
    check(rng, conv(rng, pixel, 4, (1, 1), pads=pads), profile="flat")


@pytest.mark.parametrize(("shape", "fits"), [((), True), ((8,), True), ((4, 1), False), ((4, 1, 1), False)])
def test_constants_of_neurons_are_by_channel(rng: Rng, shape: tuple[int, ...], fits: bool) -> None:
    sums = make("bconv2d", bits((4, 4, 8)), constant(rng.choice([-1, 1], (8, 1, 1, 8)), DType.b1), name="sums")
    y = make("binarize", make("add", sums, constant(rng.integers(-3, 4, shape).astype(np.float32))), name="sign")
    if fits:
        check(rng, dense(rng, flatten(y), 3))
    else:
        with pytest.raises(UnsupportedOpError, match="its spikes would depend on real numbers"):
            check(rng, dense(rng, flatten(y), 3))
