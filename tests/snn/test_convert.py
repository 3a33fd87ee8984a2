# SPDX-License-Identifier: Apache-2.0
"""Networks of counters equal the quantized network in every neuron, in both schemes and every order of arrival."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from bnn._types import Array
from bnn.errors import InputError, ModelFormatError, UnsupportedOpError
from bnn.ir import interpret
from bnn.ir.graph import DType, Graph, Node
from bnn.ir.ops import ClampAttrs, ConvAttrs, DequantizeAttrs, PadAttrs, PoolAttrs, ReshapeAttrs, constant, make
from bnn.ir.ops.elementwise import RoundAttrs
from bnn.ir.ops.sources import input_node
from bnn.passes import lower
from bnn.snn.coding import image_frames
from bnn.snn.convert import ORDERS, Conversion, spiking
from bnn.snn.file import encode
from bnn.snn.model import SpikingModel
from bnn.snn.quantize import LARGEST, CounterLayer, Edge, Quantized, quantize, reach
from raw_model import with_checksum
from seed import SEED, numbers
from snn.original import check_layers

NUMBERS = numbers(25)


def conv(x: Node, weights: Array, name: str, **options: Any) -> Node:
    """``weights``: (filters, h, w, channels of a group)."""
    return make("conv2d", x, constant(weights.astype(np.float32)), attrs=ConvAttrs(**options), name=name)


def relu(x: Node, name: str, limit: float = np.inf) -> Node:
    return make("clamp", x, attrs=ClampAttrs(0.0, limit), name=name)


def staircase(x: Node, levels: int, width: float, name: str) -> Node:
    """clip(floor(x / width + 1/2), 0, levels) * width"""
    x = make("add", make("mul", x, constant([1 / width])), constant([0.5]))
    x = make("clamp", make("round", x, attrs=RoundAttrs(-1)), attrs=ClampAttrs(0.0, float(levels)), name=name)
    return make("mul", x, constant([width]), name=f"{name}_width")


def affine(rng: Any, x: Node, name: str) -> Node:
    """Batch norm; the factor is below 0 in some channels."""
    c = x.type.shape[-1]
    x = make("sub", x, constant(rng.normal(size=c)), name=name)
    return make("add", make("mul", x, constant(rng.normal(size=c)), name=name), constant(rng.normal(size=c)), name=name)


MOMENTS = ("no", "before", "after", "padded", "average", "sum")  # of a pool


def draw_layer(rng: Any, x: Node, name: str, moment: str) -> Node:
    """A convolution of an image, pooled before or after its activation, perhaps with a shortcut."""
    h, w, c = x.type.shape
    kernel = (int(rng.integers(1, min(h, 3) + 1)), int(rng.integers(1, min(w, 3) + 1)))
    groups = int(rng.choice([g for g in range(1, c + 1) if c % g == 0]))
    filters = groups * int(rng.integers(1, 4))
    same = kernel[0] % 2 == kernel[1] % 2 == 1 and rng.random() < 0.4
    pads = (kernel[0] // 2, kernel[1] // 2) * 2 if same else tuple(int(rng.integers(0, k)) for k in kernel * 2)
    stride = (1, 1) if same else tuple(int(n) for n in rng.integers(1, 3, 2))
    y = conv(x, rng.normal(size=(filters, *kernel, c // groups)), name, stride=stride, pads=pads, groups=groups)
    size = y.type.shape
    window = tuple(min(int(rng.integers(2 if moment == "padded" else 1, 4)), n) for n in size[:2])
    pool = PoolAttrs(window, tuple(int(n) for n in rng.integers(1, 4, 2)))
    if moment == "before":
        y = make("max_pool", y, attrs=pool, name=f"{name}_pool")
    if rng.random() < 0.7:
        y = affine(rng, y, f"{name}_norm")
    if y.type == x.type and rng.random() < 0.7 and moment != "before":
        y = make("add", y, x, name=f"{name}_sum")
    kind = rng.choice(["relu", "limited", "stairs", "signs"])
    name = f"{name}_{kind}"
    if kind == "stairs":
        y = staircase(y, int(rng.integers(1, 20)), 2.0 ** int(rng.integers(-3, 3)), name)
    elif kind == "signs":  # levels that do not begin at 0
        y = make("sign", make("add", make("sign", y), constant([0.1])), name=name)
    else:
        y = relu(y, name, np.inf if kind == "relu" else float(rng.integers(1, 4)))
    if rng.random() < 0.3:
        y = make("sub", y, constant([float(rng.integers(1, 4))]), name=f"{name}_low")
    if moment == "padded":
        pool = PoolAttrs(window, pool.stride, tuple(int(rng.integers(min(k, 2) - 1, k)) for k in window * 2))
        y = make("max_pool", y, attrs=pool, name=f"{name}_pool")
    elif moment in ("after", "average", "sum"):
        if rng.random() < 0.3:
            y = affine(rng, y, f"{name}_norm")
        op = {"after": "max_pool", "average": "avg_pool", "sum": "sum_pool"}[str(moment)]
        y = make(op, y, attrs=pool, name=f"{name}_pool")
    return y


def draw_graph(rng: Any, first: str) -> Graph:
    """``first``: when the first layer is pooled, or "input": the image itself is."""
    image = input_node("image", tuple(int(n) for n in (*rng.integers(3, 9, 2), rng.integers(1, 4))))
    x = image
    if first == "input":
        x = make(
            str(rng.choice(["avg_pool", "sum_pool", "max_pool"])), x, attrs=PoolAttrs((2, 2), (1, 2)), name="shrunk"
        )
    for k in range(int(rng.integers(1, 4))):
        x = draw_layer(rng, x, f"layer{k}", str(rng.choice(MOMENTS)) if k or first == "input" else first)
    n = int(np.prod(x.type.shape))
    x = make("reshape", x, attrs=ReshapeAttrs((n,)), name="flatten")
    if rng.random() < 0.5:
        x = relu(conv(x, rng.normal(size=(7, 1, 1, n)), "dense"), "dense_relu")
    if rng.random() < 0.8:
        x = conv(x, rng.normal(size=(5, 1, 1, x.type.shape[0])), "classes")
        x = make("softmax", make("add", x, constant(rng.normal(size=5))), name="probabilities")
    return Graph((image,), (x,))


def prepared(graph: Graph) -> Graph:
    return lower(graph, until="recognize_quantizers")


def differing(conversion: Conversion, image: Array, order: str, expected: dict[str, Array]) -> int:
    """Neurons that are not as the quantized network has them for one image; asserts what holds on the way."""
    model, names = conversion.build(), conversion.populations
    run = model.run(conversion.present(image, order), record=names.values())
    wrong = 0
    for layer, name in names.items():
        sent = run.recorded[name]
        found = sent.sum(axis=0, dtype=np.float64)
        wrong += int((found.reshape(-1) != expected[layer].reshape(-1)).sum())
        if name in conversion.windows:
            begin, end = conversion.windows[name]
            assert not sent[:begin].any() and not sent[end:].any()
    if conversion.scheme == "take-back":  # nothing is sent at rest
        again = model.run(np.zeros_like(conversion.present(image)), record=names.values(), reset=False)
        assert not any(sent.any() for sent in again.recorded.values())
    return wrong


REFUSED = (
    "no value above 0", "padding after pools whose windows overlap", "padded max-pooling before a factor below 0",
    "a reshape that is not the flattening", "two pools without an activation", "sums up to", "weights that are all 0",
)  # fmt: skip


@pytest.mark.drawn
def test_random_networks_in_both_schemes_and_all_orders() -> None:
    """And the whole numbers that they equal, against the network that was quantized."""
    print(f"BNN_TEST_SEED={SEED}")
    kinds, sure, moved, refused, number = set(), 0, 0, 0, NUMBERS.start
    while number < NUMBERS.stop:
        rng = np.random.default_rng([SEED, number, refused])
        graph = prepared(draw_graph(rng, (*MOMENTS, "input")[number % 7]))
        images = rng.integers(0, 256, (4, *graph.inputs[0].type.shape)) * (
            rng.random((4, *graph.inputs[0].type.shape)) < 0.5
        )
        images[-1] = 0
        offset, percentile = float(rng.choice([0.0, 0.0, -0.5])), float(rng.choice([100, 90]))
        try:
            quantized = quantize(
                graph, images, levels=int(rng.choice([1, 3, 15, 255])), bits=int(rng.choice([2, 4, 8, 12])), scale=256,
                offset=offset, percentile=percentile,
            )  # fmt: skip
            conversions = {scheme: spiking(quantized, scheme) for scheme in ("take-back", "staged")}
        except UnsupportedOpError as error:
            assert any(words in str(error) for words in REFUSED), (SEED, number, error)
            refused += 1
            continue
        sure += check_layers(graph, quantized, images, offset, percentile)
        values = quantized.run(images)
        kinds |= {x.kind for x in quantized.layers}
        for k in range(2):
            expected = {name: v[k] for name, v in values.items()}
            moved += sum(int((v > 0).sum()) for v in expected.values())
            assert differing(conversions["staged"], images[k], "once", expected) == 0, (SEED, number)
            for order in ORDERS:
                assert differing(conversions["take-back"], images[k], order, expected) == 0, (SEED, number, order)
        number += 1
    print(f"{moved} above 0, {sure} certain, {refused} networks refused, {sorted(kinds)}")
    assert moved and sure and (len(NUMBERS) < 7 or {"max", "levels"} <= kinds)


@pytest.mark.parametrize("scheme", ["take-back", "staged"])
@pytest.mark.parametrize("most", [127, 128, 129])
@pytest.mark.parametrize("sign", [1, -1])
def test_weights_beside_the_range_of_bytes(most: int, sign: int, scheme: Any, rng: np.random.Generator) -> None:
    """Of a dense layer, of a convolution, and of one of windows that overlap, whose weights are summed up."""
    whole = rng.integers(-1, 2, (1, 1, 2, 4)) * float(sign * most)
    whole[0, 0, 0] = sign * most
    quarters = np.full((2, 2, 2, 1), sign * 32.0)  # four of them meet in one pixel
    quarters[0, 0] += sign * (most - 128)
    windows = PoolAttrs((2, 2), (1, 1))
    for grid, edge, out in (
        ((1, 1, 2), Edge(0, whole), (1, 1, 4)), ((2, 3, 2), Edge(0, whole), (2, 3, 4)),
        ((3, 4, 2), Edge(0, quarters, pool=windows), (1, 2, 1)),
    ):  # fmt: skip
        layers = (CounterLayer("in", "input", grid, 3), CounterLayer("out", "sums", out, edges=(edge,)))
        quantized = Quantized(layers, grid if grid[0] > 1 else grid[2:], False, 9)
        image = rng.integers(1, 4, quantized.shape)
        pixels = image.reshape(grid)
        if edge.pool:
            sums = sum(pixels[y : y + 2, x : x + 3] for y in (0, 1) for x in (0, 1))
            parts = [sums[y : y + 1, x : x + 2] @ quarters[y, x] for y in (0, 1) for x in (0, 1)]
            expected = np.sum(parts, axis=0)
        else:
            expected = pixels @ whole[0, 0]
        assert differing(spiking(quantized, scheme), image, "once", {"out": expected}) == 0


def small(rng: Any) -> Graph:
    image = input_node("image", (6, 6, 1))
    x = relu(conv(image, rng.normal(size=(4, 3, 3, 1)), "first"), "first_relu")
    x = make("max_pool", x, attrs=PoolAttrs((2, 2), (2, 2)), name="pool")
    return Graph((image,), (conv(x, rng.normal(size=(3, 2, 2, 4)), "last"),))


def quantized_small(**options: Any) -> tuple[Graph, Array, Quantized]:
    rng = np.random.default_rng(SEED)
    graph = prepared(small(rng))
    images = rng.integers(0, 256, (20, 6, 6, 1))
    return graph, images, quantize(graph, images, **{"scale": 255, **options})


def test_many_levels_and_bits_come_close_to_the_network() -> None:
    graph, images, quantized = quantized_small(levels=255, bits=12)
    exact = interpret.outputs(graph, [images / np.float32(255)])[0]
    close = quantized.run(images)[quantized.output.name] * quantized.output.step
    error = np.abs(close - exact).max()
    assert error < 0.02 * np.abs(exact).max()
    second, best = np.sort(exact.reshape(len(exact), -1), axis=1)[:, -2:].T
    clear = (best - second > 2 * error).mean()  # the others may change places
    assert clear > 0.5 and quantized.agreement >= clear
    coarse = quantized_small(levels=2, bits=3)[2]
    far = coarse.run(images)[coarse.output.name] * coarse.output.step
    assert np.abs(far - exact).max() > 0.02 * np.abs(exact).max()


def test_a_tie_is_decided_as_floor_does() -> None:
    """Sums that are multiples of the threshold reach a level exactly; one less does not."""
    image = input_node("image", (4,))
    x = staircase(conv(image, np.eye(4).reshape(4, 1, 1, 4), "copy"), 15, 8.0, "stairs")
    quantized = quantize(prepared(Graph((image,), (x,))), np.full((1, 4), 255), bits=8)
    pixels = np.array([[3, 4, 11, 12]])
    assert quantized.run(pixels)[quantized.output.name].reshape(-1).tolist() == [0, 1, 1, 2]
    for scheme in ("take-back", "staged"):
        conversion = spiking(quantized, scheme)
        assert differing(conversion, pixels[0], "once", {k: v[0] for k, v in quantized.run(pixels).items()}) == 0


def test_offsets_are_rounded_to_the_nearest() -> None:
    """Of units as coarse as pixels: level 1 begins at the whole number next to 4 - offset."""
    image, offsets = input_node("image", (4,)), np.array([-0.75, -0.25, 0.25, 0.75])
    x = make("add", conv(image, np.eye(4).reshape(4, 1, 1, 4), "copy"), constant(offsets))
    graph = prepared(Graph((image,), (staircase(x, 15, 8.0, "stairs"),)))
    quantized = quantize(graph, np.full((1, 4), 255), bits=2)
    levels = quantized.run(np.repeat(np.arange(8)[:, None], 4, axis=1))[quantized.output.name].reshape(8, 4)
    assert (levels.argmax(axis=0) == np.rint(4 - offsets)).all()


def test_weights_of_eight_bits_are_bytes() -> None:
    _, _, quantized = quantized_small()
    assert all(p.whole for p in spiking(quantized, "take-back").network.projections if p.source)  # 0: the clock
    wide = spiking(quantized_small(bits=10)[2], "take-back").network.projections
    assert not all(p.whole for p in wide)
    assert all((p.weights == np.rint(p.weights)).all() for p in wide)


@pytest.mark.parametrize("window", [None, (1, 1), (2, 2), (2, 3)])
def test_the_reach_of_sums(window: tuple[int, int] | None) -> None:
    """It is what a white image gives where no weight is below 0: here in one channel of two."""
    pool = None if window is None else PoolAttrs(window, window)
    weights = np.random.default_rng(SEED).integers(-9, 10, (1, 2, 3, 2))
    weights[..., 0] = np.abs(weights[..., 0])
    edge = Edge(0, weights, pool=pool)
    image = CounterLayer("image", "input", (4, 6, 3), most=7)
    h, w, _ = image.grid if window is None else (4 // window[0], 6 // window[1], 3)
    sums = CounterLayer(
        "sums", "sums", (h, w - 1, 2), edges=(edge,), threshold=np.zeros(2), offset=np.full((1, 1, 2), 5)
    )
    found = Quantized((image, sums), image.grid, False, 8).run(np.full((1, *image.grid), 7))["sums"]
    assert found[..., 0].max() == reach(sums, (image, sums))[0] and found[..., 1].max() <= reach(sums, (image, sums))[1]


@pytest.mark.parametrize(("op", "times"), [("sum_pool", 1), ("avg_pool", 4)])
def test_an_offset_that_is_pooled_and_padded(op: str, times: int) -> None:
    """Every level is that of the network that is quantized: whole weights, and no sum near the end of a level."""
    image, rng = input_node("image", (10, 8, 2)), np.random.default_rng(SEED)
    x = make(op, image, attrs=PoolAttrs((2, 2), (2, 2)), name="pool")
    # Whose sum is 0 for each filter, so that sums are levels of all sizes.
    weights = times * rng.permuted(np.tile([-2.0, -1.0, 1.0, 2.0], (3, 3)), axis=1).reshape(3, 3, 2, 2)
    x = conv(x, weights, "conv", stride=(2, 1), pads=(1, 1, 1, 0))
    graph = prepared(Graph((image,), (staircase(x, 255, 1.0, "levels"),)))
    images = rng.integers(0, 30, (5, 10, 8, 2))
    quantized = quantize(graph, images, scale=1, offset=0.3)
    (expected,) = interpret.outputs(graph, [images.astype(np.float32) + np.float32(0.3)])
    (layer,) = (v for name, v in quantized.run(images).items() if name.startswith("levels"))
    assert np.array_equal(layer.reshape(-1), expected.reshape(-1)) and len(np.unique(layer)) > 20


def test_sums_stay_exact() -> None:
    """A wide layer gets smaller weights, so that every sum is a float32."""
    image = input_node("image", (3000,))
    rng = np.random.default_rng(SEED)
    weights = rng.normal(size=(2, 1, 1, 3000))
    weights[1] = np.abs(weights[1])  # one channel is above 0
    x = relu(conv(image, weights, "wide"), "relu")
    images = rng.integers(0, 256, (3, 3000))
    quantized = quantize(prepared(Graph((image,), (x,))), images, levels=255, bits=16)
    assert all(reach(layer, quantized.layers).max() <= LARGEST for layer in quantized.layers[1:])
    expected = {k: v[0] for k, v in quantized.run(images).items()}
    for scheme in ("take-back", "staged"):
        assert differing(spiking(quantized, scheme), images[0], "once", expected) == 0


def test_a_layer_may_be_called_as_a_population_of_another() -> None:
    image = input_node("clock", (1, 4, 1))
    x = relu(conv(image, np.ones((1, 1, 1, 1)), "first"), "second_max_across1")
    x = relu(conv(x, np.ones((1, 1, 1, 1)), "second"), "second")
    x = make("max_pool", x, attrs=PoolAttrs((1, 2), (1, 2)), name="pool")
    images = np.array([3, 1, 0, 2]).reshape(1, 1, 4, 1)
    quantized = quantize(prepared(Graph((image,), (x,))), images, levels=15)
    for scheme in ("take-back", "staged"):
        conversion = spiking(quantized, scheme)
        names = [p.name for p in conversion.network.populations]
        assert names[2:] == ["second_max_across1", "second", "second_max_across1_", "second_max_sums"]
        assert differing(conversion, images[0], "once", {k: v[0] for k, v in quantized.run(images).items()}) == 0


def branch(*names: str) -> Any:
    """A network that ends in ops that have no counters."""

    def build() -> Node:
        image = input_node("image", (4, 4, 2))
        x = relu(conv(image, np.ones((2, 1, 1, 2)), "first"), "relu")
        for name in names:
            if name == "tanh":
                x = make("tanh", x, name="curve")
            elif name == "sums":
                x = conv(conv(x, np.ones((2, 1, 1, 2)), "one"), np.ones((2, 1, 1, 2)), "two")
            elif name == "shifted":
                x = make("clamp", conv(x, np.ones((2, 1, 1, 2)), "one"), attrs=ClampAttrs(-1.0, 1.0), name="between")
            elif name == "average":
                x = make(
                    "avg_pool", conv(x, np.ones((2, 1, 1, 2)), "one"), attrs=PoolAttrs((2, 2), (2, 2)), name="mean"
                )
            elif name == "padded average":
                x = make("avg_pool", x, attrs=PoolAttrs((2, 2), (2, 2), (1, 1, 1, 1)), name="mean")
            elif name == "overlap":
                x = make("avg_pool", x, attrs=PoolAttrs((3, 3), (1, 1)), name="pool")
                x = relu(conv(x, np.ones((2, 3, 3, 2)), "padded", pads=(1, 1, 1, 1)), "padded_relu")
            elif name == "product":
                x = make("mul", x, x, name="square")
            elif name == "flat":
                x = make("reshape", x, attrs=ReshapeAttrs((8, 4, 1)), name="moved")
            elif name == "padding":
                x = make("pad", x, attrs=PadAttrs((1, 1, 1, 1), 0.5), name="wider")
            elif name == "pooled sums":
                x = make("max_pool", conv(x, np.ones((2, 1, 1, 2)), "one"), attrs=PoolAttrs((2, 2), (2, 2)), name="end")
            else:  # steps of different widths
                x = conv(x, np.ones((2, 1, 1, 2)), "one")
                bits = make("binarize_levels", x, constant([1.0, 2.0, 4.0]), name=name)
                x = make("dequantize", bits, constant(np.arange(4.0)), attrs=DequantizeAttrs(2), name=name)
        return x

    return build


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        (("tanh",), "layer 'curve': found the op tanh, expected convolutions, dense layers, ReLUs and pools"),
        (("padding",), "layer 'wider': found padding that is no convolution's own, expected convolutions"),
        (("sums",), "layer 'two': found no activation between it and 'one'"),
        (("shifted",), "layer 'between': found an activation from -1 to 1"),
        (("average",), "layer 'mean': found average pooling of sums"),
        (("padded average",), "layer 'mean': found padded average pooling"),
        (("overlap",), "found padding after pools whose windows overlap"),
        (("product",), "layer 'square': found a product of two values"),
        (("flat",), "layer 'moved': found a reshape"),
        (("pooled sums",), "layer 'end': found max-pooling of the network's last sums"),
        (("uneven",), "layer 'uneven': found a quantizer whose steps are not evenly spaced"),
    ],
)
def test_what_cannot_be_counters_is_refused_by_name(ops: tuple[str, ...], message: str) -> None:
    node = branch(*ops)()
    graph = Graph(tuple(n for n in Graph((), (node,)).nodes() if n.op == "input"), (node,))
    images = np.random.default_rng(SEED).integers(0, 256, (3, 4, 4, 2))
    with pytest.raises(UnsupportedOpError) as caught:
        spiking(quantize(graph if "uneven" in ops else prepared(graph), images), "take-back")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 0}, "levels: found 0, expected 1 to 255"),
        ({"levels": 256}, "levels: found 256"),
        ({"bits": 1}, "bits of weights: found 1, expected 2 to 16"),
        ({"percentile": 0.0}, "percentile: found 0.0"),
        ({"percentile": "99"}, "percentile: found '99', expected a number"),
        ({"levels": "3"}, "levels: found '3', expected a whole number"),
        ({"levels": 1.5}, "levels: found 1.5, expected a whole number"),
        ({"bits": 8.0}, "bits of weights: found 8.0, expected a whole number"),
        ({"scale": 0}, "scale: found 0, expected a finite float32 that is not 0"),
        ({"scale": 1e-50}, "scale: found 1e-50, expected a finite float32 that is not 0"),
        ({"scale": np.nan}, "scale: found nan, expected a finite number"),
        ({"offset": 1e50}, r"offset: found 1e\+50, expected a finite float32"),
        ({"offset": None}, "offset: found None, expected a number"),
    ],
)
def test_wrong_numbers(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        quantized_small(**options)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: x[..., 0], "found shape"),
        (lambda x: x / 255, r"found 0\.[0-9]+ at \(0, [0-9, ]+\), .*; multiply by 255 and round, and give --scale"),
        (lambda x: x + 200, "found [0-9]+ at .*, expected whole numbers from 0 to 255$"),
        (lambda x: x[:0], "found none, expected at least one"),
        (lambda x: x.astype("U3"), "found dtype <U3"),
        (lambda x: [[1], [1, 2]], "list is not an array"),
    ],
)
def test_wrong_images(wrong: Any, message: str) -> None:
    graph, images, _ = quantized_small()
    with pytest.raises(InputError, match=f"images: {message}"):
        quantize(graph, wrong(images))


def test_black_images_give_no_range() -> None:
    graph, images, _ = quantized_small()
    with pytest.raises(UnsupportedOpError, match="layer 'first_relu': found no value above 0 in the images"):
        quantize(graph, images * 0)


def damaged(data: bytes, old: bytes, new: bytes) -> bytes:
    """A file whose checksum is right, with the first occurrence of some bytes replaced."""
    assert old in data
    return with_checksum(bytearray(data.replace(old, new, 1)))


@pytest.mark.parametrize("most", [0.5, -1.0, 2.0**25])
def test_the_engine_refuses_numbers_of_levels_that_it_cannot_count(most: float) -> None:
    data = encode(spiking(quantized_small(levels=13)[2], "take-back").network)
    with pytest.raises(ModelFormatError, match="no number of levels"):
        SpikingModel.from_bytes(damaged(data, struct.pack("<32f", *[13.0] * 32), struct.pack("<32f", *[most] * 32)))


def test_the_engine_refuses_a_rule_that_sends_something_else() -> None:
    data = encode(spiking(quantized_small()[2], "take-back").network)
    for sends in (0, 1, 2):
        with pytest.raises(ModelFormatError, match="what a rule sends that takes back"):
            SpikingModel.from_bytes(damaged(data, bytes([16, 0, 3]), bytes([16, 0, sends])))
    with pytest.raises(ModelFormatError, match="what a rule sends that takes back"):
        SpikingModel.from_bytes(damaged(data, bytes([1, 0, 2]), bytes([1, 0, 3])))


def test_a_level_is_a_whole_number() -> None:
    model = spiking(quantized_small()[2], "take-back").build()
    index = next(p.index for p in model.populations if p.opcode == 16)
    levels = np.zeros(model.populations[index].size, np.float32)
    model._state.set(index, "level", levels + 3)
    assert (model.state(model.populations[index].name, "level") == 3).all()
    for wrong in (0.5, -1, 2**25, np.nan):
        with pytest.raises(InputError, match="level: found"):
            model._state.set(index, "level", levels + np.float32(wrong))


@pytest.mark.parametrize("scheme", ["take-back", "staged"])
def test_once_is_what_the_coding_of_that_name_sends(scheme: str) -> None:
    _, images, quantized = quantized_small()
    conversion = spiking(quantized, scheme)  # type: ignore[arg-type]
    image = images[0].astype(np.float32)
    sent = image_frames(image, "once", conversion.steps, 0, 0, conversion.steps)
    assert not image_frames(image, "once", conversion.steps, 0, 1, 3).any()
    assert image.any()
    assert (conversion.present(images[0], "once") == sent).all()
    assert (conversion.present(images[0]) == sent).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: x / 255, r"found 0\.[0-9]+ at \(0, [0-9, ]+\), expected whole .*; multiply by 255 and round"),
        (lambda x: x + 0.5, "found .* expected whole numbers from -255 to 255$"),
        (lambda x: x + 256, "found .* expected whole numbers from -255 to 255"),
        (lambda x: x * np.nan, "found nan at"),
        (lambda x: x[..., 0], r"found shape \(6, 6\), expected \(6, 6, 1\)"),
        (lambda x: "x", "found .x., expected an array of numbers"),
        (lambda x: [[1], [1, 2]], "list is not an array"),
    ],
)
@pytest.mark.parametrize("order", ORDERS)
def test_what_is_presented_is_an_image_of_the_input(wrong: Any, message: str, order: str) -> None:
    _, images, quantized = quantized_small()
    with pytest.raises(InputError, match=f"image: {message}"):
        spiking(quantized, "take-back").present(wrong(images[0]), order)


@pytest.mark.parametrize("order", ORDERS)
def test_the_difference_between_two_images_leads_from_one_to_the_other(order: str) -> None:
    _, images, quantized = quantized_small()
    conversion = spiking(quantized, "take-back")
    model = conversion.build()
    scores = model.run(conversion.present(images[0])).scores
    change = conversion.present(images[1] - images[0], order)
    assert (change.sum(axis=0) == images[1] - images[0]).all()
    scores = scores + model.run(change, reset=False).scores
    assert (scores == model.run(conversion.present(images[1])).scores).all()


def test_bytes_as_input() -> None:
    rng = np.random.default_rng(SEED)
    image = input_node("image", (5, 5, 1), DType.u8)
    weights = rng.normal(size=(2, 3, 3, 1))
    weights[0] = np.abs(weights[0])  # at least one channel above 0
    x = relu(conv(make("cast", image), weights, "first"), "relu")
    images = rng.integers(0, 256, (3, 5, 5, 1))
    quantized = quantize(prepared(Graph((image,), (x,))), images)
    expected = {k: v[0] for k, v in quantized.run(images).items()}
    assert differing(spiking(quantized, "take-back"), images[0], "brightest", expected) == 0


def test_staged_neurons_need_all_at_once() -> None:
    _, images, quantized = quantized_small()
    with pytest.raises(InputError, match="order: found 'pixels'"):
        spiking(quantized, "staged").present(images[0], "pixels")


def test_a_run_that_is_too_short_says_so() -> None:
    _, images, quantized = quantized_small()
    conversion = spiking(quantized, "staged")
    model, steps = conversion.build(), conversion.steps
    assert model.longest_delay == steps > 1 and spiking(quantized, "take-back").build().longest_delay == 0
    whole = model.run_image(images[0], steps, coding="once")
    assert whole.report.notes == () and whole.outputs[-1].argmax() == quantized.classes(images[:1])[0]
    for run in (model.run_image(images[0], steps - 1, coding="once"), model.run(conversion.present(images[0])[:-1])):
        assert f"run {steps} steps or more (--steps {steps})" in str(run.report)
    present = conversion.present(images[0])
    first, rest = model.run(present[:1]), model.run(present[1:], reset=False)
    assert first.report.notes and rest.report.notes == ()


@pytest.mark.parametrize("scheme", ["take-back", "staged"])
def test_an_image_arrives_once(scheme: Any) -> None:
    _, images, quantized = quantized_small()
    model = spiking(quantized, scheme).build()
    with pytest.raises(InputError, match="found 256, expected pixels, whole numbers from 0 to 255"):
        model.run_image(images[0] * 0 + 256, 5, coding="once")
    once = "show whole numbers, in the first step alone .--scale 1 --coding once"
    for image, coding in ((images[0], "constant"), (images[0] / 255, "once"), (images[0], "rate")):
        with pytest.raises(InputError, match=once):
            model.run_image(image, 5, coding=coding)
