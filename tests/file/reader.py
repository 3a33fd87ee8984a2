# SPDX-License-Identifier: Apache-2.0
"""A reader and an executor of .bnn files written from three pages of docs/reference alone: the op and slot tables are
read from docs/reference/ops.md, everything else is spelled out here.  Nothing of the compiler is used."""

from __future__ import annotations

import math
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bnn._types import Array

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/reference/ops.md"
STEP = -(2.0**-126)
F32, B1, I32 = 0, 1, 2
PLAIN, ONE_ROW, COMPACT, TABLES = 0, 1, 2, {3: 1, 4: 2, 5: 4, 6: 8}
INPUT, OUTPUT, ARENA, CONSTANT, PASSED = 0, 1, 2, 3, 4


def documented_ops() -> dict[int, tuple[str, list[tuple[str, str]]]]:
    """Opcode -> name and attributes (name, type), from the document's table."""
    table = DOCUMENT.read_text().split("<!-- generated: ops -->")[1].split("<!-- end -->")[0]
    ops, known = {}, {}
    for code, name, attributes in re.findall(r"^\| (\d+) \| `(\w+)` \| (.*) \|$", table, re.M):
        same = re.fullmatch(r"those of `(\w+)`", attributes)
        known[name] = known[same[1]] if same else re.findall(r"(\w+) \((i32|f32)\)", attributes)
        ops[int(code)] = (name, known[name])
    return ops


def documented_slots() -> dict[str, int]:
    """Slot -> bit, from the document's table."""
    table = DOCUMENT.read_text().split("<!-- generated: slots -->")[1].split("<!-- end -->")[0]
    return {name: int(bit) for bit, name in re.findall(r"^\| (\d+) \| (\w+) \|", table, re.M)}


