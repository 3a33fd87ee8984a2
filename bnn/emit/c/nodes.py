# SPDX-License-Identifier: Apache-2.0
"""Each op as C: its tables, and the statements that compute its output."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ..._types import Array
from ...file.bits import pack, words
from ...file.container import aligned
from ...ir.graph import DType, Node
from ...ir.ops import (
    OPS,
    REQUANTIZATION,
    LimitsAttrs,
    PoolAttrs,
    QuantizeAttrs,
    RequantizeAttrs,
    conv_attrs,
    rows_computed,
    sums_rows,
)
from ...ir.ops.record import replaced
from .program import ALIGNMENT, WORD, Program, View, number, refuse

INT16, UINT16 = 2**15 - 1, 2**16 - 1
BYTES_OF_A_WORD = 32  # of a window, one bit of weights for each
GROUP_OF_BYTES = 16  # the most that kernels/flash/products.h multiplies at a time


def emit_node(program: Program, node: Node) -> None:
    """Add a layer to the program.

    Raises :class:`CompileError` for what only the interpreter can do; names the layer.
    """
    program.begin(node)
    emitter = _EMITTERS.get(node.op)
    if OPS[node.op].c:
        _elementwise(program, node)
    elif emitter:
        emitter(program, node)
    else:
        raise refuse(node, "compute what depends on the other images of a batch")
    layer = program.layer
    counted = "qconv2d", "add16", "binarize16", "requantize16"  # what they read is in their costs
    if not layer.macs and node.op not in counted:
        kernel = getattr(node.attrs, "kernel", (1, 1))
        layer.pixels = program.view(node).count * kernel[0] * kernel[1]


# -- halos -------------------------------------------------------------------------------------------------------------


def _clear_halo(program: Program, node: Node) -> None:
    """Zeros around the image; memory was others' before.  Nothing that the op reads is in its output's memory, except
    an operand that the output replaces, of the same type."""
    view = program.view(node)
    if not view.halo:
        return
    element = view.dtype.element
    if program.kept(node):
        program.line(f"memset(memory + {program.graph.placements[node].offset}, 0, {program.bytes(node)});")
        return
    if not _replaces(program, node):
        program.line(f"memset({program.at(node)}, 0, {view.size});")
        return
    above, below = view.halo.top * view.row, view.halo.bottom * view.row
    left, right = view.halo.left * view.words, view.halo.right * view.words
    if above:
        program.line(f"memset({program.at(node)}, 0, {above * element});")
    if left or right:
        edge = program.at(node, above)
        program.line(f"for (size_t row = 0; row < {view.height}; row++) {{")
        if left:
            program.line(f"    memset({edge} + row * {view.row}, 0, {left * element});")
        if right:
            end = program.at(node, above + view.row - right)
            program.line(f"    memset({end} + row * {view.row}, 0, {right * element});")
        program.line("}")
    if below:
        program.line(f"memset({program.at(node, above + view.height * view.row)}, 0, {below * element});")


def _replaces(program: Program, node: Node) -> bool:
    """Whether an operand is in the memory of its output."""
    places = program.graph.placements
    place = places[node].storage, places[node].offset
    return any((places[operand].storage, places[operand].offset) == place for operand in replaced(node))


def _rows(program: Program, height: int, *lines: str) -> None:
    """A loop over the rows of the output; that of a chain is the chain's."""
    if program.current in program.turns:
        program.layer.row += lines
        return
    program.line(f"for (size_t row = 0; row < {height}; row++) {{")
    for line in lines:
        program.line(f"    {line}")
    program.line("}")


# -- convolutions ------------------------------------------------------------------------------------------------------


class _Window:
    """Where a convolution's windows are: the fields of struct bnn_mcu_shape."""

    def __init__(self, program: Program, node: Node) -> None:
        a, filters, x = conv_attrs(node), node.inputs[1].type.shape, program.view(node.inputs[0])
        outputs, self.kh, self.kw = filters[:3]
        self.groups = a.groups
        self.outputs = outputs // a.groups
        self.channels = x.channels // a.groups if a.planes == 1 else filters[3]
        bits = node.op == "bconv2d"
        self.length = words(self.channels) if bits else self.channels  # elements of a tap
        self.taps, self.rows = self.kw, self.kh
        self.row = 0 if program.kept(node.inputs[0]) else a.stride[0] * x.row
        self.pixel = a.stride[1] * x.words
        self.window_row, self.tap = a.dilation[0] * x.row, a.dilation[1] * x.words
        self.first = (x.halo.top - a.pads[0]) * x.row + (x.halo.left - a.pads[1]) * x.words

    @property
    def elements(self) -> int:
        return self.rows * self.taps * self.length

    def joined(self) -> None:
        """Make one run of adjacent ones."""
        if self.taps > 1 and self.tap == self.length or self.taps == 1:
            self.length *= self.taps
            self.taps = 1
        if self.taps == 1 and self.rows > 1 and self.window_row == self.length:
            self.length *= self.rows
            self.rows = 1

    def text(self, node: Node, width: int, out_pixel: int) -> str:
        numbers = _short(node, width, self.outputs, self.rows, self.taps, self.length, out_pixel)
        return f"{{{numbers}, {self.row}, {self.pixel}, {self.window_row}, {self.tap}}}"


SHAPE_BYTES = 28


def _count(program: Program, out: View, kind: str, products: int, window: int) -> None:
    """What a convolution does: products and elements of a window for each of its outputs."""
    layer = program.layer
    layer.kind, layer.pixels, layer.outputs, layer.window = kind, out.height * out.width, out.channels, window
    layer.macs = products * out.height * out.width * out.channels


def _short(node: Node, *numbers: int) -> str:
    """C: the values of fields of 16 bits.

    Raises :class:`CompileError` if one is larger.
    """
    if max(numbers) > UINT16:
        raise refuse(node, f"have a dimension of {max(numbers)} (at most {UINT16})")
    return ", ".join(map(str, numbers))


def _classes(program: Program, node: Node, rows: Array, columns: Array) -> str:
    """The table of border classes: of each row, multiplied, and of each column."""
    count = int(rows.max() + columns.max()) + 1
    if count > 256:
        raise refuse(node, f"have {count} kinds of windows at the image's border (at most 256)")
    return program.table("uint8_t", "classes", np.concatenate([rows, columns]))


def _border_classes(x: View, node: Node, out: View) -> tuple[Array, Array, list[Array]]:
    """The row class of each output row, the column class of each column, and for each class, in row-major order, the
    taps (kh, kw) inside the image."""
    a, (kh, kw) = conv_attrs(node), node.inputs[1].type.shape[1:3]

    def axis(
        count: int, size: int, kernel: int, stride: int, dilation: int, before: int
    ) -> tuple[list[int], list[Array]]:
        kinds: dict[bytes, int] = {}
        inside: list[Array] = []
        numbers = []
        for position in range(count):
            at = position * stride - before + np.arange(kernel) * dilation
            taps = (at >= 0) & (at < size)
            if taps.tobytes() not in kinds:
                kinds[taps.tobytes()] = len(inside)
                inside.append(taps)
            numbers.append(kinds[taps.tobytes()])
        return numbers, inside

    rows, in_rows = axis(out.height, x.height, kh, a.stride[0], a.dilation[0], a.pads[0])
    columns, in_columns = axis(out.width, x.width, kw, a.stride[1], a.dilation[1], a.pads[1])
    classes = [np.outer(r, c) for r in in_rows for c in in_columns]
    return np.array(rows) * len(in_columns), np.array(columns), classes