@dataclass
class Tensor:
    dtype: int
    storage: int
    shape: tuple[int, ...]
    halo: tuple[int, ...]
    offset: int
    bytes: int
    name: str
    origin: str
    encoding: int
    value: Array | None = None  # of constants

    @property
    def pixel_words(self) -> int:
        return self.shape[-1] if self.dtype != B1 else -(-self.shape[-1] // 32)


@dataclass
class Op:
    name: str
    inputs: list[int]
    output: int
    layer: str
    note: str
    attrs: dict[str, Any]


class File:
    """A parsed file; every statement of the document about it is asserted."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        assert data[:8] == bytes.fromhex("89424e4e0d0a1a0a")
        version, checksum, size = struct.unpack_from("<IIQ", data, 8)
        assert version == 2 and size == len(data)
        assert checksum == zlib.crc32(data[:12] + data[16:])
        tensors, ops, inputs, outputs = struct.unpack_from("<4I", data, 24)
        table, op_at, op_size, text_at, text_size, data_at, data_size, arena = struct.unpack_from("<8Q", data, 40)
        assert not any(data[104:108]) and not any(data[116:128]) and arena % 64 == 0
        self.arena_bytes, self.constants_at = arena, data_at
        sections = [(0, 128), (table, 64 * tensors), (op_at, op_size), (text_at, text_size), (data_at, data_size)]
        for (start, length), (following, _) in zip(sections, sections[1:], strict=False):
            assert following % 64 == 0 and start + length <= following
            assert following - start - length < 64 and not any(data[start + length : following]), "gaps are zero"
        assert data_at + data_size == len(data)
        self.text = data[text_at : text_at + text_size]
        self.use = self.string(108)
        self.tensors = [self.tensor(table + 64 * i) for i in range(tensors)]
        self.ops = self.read_ops(op_at, op_at + op_size, ops)
        for storage, count in ((INPUT, inputs), (OUTPUT, outputs)):
            found = [t.offset for t in self.tensors if t.storage == storage]
            assert sorted(found) == list(range(count))
        self.check_order()
        self.check_encodings()

    def string(self, at: int) -> str:
        offset, length = struct.unpack_from("<II", self.data, at)
        assert offset + length <= len(self.text)
        return self.text[offset : offset + length].decode()

    def tensor(self, at: int) -> Tensor:
        dtype, storage, rank, encoding, *rest = struct.unpack_from("<4B4I4HI2Q", self.data, at)
        dims, halo, zero, offset, size = rest[:4], tuple(rest[4:8]), rest[8], rest[9], rest[10]
        assert dtype in (F32, B1, I32) and storage in (INPUT, OUTPUT, ARENA, CONSTANT, PASSED) and zero == 0
        assert encoding == PLAIN or encoding in (ONE_ROW, COMPACT, *TABLES) and dtype == F32 and storage == CONSTANT
        assert 1 <= rank <= (4 if storage == CONSTANT else 3)
        assert all(d == 1 for d in dims[: 4 - rank]) and min(dims) > 0
        assert storage == ARENA or not any(halo)
        name, origin = self.string(at + 48), self.string(at + 56)
        tensor = Tensor(dtype, storage, tuple(dims[4 - rank :]), halo, offset, size, name, origin, encoding)
        top, left, bottom, right = halo
        words = dims[0] * (dims[1] + top + bottom) * (dims[2] + left + right) * tensor.pixel_words
        if storage in (INPUT, OUTPUT):
            assert dtype == F32 and size == 4 * words
        elif storage == PASSED:
            assert offset == 0 and size == 4 * words
        else:
            assert offset % 64 == 0 and size % 64 == 0
        if storage == ARENA:
            assert offset + size <= self.arena_bytes and 0 <= size - 4 * words < 64
        if storage == CONSTANT:
            raw = self.data[self.constants_at + offset :][:size]
            used = 4 * words
            if encoding == ONE_ROW:
                used //= dims[0]
                tensor.value = np.broadcast_to(decode(raw[:used], F32, tuple(dims[1:])), tensor.shape)
            elif encoding == COMPACT:
                used, numbers = compact(raw, words)
                tensor.value = numbers.reshape(tensor.shape)
            elif encoding in TABLES:
                used, numbers = from_table(raw, words, TABLES[encoding])
                tensor.value = numbers.reshape(tensor.shape)
            else:
                tensor.value = decode(raw[:used], dtype, tensor.shape)
            assert len(raw) == size and 0 <= size - used < 64 and not any(raw[used:])
        return tensor

    def check_encodings(self) -> None:
        """What is not plain is the filters of float convolutions, and nothing else."""
        for op in self.ops:
            for i, tensor in enumerate(op.inputs):
                assert self.tensors[tensor].encoding == PLAIN or (op.name == "conv2d" and i == 1)

    def read_ops(self, at: int, end: int, count: int) -> list[Op]:
        known = documented_ops()
        ops = []
        for _ in range(count):
            code, size, n, output = struct.unpack_from("<4I", self.data, at)
            name, fields = known[code]
            inputs = list(struct.unpack_from(f"<{n}I", self.data, at + 32))
            cursor = at + 32 + 4 * n
            attrs = {}
            for field, kind in fields:
                (attrs[field],) = struct.unpack_from("<i" if kind == "i32" else "<f", self.data, cursor)
                cursor += 4
            assert size % 8 == 0 and 0 <= at + size - cursor < 8 and not any(self.data[cursor : at + size])
            ops.append(Op(name, inputs, output, self.string(at + 16), self.string(at + 24), attrs))
            at += size
        assert at == end
        return ops

    def check_order(self) -> None:
        """Inputs, constants, outputs of ops in order; operands before users; all written once."""
        kinds = [t.storage for t in self.tensors]
        first = next(i for i, kind in enumerate(kinds) if kind != INPUT)
        written = first + sum(kind == CONSTANT for kind in kinds)
        assert all(kind == CONSTANT for kind in kinds[first:written])
        assert [op.output for op in self.ops] == list(range(written, len(kinds)))
        assert all(i < op.output for op in self.ops for i in op.inputs)
        for k, op in enumerate(self.ops):
            if kinds[op.output] == PASSED:
                readers = [(i, other.name) for i, other in enumerate(self.ops) if op.output in other.inputs]
                takers = [[(k + 1, name)] for name in ("max_pool", "quantize", "binarize_levels")]
                assert readers in takers and op.name in ("conv2d", "bconv2d", "iconv2d")

    def run(self, inputs: list[Array]) -> list[Array]:
        """The outputs for arrays (N, ...), image after image, through a real arena."""
        count = sum(t.storage == OUTPUT for t in self.tensors)
        results: list[list[Array]] = [[] for _ in range(count)]
        for image in range(len(inputs[0])):
            arena = bytearray(b"\xa5" * self.arena_bytes)
            outputs: dict[int, Array] = {}
            self.passed: Array | None = None
            for op in self.ops:
                operands = [self.load(self.tensors[i], arena, inputs, outputs, image) for i in op.inputs]
                result = execute(op, operands, self.tensors[op.output])
                self.store(self.tensors[op.output], result, arena, outputs)
            for i in range(count):
                results[i].append(outputs[i])
        return [np.stack(r) for r in results]

    def load(self, t: Tensor, arena: bytearray, inputs: list[Array], outputs: dict[int, Array], image: int) -> Array:
        if t.storage == CONSTANT:
            assert t.value is not None
            return t.value
        if t.storage == INPUT:
            return np.asarray(inputs[t.offset][image])
        if t.storage == OUTPUT:
            return outputs[t.offset]
        if t.storage == PASSED:
            assert self.passed is not None
            return self.passed
        top, left, bottom, right = t.halo
        h, w, c = (1, 1, *t.shape)[-3:]
        outer = (h + top + bottom, w + left + right, c)
        whole = decode(bytes(arena[t.offset : t.offset + 4 * math.prod(outer[:2]) * t.pixel_words]), t.dtype, outer)
        return whole[top : top + h, left : left + w].reshape(t.shape)

    def store(self, t: Tensor, value: Array, arena: bytearray, outputs: dict[int, Array]) -> None:
        assert value.shape == t.shape
        if t.storage == OUTPUT:
            outputs[t.offset] = value.astype(np.float32)
            return
        self.passed = value if t.storage == PASSED else None
        if t.storage == PASSED:
            return
        top, left, bottom, right = t.halo
        padded = np.pad(value.reshape((1, 1, *t.shape)[-3:]), ((top, bottom), (left, right), (0, 0)), constant_values=0)
        raw = encode(padded, t.dtype)
        arena[t.offset : t.offset + len(raw)] = raw


def decode(raw: bytes, dtype: int, shape: tuple[int, ...]) -> Array:
    """A row-major array; bits as +1 and -1."""
    if dtype != B1:
        return np.frombuffer(raw, "<f4" if dtype == F32 else "<i4").reshape(shape)
    words = np.frombuffer(raw, "<u4").reshape(*shape[:-1], -(-shape[-1] // 32)).astype(np.int64)
    spread = (words[..., None] >> np.arange(32) & 1).reshape(*shape[:-1], -1)
    assert not spread[..., shape[-1] :].any(), "bits past the channels are zero"
    return spread[..., : shape[-1]] * 2 - 1


def compact(raw: bytes, count: int) -> tuple[int, Array]:
    """(bytes, numbers) of compact floats, one number after the other."""
    base, exceptions = struct.unpack_from("<II", raw)
    low = 8 + 8 * exceptions
    high, codes = low + 2 * count, low + 3 * count
    half = (count + 1) // 2
    bits = []
    for i in range(count):
        code = raw[codes + i] & 15 if i < half else raw[codes + i - half] >> 4
        sign = raw[high + i] >> 7
        mantissa = (raw[high + i] & 127) * 65536 + raw[low + 2 * i + 1] * 256 + raw[low + 2 * i]
        bits.append(sign << 31 | (base + code if code else 0) << 23 | mantissa)
    assert base <= 240 and (count % 2 == 0 or raw[codes + half - 1] >> 4 == 0)
    last = -1
    for i in range(exceptions):
        index, bits_there = struct.unpack_from("<II", raw, 8 + 8 * i)
        assert last < index < count
        last = index
        bits[index] = bits_there
    return codes + half, np.array(bits, "<u4").view("<f4")


def from_table(raw: bytes, count: int, k: int) -> tuple[int, Array]:
    """(bytes, numbers), the codes as one long number."""
    floats = np.frombuffer(raw, "<f4", 2**k)
    used = 4 * 2**k + -(-count * k // 8)
    codes = int.from_bytes(raw[4 * 2**k : used], "little")
    assert codes >> count * k == 0
    return used, floats[[codes >> i * k & (2**k - 1) for i in range(count)]]


def encode(value: Array, dtype: int) -> bytes:
    if dtype != B1:
        return value.astype("<f4").tobytes()
    channels = value.shape[-1]
    bits = np.pad(value > 0, [(0, 0)] * (value.ndim - 1) + [(0, -channels % 32)])
    return (bits.reshape(*value.shape[:-1], -1, 32) * (1 << np.arange(32))).sum(axis=-1).astype("<u4").tobytes()


def step(v: Array) -> Array:
    return np.where(v > STEP, 1, -1)


def execute(op: Op, x: list[Array], out: Tensor) -> Array:
    """One op on one image, by the document's words."""
    a = op.attrs
    name = op.name
    if name in ("conv2d", "bconv2d"):
        return convolution(op, x, out)
    if name in ("max_pool", "avg_pool", "sum_pool"):
        return pooled(op, x)
    if name == "binarize":
        return step(x[0]) if len(x) == 1 else np.where((x[0] >= x[1]) != (x[2] > 0), 1, -1)
    if name == "pad":
        edges = ((a["pad_top"], a["pad_bottom"]), (a["pad_left"], a["pad_right"]), (0, 0))
        return np.pad(x[0], edges, constant_values=a["value"])
    if name == "softmax":
        e = np.exp(x[0] - x[0].max(axis=-1, keepdims=True))
        return np.asarray(e / np.cumsum(e, axis=-1)[..., -1:])
    if name == "binarize_levels":
        level = (x[0][..., None] >= x[1]).sum(axis=-1)
        room = -(-x[0].shape[-1] // 32) * 32
        y = np.full((*level.shape[:-1], len(x[1]).bit_length(), room), -1)
        for plane in range(y.shape[-2]):
            y[..., plane, : level.shape[-1]] = (level >> plane & 1) * 2 - 1
        return y.reshape(*level.shape[:-1], -1)
    if name == "dequantize" and a["channels"]:
        planes = (len(x[1]) - 1).bit_length()
        bits = x[0].reshape(*x[0].shape[:-1], planes, -1)[..., : a["channels"]] > 0
        return np.asarray(x[1][(bits * 2 ** np.arange(planes)[:, None]).sum(axis=-2)])
    if name == "dequantize":
        planes = len(x[1]) - 1
        return np.asarray(x[1][(x[0].reshape(*x[0].shape[:-1], planes, -1) > 0).sum(axis=-2)])
    simple = {
        "unpack": lambda: x[0],
        "copy": lambda: x[0],
        "reshape": lambda: x[0].reshape(out.shape),
        "add": lambda: x[0] + x[1],
        "sub": lambda: x[0] - x[1],
        "mul": lambda: x[0] * x[1],
        "div": lambda: x[0] / x[1],
        "maximum": lambda: np.maximum(x[0], x[1]),
        "minimum": lambda: np.minimum(x[0], x[1]),
        "clamp": lambda: np.minimum(np.maximum(x[0], np.float32(a["lo"])), np.float32(a["hi"])),
        "affine": lambda: np.clip((x[0] - x[1]) * x[2] + x[3], np.float32(a["lo"]), np.float32(a["hi"])),
        "sigmoid": lambda: 1 / (1 + np.exp(-x[0])),
        "erf": lambda: np.vectorize(math.erf)(x[0]),
        "erfc": lambda: np.vectorize(math.erfc)(x[0]),
        "rsqrt": lambda: 1 / np.sqrt(x[0]),
        "pow": lambda: x[0] ** a["exponent"],
        "elu": lambda: np.where(x[0] < 0, np.exp(np.minimum(x[0], 0)) - 1, x[0]),
        "round": lambda: {-1: np.floor, 0: np.rint, 1: np.ceil}[a["direction"]](x[0]),
        "slice": lambda: x[0][..., a["begin"] : a["end"]],
        "concat": lambda: np.concatenate(x, axis=-1),
    }
    return np.asarray(simple[name]() if name in simple else getattr(np, name)(x[0]))  # of NumPy's name


def convolution(op: Op, x: list[Array], out: Tensor) -> Array:
    a = op.attrs
    data, w, operands = x[0].astype(np.float64), x[1].astype(np.float64), x[2:]
    if op.name == "iconv2d":
        assert a["slots"] >> documented_slots()["zeros"] & 1
        data = data - operands[0]
        w = w.reshape(*w.shape[:3], -1, data.shape[-1]).mean(axis=3)
    if data.ndim == 1:
        data = data[None, None]
    filters, kh, kw, per_group = w.shape
    planes = a["planes"]
    if planes > 1:
        apart = data.reshape(*data.shape[:-1], planes, -1)[..., : per_group * a["groups"]]
        data = sum(apart[..., p, :] * 2**p for p in range(planes))
    h, width, _ = data.shape
    outside = a["pad_value"] * (2**planes - 1)
    assert op.name == "bconv2d" or a["pad_value"] == 0
    oh = (h + a["pad_top"] + a["pad_bottom"] - (kh - 1) * a["dilation_h"] - 1) // a["stride_h"] + 1
    ow = (width + a["pad_left"] + a["pad_right"] - (kw - 1) * a["dilation_w"] - 1) // a["stride_w"] + 1
    acc = np.zeros((oh, ow, filters))
    group = np.arange(filters) // (filters // a["groups"])
    channels = group[:, None] * per_group + np.arange(per_group)
    for y in range(oh):
        for col in range(ow):
            for ky in range(kh):
                for kx in range(kw):
                    row = y * a["stride_h"] + ky * a["dilation_h"] - a["pad_top"]
                    at = col * a["stride_w"] + kx * a["dilation_w"] - a["pad_left"]
                    inside = 0 <= row < h and 0 <= at < width
                    tap = data[row, at] if inside else np.full(data.shape[2], float(outside))
                    acc[y, col] += (tap[channels] * w[:, ky, kx]).sum(axis=1)
    return slots(op, acc.reshape(out.shape).astype(np.float32), operands, out)


def slots(op: Op, v: Array, operands: list[Array], out: Tensor) -> Array:
    a = op.attrs
    rest = iter(operands)
    for name, bit in documented_slots().items():
        if not a["slots"] >> bit & 1:
            continue
        if name == "zeros":  # of the accumulator
            next(rest)
            continue
        if name == "threshold":
            return np.where(v >= next(rest), 1, -1)
        if name.startswith("clamp"):
            v = np.minimum(np.maximum(v, np.float32(a[f"{name}_lo"])), np.float32(a[f"{name}_hi"]))
        elif name in ("pre_mul", "mul"):
            v = v * next(rest)
        elif name == "sub":
            v = v - next(rest)
        else:
            v = v + next(rest)
    assert next(rest, None) is None and a["layer_slots"] & ~a["slots"] == 0
    return step(v) if out.dtype == B1 else v


def pooled(op: Op, x: list[Array]) -> Array:
    a, data = op.attrs, x[0]
    h, w, c = data.shape
    oh = (h + a["pad_top"] + a["pad_bottom"] - a["kernel_h"]) // a["stride_h"] + 1
    ow = (w + a["pad_left"] + a["pad_right"] - a["kernel_w"]) // a["stride_w"] + 1
    y = np.zeros((oh, ow, c), data.dtype)
    for i in range(oh):
        for j in range(ow):
            top, left = i * a["stride_h"] - a["pad_top"], j * a["stride_w"] - a["pad_left"]
            taps = data[max(top, 0) : top + a["kernel_h"], max(left, 0) : left + a["kernel_w"]].reshape(-1, c)
            if op.name == "avg_pool":
                y[i, j] = taps.sum(axis=0) / np.float32(len(taps))
            elif op.name == "sum_pool":
                y[i, j] = taps.sum(axis=0)
            elif len(x) == 1:
                y[i, j] = taps.max(axis=0)
            else:
                y[i, j] = np.where(x[1] > 0, taps.min(axis=0), taps.max(axis=0))
    return y