def _corrections_of_bits(node: Node, classes: list[Array]) -> Array:
    """(class, O): what is added to -2 * differing.  With |w| the set bits of a tap of a filter and C its channels, in
    the taps inside the image C, and outside, where the image has zeros, 2 |w| + pad_value (2 |w| - C)."""
    a, filters = conv_attrs(node), node.inputs[1].value
    channels = filters.shape[3]
    ones = (filters > 0).sum(axis=3, dtype=np.int64)  # (O, kh, kw)
    scale = 2**a.planes - 1
    tables = []
    for inside in classes:
        outside = 2 * ones + a.pad_value * (2 * ones - channels)
        tables.append(scale * np.where(inside, channels, outside).sum(axis=(1, 2)))
    return np.array(tables)


def _bconv2d(program: Program, node: Node) -> None:
    a, x_node = conv_attrs(node), node.inputs[0]
    x, out = program.view(x_node), program.view(node)
    window = _Window(program, node)
    if window.groups == x.channels > 1 and window.outputs == 1 and a.out is DType.b1 and "threshold" in a.slots:
        _depthwise_bits(program, node, window)
        return
    if window.groups > 1 and window.channels % 32:
        raise refuse(node, f"read groups of {window.channels} channels, which are not whole words")
    limits = "threshold" in a.slots and (window.groups == 1 or window.outputs % 32 == 0)
    products = window.kh * window.kw * window.channels
    _count(program, out, "bits", products * a.planes, -(-products // 32) * a.planes)
    table, classes = _table_of_bits(program, node, x, out, limits, products)
    table = np.moveaxis(table.reshape(len(table), window.groups, -1), 1, 0)  # (group, class, outputs)
    layout, weights, table = _layout(program, node, window, limits, products, table)
    gathered = weights.shape[2] if layout.startswith("_shared") else window.elements * a.planes
    program.layer.window, program.layer.way = gathered, _way(layout, a.planes)
    names = "limits" if limits else "corrections"
    shape = window.text(node, out.width, out.words if limits else out.channels)
    weights_name = program.table("uint32_t", "weights", weights)
    kind = "planes" if a.planes > 1 else "conv"
    table_name = program.table("int32_t" if a.planes > 1 else "int16_t", names, table)
    heights = _short(node, out.height, window.channels)
    descriptors = []
    for g in range(window.groups):
        of_weights, of_table = _from(weights_name, g * weights[0].size), _from(table_name, g * table[0].size)
        text = f"{{{of_weights}, {of_table}, {classes}, {heights}, {shape}}}"
        if a.planes > 1:
            inner = f"{{{of_weights}, NULL, {classes}, {heights}, {shape}}}"
            text = f"{{{inner}, {of_table}, {x.words // a.planes}, {a.planes}}}"
        size = 3 * WORD + 4 + SHAPE_BYTES + 3 * WORD * (a.planes > 1)
        descriptors.append(program.struct(f"bnn_mcu_{kind}", "", text, size))
    _clear_halo(program, node)

    def run(group: int, pointer: str, scratch: int | None) -> str:
        function = f"bnn_mcu_{kind}_{'bits' if limits else 'sums'}{layout}"
        source = program.at(x_node, window.first + group * words(window.channels))
        memory = program.behind("uint32_t", scratch) if scratch is not None else "NULL"
        return program.call(function, f"&{descriptors[group]}", "row", source, pointer, memory)

    gathers = window.rows > 1 or window.taps > 1 or layout.startswith("_shared") or a.planes > 1
    _finish(program, node, window.groups, limits, run, gathered * WORD if gathers else 0, words(window.outputs))


def _depthwise_bits(program: Program, node: Node, window: _Window) -> None:
    """Each channel has its own filter; 32 are computed at once.  Plane p of the table has digit p of every limit."""
    x_node, filters = node.inputs[0], node.inputs[1].value
    x, out, taps = program.view(x_node), program.view(node), window.kh * window.kw
    window.length, window.outputs = x.words, out.channels
    _count(program, out, "bits", taps, taps)
    limits, classes = _table_of_bits(program, node, x, out, True, taps)
    planes, limits = (taps + 1).bit_length(), np.minimum(limits, taps + 1)
    digits = pack(np.stack([limits >> p & 1 for p in range(planes)]))  # (plane, class, word)
    layout = "_4" if program.fast and planes == 4 else ""
    program.layer.way = "depthwise_4" if layout else "depthwise"
    weights = program.table("uint32_t", "weights", pack(filters.reshape(len(filters), taps).T).T)
    table = program.table("uint32_t", "limits", np.moveaxis(digits, 0, 2))
    shape = window.text(node, out.width, out.words)
    text = f"{{{weights}, {table}, {classes}, {_short(node, out.height, planes)}, {shape}}}"
    descriptor = program.struct("bnn_mcu_depthwise", "", text, 3 * WORD + 4 + SHAPE_BYTES)
    _clear_halo(program, node)
    source = program.at(x_node, window.first)
    call = program.call(f"bnn_mcu_depthwise_bits{layout}", f"&{descriptor}", "row", source, program.row(node))
    _rows(program, out.height, call + ";")


def _way(layout: str, planes: int) -> str:
    if planes > 1 or layout.startswith("_shared"):
        return layout[1:] or "planes"
    return "fixed" if layout[-1:].isdecimal() else "any"


def _from(table: str, offset: int) -> str:
    """C: a table from an element on."""
    return f"{table} + {offset}" if offset else table


def _table_of_bits(program: Program, node: Node, x: View, out: View, limits: bool, products: int) -> tuple[Array, str]:
    """Limits or corrections (class, O), and the name of the table of classes; if all agree, one row, and NULL."""
    a = conv_attrs(node)
    rows, columns, classes = _border_classes(x, node, out)
    table = _corrections_of_bits(node, classes)
    if limits:
        threshold = node.inputs[a.operand("threshold")].value.astype(np.int64)
        table = np.clip((table - threshold) // 2 + 1, 0, 2**30)
    if a.planes == 1:
        largest = max(products, 0 if limits else int(np.abs(table).max()))
        if largest >= INT16:
            raise refuse(node, f"sum {largest} products of bits, padding included (at most {INT16 - 1})")
        table = np.minimum(table, INT16)
    if (table == table[0]).all():
        return table[:1], "NULL"
    return table, _classes(program, node, rows, columns)


def _layout(
    program: Program, node: Node, window: _Window, limits: bool, products: int, table: Array
) -> tuple[str, Array, Array]:
    """The end of the function's name, the weights (group, outputs, words of a window), and the table as it reads it.

    Channels that fill at most three quarters of their words share words; a filter of 3 x 3 x 16 takes five."""
    filters = node.inputs[1].value
    weights = pack(filters).reshape(window.groups, window.outputs, -1)
    if conv_attrs(node).planes > 1:
        return "", weights, table
    if window.kh * window.kw > 1 and 4 * words(products) <= 3 * window.elements:
        weights = pack(filters.reshape(window.groups, window.outputs, products))
        return "_shared_5" if program.fast and weights.shape[2] == 5 else "_shared", weights, table
    window.joined()
    fixed = (9, 18, 36) if program.quads else (2, 4, 9, 18, 36)
    count = f"_{window.elements}" if program.fast and window.elements in fixed else ""
    if not program.quads:
        return count, weights, table
    padded = np.pad(weights, ((0, 0), (0, -window.outputs % 4), (0, 0)))  # filters of zeros at the end
    quads = padded.reshape(window.groups, -1, 4, weights.shape[2]).swapaxes(2, 3)
    table = np.pad(table, ((0, 0), (0, 0), (0, -window.outputs % 4)))
    return f"_quads{count if limits else ''}", quads, table


def _finish(
    program: Program, node: Node, groups: int, limits: bool, run: Callable[[int, str, int | None], str], window: int,
    group_words: int, corrections: tuple[str, str, int, int] | None = None,
) -> None:  # fmt: skip
    """The loop over rows: bits by limits, or sums and then the epilogue, and bits of these.

    ``run``: C of one row's call, from the group, the output and the window's memory.  ``corrections``: (table, classes,
    rows, columns) of floats, for sums of bytes with a fraction.
    """
    a, out = conv_attrs(node), program.view(node)
    outputs = out.channels // groups
    place = program.reserve(window) if window else None
    if limits:
        calls = [run(g, program.row(node, g * group_words), place) + ";" for g in range(groups)]
        _rows(program, out.height, *calls)
        return
    pixels = out.width * out.channels
    apart = out.dtype is not DType.f32 or _replaces(program, node)
    row = program.reserve(pixels * WORD) if apart else 0
    values = program.behind("float", row) if apart else program.row(node)
    lines = []
    floats = node.op == "conv2d"
    sums = values if floats else f"(int32_t *)(void *)({values})"
    if apart and not floats:
        sums = program.behind("int32_t", row)
    for g in range(groups):
        lines.append(run(g, f"{sums} + {g * outputs}" if g else sums, place) + ";")
    if corrections:
        table, classes, height, count = corrections
        number_of = f"({classes}[row] + {classes}[{height} + column])" if classes else "0"
        correct = program.call(
            "bnn_mcu_correct", f"{values} + column * {count}", f"{table} + {number_of} * {count}", count
        )
        lines.append(f"for (size_t column = 0; column < {out.width}; column++)")
        lines.append(f"    {correct};")
    if out.dtype in (DType.u8, DType.i16):
        _rows(program, out.height, *lines, _requantized(program, node, program.row(node), sums) + ";")
        return
    if "threshold" in a.slots:  # in the table of sums of bytes; of bits, of groups whose bits share words
        thresholds = "NULL"
        if node.op == "bconv2d":
            thresholds = program.table("int32_t", "thresholds", node.inputs[a.operand("threshold")].value)
        arguments = (program.row(node), sums, thresholds, out.width, out.channels)
        program.layer.compared = out.height * pixels
        _rows(program, out.height, *lines, program.call("bnn_mcu_sum_signs", *arguments) + ";")
        return
    epilogue = _epilogue(program, node)
    residual = "NULL"
    if "residual" in a.slots:
        other = node.inputs[a.operand("residual")]
        residual = program.row(other)
    finished = program.row(node) if out.dtype is not DType.b1 else values
    plain = epilogue is None and residual == "NULL"
    if not plain or not (floats or corrections):
        function = "bnn_mcu_finish" if floats or corrections else "bnn_mcu_finish_sums"
        source = values if floats or corrections else sums
        name = epilogue or program.struct("bnn_epilogue", "epilogue", _NO_EPILOGUE, 44)
        lines.append(program.call(function, finished, source, f"&{name}", residual, out.width, out.channels) + ";")
        program.layer.finished = out.height * pixels
    elif finished != values:
        lines.append(f"memcpy({finished}, {values}, {pixels * WORD});")
    if out.dtype is DType.b1:
        signs = program.call("bnn_mcu_signs", program.row(node), values, out.width, out.channels)
        lines.append(f"nan |= {signs};")
        program.nan, program.layer.signs = True, out.height * pixels
    _rows(program, out.height, *lines)


def _requantizer(program: Program, multiplier: Array, shift: Array, limits: Sequence[int]) -> str:
    """C: a struct bnn_requantizer; ``limits``: zero, low, high, once."""
    tables = [
        program.table("int32_t", name, v.astype(np.int32)) for name, v in (("multiplier", multiplier), ("shift", shift))
    ]
    text = f"{{{', '.join([*tables, *map(str, limits)])}}}"
    return "&" + program.struct("bnn_requantizer", "requantizer", text, 2 * WORD + 16)


_NO_EPILOGUE = "{NULL, NULL, NULL, NULL, NULL, 0.0f, 0.0f, 0.0f, 0.0f, 0, 0}"


def _epilogue(program: Program, node: Node) -> str | None:
    """The name of a struct bnn_epilogue with the slots, or None if there are none."""
    a = conv_attrs(node)
    operands = {"pre_mul": "NULL", "pre_add": "NULL", "sub": "NULL", "mul": "NULL", "add": "NULL"}
    for slot in operands:
        if slot in a.slots:
            operands[slot] = program.table("float", slot, node.inputs[a.operand(slot)].value)
    clamps = [slot in a.slots for slot in ("clamp0", "clamp1")]
    if set(operands.values()) == {"NULL"} and not any(clamps):
        return None
    pairs = (a.clamp0, a.clamp1)
    numbers = [number(v) if clamp else "0.0f" for clamp, pair in zip(clamps, pairs, strict=True) for v in pair]
    text = ", ".join([*operands.values(), *numbers, *(str(int(c)) for c in clamps)])
    return program.struct("bnn_epilogue", "epilogue", f"{{{text}}}", 44)


def _iconv2d(program: Program, node: Node) -> None:
    """Weights are signs, or means of two; a byte counts from its channel's zero, which padding has."""
    a, x_node = conv_attrs(node), node.inputs[0]
    x, out = program.view(x_node), program.view(node)
    if a.groups > 1:
        raise refuse(node, "read groups of bytes")
    window = _Window(program, node)
    outputs, kh, kw, wide = node.inputs[1].type.shape
    planes = wide // x.channels
    signs = node.inputs[1].value.reshape(outputs, kh, kw, planes, x.channels)
    weights = signs.mean(axis=3)  # (O, kh, kw, C)
    zeros = node.inputs[a.operand("zeros")].value.astype(np.float64)
    rows, columns, classes = _border_classes(x, node, out)
    corrections = np.array([-(weights * zeros * inside[:, :, None]).sum(axis=(1, 2, 3)) for inside in classes])
    limits = "threshold" in a.slots
    fraction = False
    if limits:
        # Sums are below 2^24 in magnitude: limits farther out mean always, or never.
        table = np.clip(np.ceil(node.inputs[a.operand("threshold")].value - corrections), -(2**25), 2**25)
    else:
        table = corrections
        fraction = bool((table != np.round(table)).any())
    one = bool((table == table[0]).all())
    if one:
        table = table[:1]
    class_name = "NULL" if one else _classes(program, node, rows, columns)
    _count(program, out, "bytes", kh * kw * x.channels, kh * kw * x.channels)
    bytes_of_window = kh * kw * x.channels
    padded = np.full((outputs, -(-bytes_of_window // BYTES_OF_A_WORD) * BYTES_OF_A_WORD, planes), -1)
    padded[:, :bytes_of_window] = np.moveaxis(signs, 3, 4).reshape(outputs, bytes_of_window, planes)
    packed = pack(padded.reshape(outputs, -1, BYTES_OF_A_WORD, planes).transpose(1, 3, 0, 2))
    weights_name = program.table("uint32_t", "weights", packed)
    integers = "NULL"
    if limits or (not fraction and table.any()):
        integers = program.table("int32_t", "limits" if limits else "corrections", table.astype(np.int32))
    window.joined()
    shape = window.text(node, out.width, out.words if limits else out.channels)
    text = f"{{{weights_name}, {integers}, {class_name}, {_short(node, out.height, planes)}, {shape}}}"
    descriptor = program.struct("bnn_mcu_bytes", "", text, 3 * WORD + 4 + SHAPE_BYTES)
    fractions = None
    if fraction:
        name = program.table("float", "corrections", table.astype(np.float32))
        fractions = (name, "" if one else class_name, out.height, outputs)
    _clear_halo(program, node)
    source = program.at(x_node, window.first)

    def run(group: int, pointer: str, scratch: int | None) -> str:
        if not limits:
            return program.call("bnn_mcu_bytes_sums", f"&{descriptor}", "row", source, pointer)
        assert scratch is not None
        memory = program.behind("int32_t", scratch)
        number = f"_{bytes_of_window}" if program.fast and bytes_of_window in (9, 27) else ""
        program.layer.way = "fixed" if number else "any"
        return program.call(f"bnn_mcu_bytes_bits{number}", f"&{descriptor}", "row", source, pointer, memory)

    _finish(program, node, 1, limits, run, outputs * WORD if limits else 0, out.words, fractions)


def _finish_groups(
    program: Program, node: Node, window: _Window, function: str, descriptors: Sequence[str], memory: int = 0
) -> None:
    """The rows of a convolution by a function of each group's descriptor, which may take memory for windows."""
    _clear_halo(program, node)

    def run(group: int, pointer: str, scratch: int | None) -> str:
        source = program.at(node.inputs[0], window.first + group * window.channels)
        more = () if scratch is None else (program.behind("uint8_t", scratch),)
        return program.call(function, f"&{descriptors[group]}", "row", source, pointer, *more)

    _finish(program, node, len(descriptors), False, run, memory, 0)


def _corrections_of_bytes(node: Node, classes: list[Array]) -> Array:
    """(class, O): what is added to the products of bytes, of the taps inside the image."""
    a, weights = conv_attrs(node), node.inputs[1].value
    zeros = node.inputs[a.operand("zeros")].value.astype(np.int64).reshape(a.groups, 1, 1, 1, -1)
    products = (weights.reshape(a.groups, -1, *weights.shape[1:]) * zeros).reshape(weights.shape)
    table = np.array([-(products * inside[:, :, None]).sum(axis=(1, 2, 3)) for inside in classes])
    if "threshold" in a.slots:  # the bit is sum - threshold >= 0; sums are below 2^30
        table = table - np.clip(node.inputs[a.operand("threshold")].value, -(2**30), 2**30)
    if "bias" in a.slots:
        table = table + node.inputs[a.operand("bias")].value
    return table


def _qconv2d(program: Program, node: Node) -> None:
    """Weights are int8; a byte counts from its channel's zero, which padding has."""
    a, x, out = conv_attrs(node), program.view(node.inputs[0]), program.view(node)
    if DType.i32 in (x.dtype, out.dtype):
        (_row_sums if out.dtype is DType.i32 else _of_row_sums)(program, node)
        return
    window = _Window(program, node)
    weights = node.inputs[1].value
    rows, columns, classes = _border_classes(x, node, out)
    table = _corrections_of_bytes(node, classes)
    class_name = "NULL" if (one := bool((table == table[0]).all())) else _classes(program, node, rows, columns)
    depthwise = a.groups > 1 and weights.shape[3] == window.outputs == 1
    if depthwise and window.elements == 1 and a.stride == (1, 1) and not any(a.pads) and "threshold" in a.slots:
        _byte_signs(program, node, window, weights.reshape(-1), table[0])
        return
    groups = 1 if depthwise else a.groups
    pairs = out.width > 1 and not depthwise
    function, way = ("int8_pairs", "any") if pairs else ("int8_sums", "single")
    if depthwise:
        function, way = "depthwise_int8", "depthwise"
        window.outputs = window.length = out.channels
    table = np.moveaxis((table[:1] if one else table).reshape(-1, groups, window.outputs), 1, 0)
    _count(program, out, "int8", weights[0].size, weights[0].size)
    program.layer.way = way
    if sums_rows(node) and (node in program.turns or program.stream):
        _sums_of_rows(program, node, window, weights[:, 0, :, 0].T, table)
        return
    elements = 0
    if depthwise:
        weights = np.moveaxis(weights, 0, 2)  # (kh, kw, O, 1)
    else:
        elements = -(-weights[0].size // 4) * 4
        weights = np.pad(weights.reshape(len(weights), -1), ((0, 0), (0, elements - weights[0].size)))
    of_weights = program.table("int8_t", "weights", weights)
    of_table = program.table("int32_t", "table", table.astype(np.int32))
    if a.groups == 1:
        window.joined()
    shape = window.text(node, out.width, out.channels)
    rest = f"{class_name}, {_short(node, out.height)}, {shape}"
    descriptors = []
    for g in range(groups):
        places = (_from(of_weights, g * weights.size // groups), _from(of_table, g * table[0].size))
        text = f"{{{', '.join(places)}, {rest}}}"
        descriptors.append(program.struct("bnn_mcu_int8", "", text, 3 * WORD + 4 + SHAPE_BYTES))
    memory = 2 * -(-elements // GROUP_OF_BYTES) * GROUP_OF_BYTES if pairs else 0
    _finish_groups(program, node, window, f"bnn_mcu_{function}", descriptors, memory)


def _byte_signs(program: Program, node: Node, window: _Window, weights: Array, table: Array) -> None:
    """Bits of bytes x by weights w: whether x w + ``table`` (O) reaches 0."""
    x_node, out = node.inputs[0], program.view(node)
    weights = weights.astype(np.int64)
    # x >= -table / w, or not x >= table / -w + 1; a weight of 0: always, or never
    least = np.where(weights > 0, -(table // np.maximum(weights, 1)), table // np.maximum(-weights, 1) + 1)
    least = np.where(weights == 0, np.where(table >= 0, 256, 0), np.clip(least, 0, 256))
    _count(program, out, "int8", 1, 1)
    program.layer.pixels, program.layer.compared = 0, out.height * out.width * out.channels
    tables = program.table("uint16_t", "least", least), program.table("uint32_t", "rising", pack(np.sign(weights)))
    source = program.at(x_node, window.first)
    source += f" + row * {window.row}" if window.row else ""
    _clear_halo(program, node)
    call = program.call("bnn_mcu_byte_signs", program.row(node), source, *tables, out.width, out.channels)
    _rows(program, out.height, call + ";")


def _sums_of_rows(program: Program, node: Node, window: _Window, weights: Array, table: Array) -> None:
    """Sums grow by those of each row, and become bytes after the last; ``weights``: of a row (tap, O)."""
    x_node, out = node.inputs[0], program.view(node)
    window.rows, window.row = 1, 0 if program.kept(x_node) else program.view(x_node).row
    descriptor = _row_summed(program, node, window, weights)
    count = out.width * out.channels
    behind = program.graph.placements[node].offset + aligned(out.size, ALIGNMENT)
    totals = program.behind("int32_t", behind if node in program.turns else program.reserve(count * WORD))
    sums = program.behind("int32_t", program.reserve(count * WORD))
    start = program.table("int32_t", "table", np.tile(table.reshape(-1), out.width))
    _clear_halo(program, node)
    program.line(f"memcpy({totals}, {start}, {count * WORD});")
    source = program.at(x_node, window.first)
    _rows(
        program,
        rows_computed(node),
        program.call("bnn_mcu_depthwise_int8", f"&{descriptor}", "row", source, sums) + ";",
        *_added(totals, sums, count),
        f"if (row == {rows_computed(node) - 1})",
        f"    {_requantized(program, node, program.inside(node), totals)};",
    )


def _row_summed(program: Program, node: Node, window: _Window, weights: Array) -> str:
    """The descriptor of a row's sums; ``weights``: (tap, O)."""
    out = program.view(node)
    of_weights = program.table("int8_t", "weights", weights)
    nothing = program.table("int32_t", "nothing", np.zeros(out.channels))
    text = f"{{{of_weights}, {nothing}, NULL, {_short(node, 1)}, {window.text(node, out.width, out.channels)}}}"
    return program.struct("bnn_mcu_int8", "", text, 3 * WORD + 4 + SHAPE_BYTES)


def _added(totals: str, sums: str, count: int) -> tuple[str, str]:
    """C: a row's sums are added to those of all."""
    return f"for (size_t i = 0; i < {count}; i++)", f"    ({totals})[i] += ({sums})[i];"


def _row_sums(program: Program, node: Node) -> None:
    """The sums of each new row of a stream, which are kept for later calls."""
    out, window, weights = program.view(node), _Window(program, node), node.inputs[1].value
    window.outputs = window.length = out.channels
    _count(program, out, "int8", weights[0].size, weights[0].size)
    program.layer.way = "depthwise"
    descriptor = _row_summed(program, node, window, weights[:, 0, :, 0].T)
    source = program.at(node.inputs[0], window.first)
    call = program.call("bnn_mcu_depthwise_int8", f"&{descriptor}", "row", source, program.row(node))
    _rows(program, out.height, call + ";")


def _of_row_sums(program: Program, node: Node) -> None:
    """Bytes of the sums of all rows that a stream keeps."""
    x_node, out = node.inputs[0], program.view(node)
    rows, count = program.view(x_node).height, out.width * out.channels
    table = _corrections_of_bytes(node, [np.ones(node.inputs[1].type.shape[1:3], bool)])
    start = program.table("int32_t", "table", np.tile(table.reshape(-1), out.width))
    totals = program.behind("int32_t", program.reserve(count * WORD))
    program.layer.added = rows * count
    _clear_halo(program, node)
    program.line(f"memcpy({totals}, {start}, {count * WORD});")
    _rows(program, rows, *_added(totals, f"{program.inside(x_node)} + row * {count}", count))
    program.line(f"{_requantized(program, node, program.inside(node), totals)};")


def _requantized(program: Program, node: Node, target: str, sums: str) -> str:
    """C: a row of sums, or of int16, becomes bytes or int16."""
    out = program.view(node)
    bias, multiplier, shift, spread = (i.value for i in node.inputs[-len(REQUANTIZATION) :])
    requantizer = _requantizer(program, multiplier, shift, spread.tolist())
    function, numbers = "bnn_mcu_requantize", [sums]
    if node.op != "qconv2d":  # of bits: biases are beside the table of corrections, whose numbers have 16 bits
        function += "_bits" if node.op == "bconv2d" else "_int16"
        numbers.append(program.table("int32_t", "biases", bias))
    function += "_shorts" * (out.dtype is DType.i16)
    program.layer.requantized = out.height * out.width * out.channels
    return program.call(function, target, *numbers, requantizer, out.width, out.channels)


def _conv2d(program: Program, node: Node) -> None:
    a, out = conv_attrs(node), program.view(node)
    window = _Window(program, node)
    filters = node.inputs[1].value.astype(np.float32)
    depthwise = a.groups > 1 and filters.shape[3] == 1 and window.outputs == 1
    groups = 1 if depthwise else a.groups
    _count(program, out, "floats", filters[0].size, filters[0].size)
    if depthwise:
        program.layer.way = "depthwise"
        window.outputs = window.length = out.channels
        weights = np.moveaxis(filters, 0, 2).reshape(1, -1)  # (kh, kw, O)
    else:
        weights = filters.reshape(groups, -1)
        if groups == 1:
            window.joined()
    name = program.table("float", "weights", weights)
    shape = window.text(node, out.width, out.channels)
    descriptors = [
        program.struct("bnn_mcu_floats", "", f"{{{_from(name, g * weights[0].size)}, {shape}}}", WORD + SHAPE_BYTES)
        for g in range(groups)
    ]
    function = "bnn_mcu_depthwise_floats" if depthwise else "bnn_mcu_conv_floats"
    _finish_groups(program, node, window, function, descriptors)


# -- pools -------------------------------------------------------------------------------------------------------------


def _pool(program: Program, node: Node) -> None:
    a = node.attrs
    assert isinstance(a, PoolAttrs)
    x, out = program.view(node.inputs[0]), program.view(node)
    window = (*a.kernel, *a.stride, *a.pads[:2])
    if out.dtype is DType.b1:
        mask = "NULL"
        if len(node.inputs) == 2:
            mask = program.table("uint32_t", "mask", pack(node.inputs[1].value))
        numbers = _short(node, x.height, x.width, out.width, x.words, *window)
        kind, function = "bnn_mcu_pool", "bnn_mcu_max_pool_bits"
        text = f"{{{mask}, {numbers}, {x.row}}}"
    else:
        numbers = _short(node, x.height, x.width, x.channels, out.width, *window)
        kind = "bnn_mcu_windows"
        what = {"max_pool": "max", "avg_pool": "mean", "sum_pool": "sum"}[node.op]
        elements = {DType.u8: "bytes", DType.i16: "shorts"}.get(out.dtype, "floats")
        function = f"bnn_mcu_{what}_{elements}"
        text = f"{{{numbers}, {x.row}}}"
    descriptor = program.struct(kind, "", text, 28)
    _clear_halo(program, node)
    kept = program.kept(node.inputs[0])
    if kept and (a.pads[0] or (out.height - 1) * a.stride[0] + a.kernel[0] > x.height):
        _pool_of_kept(program, node, kind, descriptor, function)
        return
    arguments = (f"&{descriptor}", "0" if kept else "row", program.inside(node.inputs[0]), program.row(node))
    _rows(program, out.height, program.call(function, *arguments) + ";")


def _pool_of_kept(program: Program, node: Node, kind: str, descriptor: str, function: str) -> None:
    """A pool of an image that is the rows of a window inside the image, which are fewer at its border."""
    a, x = node.attrs, program.view(node.inputs[0])
    assert isinstance(a, PoolAttrs)
    top, first, end = a.pads[0], f"row * {a.stride[0]}", f"row * {a.stride[0]} + {a.kernel[0] - a.pads[0]}"
    band = program.name(f"{program.layer.name}_band")
    program.line(f"struct {kind} {band} = {descriptor};")
    program.line(f"{band}.pad_top = 0;")
    window = program.at(node.inputs[0], x.interior - top * x.row)
    source = f"{window} + (begin + {top} - {first}) * {x.row}"
    _rows(
        program,
        program.view(node).height,
        f"const size_t begin = {f'{first} > {top} ? {first} - {top} : 0' if top else first};",
        f"const size_t end = {end} < {x.height} ? {end} : {x.height};",
        f"{band}.height = (uint16_t)(end - begin);",
        program.call(function, f"&{band}", "0", source, program.row(node)) + ";",
    )


def _resize(program: Program, node: Node) -> None:
    a = node.attrs
    x, out = program.view(node.inputs[0]), program.view(node)

    def places(size: int, count: int) -> str:
        aligned = a.align_corners and count > 1  # type: ignore[attr-defined]
        one = np.float32
        scale = one(size - 1) / one(count - 1) if aligned else one(size) / one(count)
        half = one(0.5) * one(a.half_pixels)  # type: ignore[attr-defined]
        texts = []
        for i in range(count):
            at = (one(i) + half) * scale - half
            low, high = np.floor(at), np.ceil(at)
            ends = (int(min(max(v, 0), size - 1)) for v in (low, high))
            texts.append(f"{{{', '.join(map(str, ends))}, {number(at - low)}}}")
        name = program.name(f"{program.layer.name}_places")
        program.tables.append(f"static const struct bnn_mcu_place {name}[{count}] = {{{', '.join(texts)}}};\n")
        program.layer.flash += 8 * count
        return name

    down, along = places(x.height, out.height), places(x.width, out.width)
    _clear_halo(program, node)
    target, source = program.row(node), program.inside(node.inputs[0])
    call = program.call("bnn_mcu_resize", target, source, x.row, f"{down} + row", along, out.width, out.channels)
    _rows(program, out.height, call + ";")


# -- elementwise -------------------------------------------------------------------------------------------------------


def _elementwise(program: Program, node: Node) -> None:
    """The op's C expression of the floats x, y, z, w; or a function of a row."""
    out = program.view(node)
    fields = {name: getattr(node.attrs, name) for name in getattr(node.attrs, "__dataclass_fields__", {})}
    texts = {name: number(v) if isinstance(v, float) else v for name, v in fields.items()}
    text = OPS[node.op].c.format(**texts)
    program.functions.update(re.findall(r"\b(bnn_\w+)\(", text))
    _clear_halo(program, node)
    if "(out, in, n" in text:
        x = program.view(node.inputs[0])
        softmax = node.op == "softmax"
        pixels, run = (out.width, out.channels) if softmax else (1, out.width * out.channels)
        rows = out.height
        if out.dense and x.dense and node not in program.turns:
            rows, pixels, run = (1, out.height * out.width, run) if softmax else (1, 1, out.count)
        target, source = program.row(node), program.row(node.inputs[0])
        if pixels > 1:
            target, source = f"{target} + pixel * {run}", f"{source} + pixel * {run}"
        call = text.replace("out, in, n", f"{target}, {source}, {run}") + ";"
        if pixels > 1:
            call = f"for (size_t pixel = 0; pixel < {pixels}; pixel++) {call}"
        _rows(program, rows, call)
        return
    _loops(program, node, out, text)


def _loops(program: Program, node: Node, out: View, text: str) -> None:
    operands, sizes = [], []
    for name, operand in zip("xyzw", node.inputs, strict=False):
        if operand.is_constant:
            value = operand.value.astype(np.float32)
            size = (1,) * (3 - value.ndim) + value.shape
            source = number(float(value.reshape(-1)[0])) if value.size == 1 else program.table("float", name, value)
            operands.append((name, source, size, (size[1] * size[2], size[2]), value.size == 1))
        else:
            view = program.view(operand)
            size = (view.height, view.width, view.channels)
            row = 0 if program.kept(operand) else view.row
            operands.append((name, program.inside(operand), size, (row, view.words), False))
        sizes.append(operands[-1][2])
    full = (out.height, out.width, out.channels)
    flat = (
        node not in program.turns
        and out.dense
        and all(literal or (size == full and step[0] == size[1] * size[2]) for _, _, size, step, literal in operands)
    )
    lines: list[str] = []
    if flat:
        program.line(f"for (size_t i = 0; i < {out.count}; i++) {{")
        where, target = {}, f"({program.inside(node)})[i]"
        for name, source, _, _, literal in operands:
            where[name] = source if literal else f"({source})[i]"
    else:
        where, target = {}, f"({program.row(node)})[column * {out.words} + c]"
        for name, source, size, step, literal in operands:
            index = [
                part
                for part, of in (
                    (f"row * {step[0]}", size[0] * (step[0] > 0)), (f"column * {step[1]}", size[1]), ("c", size[2]),
                )
                if of > 1
            ]  # fmt: skip
            where[name] = source if literal else f"({source})[{' + '.join(index) or '0'}]"
    lines += [f"    const float {name} = {place};" for name, place in where.items()]
    lines += [f"    {target} = {text};", "}"]
    if flat:
        for line in lines:
            program.line(line)
        return
    _rows(
        program,
        out.height,
        f"for (size_t column = 0; column < {out.width}; column++)",
        f"    for (size_t c = 0; c < {out.channels}; c++) {{",
        *(f"    {line}" for line in lines),
    )


# -- bits and bytes ----------------------------------------------------------------------------------------------------


def _binarize(program: Program, node: Node) -> None:
    x, out = program.view(node.inputs[0]), program.view(node)
    target, source = program.row(node), program.row(node.inputs[0])
    if node.op == "binarize_levels":
        thresholds = node.inputs[1].value.astype(np.float32)
        planes = len(thresholds).bit_length()
        padded = np.full(2**planes - 1, np.nan, np.float32)
        padded[: len(thresholds)] = thresholds
        table = program.table("float", "thresholds", padded)
        call = program.call("bnn_mcu_levels", target, source, table, planes, out.width, x.channels)
    elif len(node.inputs) == 3:
        thresholds_name = program.table("float", "thresholds", node.inputs[1].value.astype(np.float32))
        flips = program.table("uint32_t", "flips", pack(node.inputs[2].value))
        call = program.call("bnn_mcu_signs_at", target, source, thresholds_name, flips, out.width, out.channels)
    else:
        call = program.call("bnn_mcu_signs", target, source, out.width, out.channels)
    program.nan = True
    _clear_halo(program, node)
    _rows(program, out.height, f"nan |= {call};")


def _unpack(program: Program, node: Node) -> None:
    """unpack and unpack_bytes."""
    out = program.view(node)
    _clear_halo(program, node)
    arguments = (program.row(node), program.row(node.inputs[0]), out.width, out.channels)
    _rows(program, out.height, program.call(f"bnn_mcu_{node.op}", *arguments) + ";")


def _dequantize(program: Program, node: Node) -> None:
    out = program.view(node)
    values = node.inputs[1].value.astype(np.float32)
    binary = int(node.attrs.channels != 0)  # type: ignore[attr-defined]
    planes = (len(values) - 1).bit_length() if binary else len(values) - 1
    table = program.table("float", "table", values)
    descriptor = program.struct("bnn_mcu_numbers", "", f"{{{table}, {len(values) - 1}, {planes}, {binary}}}", 4 * WORD)
    _clear_halo(program, node)
    target, source = program.row(node), program.row(node.inputs[0])
    call = program.call("bnn_mcu_dequantize", target, source, f"&{descriptor}", out.width, out.channels)
    _rows(program, out.height, call + ";")


def _quantize(program: Program, node: Node) -> None:
    a = node.attrs
    assert isinstance(a, QuantizeAttrs)
    out = program.view(node)
    target, source, count = program.row(node), program.row(node.inputs[0]), out.width * out.channels
    program.layer.kind, program.layer.pixels = "quantize", out.height * count
    if len(node.inputs) > 1:
        thresholds = node.inputs[1].value.astype(np.float32)
        bits = len(thresholds).bit_length()
        keys = np.full(2**bits - 1, 2**32 - 1, np.uint32)
        keys[: len(thresholds)] = _keys(thresholds)
        program.layer.kind = "levels"
        call = program.call("bnn_mcu_quantize_at", target, source, count, program.table("uint32_t", "keys", keys), bits)
    else:
        text = f"{{{number(a.scale)}, {number(a.offset)}, {a.zero}}}"
        quantizer = program.struct("bnn_quantizer", "quantizer", text, 12)
        call = program.call("bnn_mcu_quantize", target, source, count, f"&{quantizer}")
    _clear_halo(program, node)
    _rows(program, out.height, call + ";")


def _keys(floats: Array) -> Array:
    """Whole numbers in the order of floats: see bnn_mcu_quantize_at."""
    bits = np.where(floats == 0, np.float32(-0.0), floats).view(np.uint32)
    return np.where(bits >> 31 != 0, ~bits, bits | np.uint32(1 << 31))


def _of_bytes(program: Program, node: Node) -> None:
    """cast and excess_128."""
    out = program.view(node)
    value = "({x})[i]"
    if len(node.inputs) == 2:
        value = program.table("float", "table", node.inputs[1].value.astype(np.float32)) + "[({x})[i]]"
    elif node.op == "excess_128":
        value = "(uint8_t)((uint8_t)({x})[i] ^ 0x80u)"
    else:
        value = "(float)" + value
    _clear_halo(program, node)
    _rows(
        program,
        out.height,
        f"for (size_t i = 0; i < {out.width * out.channels}; i++)",
        f"    ({program.row(node)})[i] = {value.format(x=program.row(node.inputs[0]))};",
    )


def _lookup(program: Program, node: Node) -> None:
    out = program.view(node)
    table = program.table("uint8_t", "table", node.inputs[1].value)
    _clear_halo(program, node)
    target, source = program.row(node), program.row(node.inputs[0])
    _rows(program, out.height, program.call("bnn_mcu_lookup", target, source, table, out.width * out.channels) + ";")


def _softmax(program: Program, node: Node) -> None:
    """qsoftmax"""
    out = program.view(node)
    table = program.table("int32_t", "terms", node.inputs[1].value)
    _clear_halo(program, node)
    target, source = program.row(node), program.row(node.inputs[0])
    call = program.call("bnn_mcu_softmax", target, source, table, out.width, out.channels)
    _rows(program, out.height, call + ";")


def _pair(program: Program, node: Node) -> None:
    """qadd and qmul."""
    a, (x_node, y_node, *tables) = node.attrs, node.inputs
    assert isinstance(a, RequantizeAttrs)
    out, repeated = program.view(node), y_node.type.shape != x_node.type.shape
    if y_node.is_constant:
        second = program.table("uint8_t", "operand", y_node.value)
        second = second if repeated else f"{second} + row * {out.width * out.channels}"
    else:
        second = program.inside(y_node) if repeated else program.row(y_node)
    names = [program.table("int32_t", "numbers", t.value) for t in tables]
    period = y_node.type.shape[-1] if repeated else out.width * out.channels
    pair = program.struct("bnn_mcu_pair", "pair", f"{{{', '.join(names)}, {int(node.op == 'qmul')}, {period}}}", 16)
    limits = (a.zero, a.low, a.high, 0)
    requantizer = _requantizer(program, np.array([a.multiplier]), np.array([a.shift]), limits)
    program.layer.requantized = out.height * out.width * out.channels
    _clear_halo(program, node)
    target, source = program.row(node), program.row(x_node)
    arguments = (target, source, second, f"&{pair}", requantizer, out.width * out.channels)
    _rows(program, out.height, program.call("bnn_mcu_pair", *arguments) + ";")


# -- int16 -------------------------------------------------------------------------------------------------------------


def _add16(program: Program, node: Node) -> None:
    a, out = node.attrs, program.view(node)
    assert isinstance(a, LimitsAttrs)
    count = out.width * out.channels
    program.layer.added = out.height * count
    _clear_halo(program, node)
    rows = (program.row(v) for v in (node, *node.inputs))
    _rows(program, out.height, program.call("bnn_mcu_add_shorts", *rows, a.low, a.high, count) + ";")


def _binarize16(program: Program, node: Node) -> None:
    x, thresholds, flips = node.inputs
    out = program.view(node)
    program.layer.compared = out.height * out.width * out.channels
    tables = (
        program.table("int16_t", "least", thresholds.value),
        program.table("uint32_t", "rising", pack(-flips.value)),
    )
    _clear_halo(program, node)
    call = program.call("bnn_mcu_short_signs", program.row(node), program.row(x), *tables, out.width, out.channels)
    _rows(program, out.height, call + ";")


def _requantize16(program: Program, node: Node) -> None:
    _clear_halo(program, node)
    call = _requantized(program, node, program.row(node), program.row(node.inputs[0]))
    _rows(program, program.view(node).height, call + ";")


# -- moves -------------------------------------------------------------------------------------------------------------


def _runs(program: Program, rows: int, pixels: int, count: int, steps: tuple[int, int, int, int]) -> str:
    """The name of a struct bnn_mcu_runs; steps: in_row, in_pixel, out_row, out_pixel."""
    text = f"{{{_short(program.current, rows, pixels)}, {', '.join(map(str, (count, *steps)))}}}"
    return "&" + program.struct("bnn_mcu_runs", "runs", text, 24)


def _channels(program: Program, node: Node, part: Node, begin: int, count: int, at: int) -> None:
    """Channels of a part, from ``begin`` on, become those of the output from ``at`` on."""
    x, out = program.view(part), program.view(node)
    source, target, height, add = program.inside(part), program.inside(node), out.height, program.line
    if node in program.turns:
        source, target, height, add = program.row(part), program.row(node), 1, partial(_rows, program, out.height)
    if out.dtype is DType.b1 and (begin % 32 or at % 32 or (count % 32 and at + count < out.channels) or count % 32):
        runs = _runs(program, height, out.width, count, (x.row * 32, x.words * 32, out.row * 32, out.words * 32))
        add(program.call("bnn_mcu_copy_bits", target, at, source, begin, runs) + ";")
        return
    element = out.dtype.element
    unit = 32 if out.dtype is DType.b1 else 1
    begin, count, at = begin // unit, count // unit, at // unit
    steps = tuple(n * element for n in (x.row, x.words, out.row, out.words))
    runs = _runs(program, height, out.width, count * element, steps)  # type: ignore[arg-type]
    source, target = (f"{p} + {n}" if n else p for p, n in ((source, begin), (target, at)))
    add(program.call("bnn_mcu_copy", target, source, runs) + ";")


def _cleared(program: Program, node: Node) -> None:
    """Bits are added to zeros."""
    view = program.view(node)
    if view.dtype is DType.b1 and node not in program.turns:
        program.line(f"memset({program.at(node)}, 0, {view.size});")
        return
    _clear_halo(program, node)
    if view.dtype is DType.b1:
        _rows(program, view.height, f"memset({program.row(node)}, 0, {view.width * view.words * WORD});")


def _concat(program: Program, node: Node) -> None:
    _cleared(program, node)
    at = 0
    for part in node.inputs:
        if part.is_constant:
            raise refuse(node, "concatenate constants")
        _channels(program, node, part, 0, part.type.shape[-1], at)
        at += part.type.shape[-1]


def _slice(program: Program, node: Node) -> None:
    _cleared(program, node)
    a = node.attrs
    _channels(program, node, node.inputs[0], a.begin, a.end - a.begin, 0)  # type: ignore[attr-defined]


def _fill(program: Program, node: Node, value: float) -> str:
    """C: every element of a row of the output, inside its halo, becomes the value."""
    out = program.view(node)
    target = program.row(node)
    if out.dtype is DType.u8:
        return f"memset({target}, {int(value)}, {out.width * out.channels});"
    full = np.full(out.channels, value, np.float32)
    table = program.table("uint32_t", "pixel", pack(full) if out.dtype is DType.b1 else full.view(np.uint32))
    return program.call("bnn_mcu_fill", target, table, out.words, out.width) + ";"


def _pad(program: Program, node: Node) -> None:
    a, x, out = node.attrs, program.view(node.inputs[0]), program.view(node)
    (top, left, *_), size = a.pads, x.width * x.words * x.dtype.element  # type: ignore[attr-defined]
    source = program.at(node.inputs[0], x.interior - top * x.row if program.kept(node.inputs[0]) else x.interior)
    step = "" if program.kept(node.inputs[0]) else f" + (row - {top}) * {x.row}"
    inside = f"row >= {top} && row < {top + x.height}" if top else f"row < {x.height}"
    _clear_halo(program, node)
    _rows(
        program,
        out.height,
        _fill(program, node, a.value),  # type: ignore[attr-defined]
        f"if ({inside})",
        f"    memcpy({program.row(node, left * out.words)}, {source}{step}, {size});",
    )


def _pad_channels(program: Program, node: Node) -> None:
    a, part = node.attrs, node.inputs[0]
    _clear_halo(program, node)
    _rows(program, program.view(node).height, _fill(program, node, a.value))  # type: ignore[attr-defined]
    _channels(program, node, part, 0, part.type.shape[-1], a.before)  # type: ignore[attr-defined]


def _copy(program: Program, node: Node) -> None:
    x, out = program.view(node.inputs[0]), program.view(node)
    element = out.dtype.element
    target, source = program.inside(node), program.inside(node.inputs[0])
    _clear_halo(program, node)
    if node in program.turns:
        size = out.width * out.words * element
        _rows(program, out.height, f"memcpy({program.row(node)}, {program.row(node.inputs[0])}, {size});")
        return
    if x.dense and out.dense:
        program.line(f"memcpy({target}, {source}, {out.count * element});")
        return
    runs = _runs(program, out.height, 1, out.width * out.words * element, (x.row * element, 0, out.row * element, 0))
    program.line(program.call("bnn_mcu_copy", target, source, runs) + ";")


def _reshape(program: Program, node: Node) -> None:
    """The same elements in the same order: whole runs, or by a table where bits of a pixel go to several."""
    x, out = program.view(node.inputs[0]), program.view(node)
    target, source, element = program.inside(node), program.inside(node.inputs[0]), out.dtype.element
    whole = out.dtype is not DType.b1 or x.channels == out.channels or (x.channels % 32 == 0 == out.channels % 32)
    if whole and x.dense and out.dense:
        program.line(f"memcpy({target}, {source}, {out.count * element});")
        return
    if whole and (x.dense or out.dense):
        view = out if x.dense else x
        size = view.width * view.words * element
        steps = (size, 0, out.row * element, 0) if x.dense else (x.row * element, 0, size, 0)
        _clear_halo(program, node)
        program.line(program.call("bnn_mcu_copy", target, source, _runs(program, view.height, 1, size, steps)) + ";")
        return
    _by_table(program, node, np.arange(math.prod(node.type.shape)))


def _gather(program: Program, node: Node) -> None:
    _by_table(program, node, node.inputs[1].value.reshape(-1).astype(np.int64))


def _by_table(program: Program, node: Node, elements: Array) -> None:
    """elements: for each of the output's, the number of an input element in row-major order."""
    x, out = program.view(node.inputs[0]), program.view(node)
    pixels, channel = np.divmod(elements, x.channels)
    rows, columns = np.divmod(pixels, x.width)
    unit = 32 if x.dtype is DType.b1 else 1
    from_ = (rows * x.row + columns * x.words) * unit + channel
    table = program.table("uint32_t", "from", from_.astype(np.uint32))
    _clear_halo(program, node)
    target, source = program.row(node), program.inside(node.inputs[0])
    step = out.width * out.channels
    arguments = (target, source, f"{table} + row * {step}")
    if x.dtype is DType.b1:
        call = program.call("bnn_mcu_gather_bits", *arguments, out.width, out.channels)
    else:
        kind = "floats" if x.dtype is DType.f32 else "bytes"
        call = program.call(f"bnn_mcu_gather_{kind}", *arguments, step)
    _rows(program, out.height, call + ";")


_EMITTERS: dict[str, Callable[[Program, Node], None]] = {
    "conv2d": _conv2d, "bconv2d": _bconv2d, "iconv2d": _iconv2d, "qconv2d": _qconv2d, "max_pool": _pool,
    "avg_pool": _pool, "sum_pool": _pool, "resize_bilinear": _resize, "binarize": _binarize,
    "binarize_levels": _binarize, "unpack": _unpack, "unpack_bytes": _unpack, "quantize": _quantize,
    "dequantize": _dequantize, "cast": _of_bytes, "excess_128": _of_bytes, "concat": _concat, "slice": _slice,
    "pad": _pad, "pad_channels": _pad_channels, "copy": _copy, "reshape": _reshape, "gather": _gather,
    "lookup": _lookup, "qsoftmax": _softmax, "qadd": _pair, "qmul": _pair,
    "add16": _add16, "binarize16": _binarize16, "requantize16": _requantize16,
}  # fmt: skip
