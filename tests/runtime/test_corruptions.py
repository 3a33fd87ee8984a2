# SPDX-License-Identifier: Apache-2.0
"""One field of a right file changed, its checksum repaired: the status, the field that is named, what was found and
what was expected.  A row for every check of the header, the tensors, the ops and the graph, and of limits both sides.
What single ops check stands in test_op_checks.py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from raw_model import (
    B1,
    CONSTANT,
    F32,
    I8,
    I16,
    I32,
    INPUT,
    OPS,
    OUTPUT,
    PASSED,
    SLOTS,
    U8,
    Answer,
    Fields,
    Net,
    Op,
    Row,
    Tensor,
    changed,
    opened,
    read_rows,
)


def binary() -> bytes:
    """x -> binarize -> bconv2d with a threshold -> unpack -> z, of six tensors:

    0 x, 1 bits with a halo, 2 filters, 3 thresholds, 4 sums, 5 z."""
    x = Tensor(F32, (2, 3, 5), INPUT, name="x")
    bits = Tensor(B1, (2, 3, 5), halo=(1, 1, 0, 0), name="bits", origin="net/bits")
    filters = Tensor(B1, (4, 2, 2, 5), CONSTANT, value=np.uint32(0b10101), name="filters")
    thresholds = Tensor(I32, (4,), CONSTANT, value=np.arange(4), name="thresholds")
    sums = Tensor(B1, (2, 3, 4), name="sums")
    z = Tensor(F32, (2, 3, 4), OUTPUT, name="z")
    attrs = {"stride_h": 1, "stride_w": 1, "dilation_h": 1, "dilation_w": 1, "groups": 1, "planes": 1,
             "pad_top": 1, "pad_left": 1, "slots": SLOTS["threshold"]}  # fmt: skip
    ops = [
        Op("binarize", [x], bits, layer="sign"),
        Op("bconv2d", [bits, filters, thresholds], sums, attrs, "conv", "a note"),
        Op("unpack", [sums], z),
    ]
    return Net(ops).bytes()


def copies() -> bytes:
    """0 x -> copy -> 1 a -> copy -> 2 b -> copy -> 3 y, all of 80 bytes, and beside them 4 other -> copy -> 5 z."""
    shape = (2, 2, 5)
    x, other = Tensor(F32, shape, INPUT, name="x"), Tensor(F32, shape, INPUT, name="other")
    a, b = Tensor(F32, shape, name="a"), Tensor(F32, shape, name="b")
    y, z = Tensor(F32, shape, OUTPUT, name="y"), Tensor(F32, shape, OUTPUT, name="z")
    return Net([Op("copy", [i], o) for i, o in ((x, a), (a, b), (b, y), (other, z))]).bytes()


def an_unused_one() -> bytes:
    """0 x -> copy -> 1 y, and 2 unused, a constant of the same shape, and another constant."""
    x, y = Tensor(F32, (2, 2, 5), INPUT, name="x"), Tensor(F32, (2, 2, 5), OUTPUT, name="y")
    unused = Tensor(F32, (2, 2, 5), CONSTANT, value=np.float32(1), name="unused")
    return Net([Op("copy", [x], y)], [unused, Tensor(F32, (1,), CONSTANT)]).bytes()


def byte_input() -> bytes:
    """0 x of u8 -> copy -> 1 same -> cast -> 2 y; 3 s of i8 -> excess_128 -> 4 u -> cast -> 5 z."""
    x, s = Tensor(U8, (2, 2, 5), INPUT, name="x"), Tensor(I8, (2, 2, 5), INPUT, name="s")
    same, u = Tensor(U8, (2, 2, 5), name="same"), Tensor(U8, (2, 2, 5), name="u")
    y, z = Tensor(F32, (2, 2, 5), OUTPUT, name="y"), Tensor(F32, (2, 2, 5), OUTPUT, name="z")
    ops = [("copy", x, same), ("cast", same, y), ("excess_128", s, u), ("cast", u, z)]
    return Net([Op(name, [i], o) for name, i, o in ops]).bytes()


def coded(encoding: int, raw: bytes, outputs: int = 3) -> bytes:
    """0 x of (1, 1, 3) -> conv2d -> 3 y, with 1 filters of (outputs, 1, 1, 3), coded, and 2 operand of (outputs)."""
    x, y = Tensor(F32, (1, 1, 3), INPUT, name="x"), Tensor(F32, (1, 1, outputs), OUTPUT, name="y")
    filters = Tensor(F32, (outputs, 1, 1, 3), CONSTANT, encoding=encoding, raw=raw, name="filters")
    operand = Tensor(F32, (outputs,), CONSTANT, value=np.arange(outputs), name="operand")
    attrs = {"stride_h": 1, "stride_w": 1, "dilation_h": 1, "dilation_w": 1, "groups": 1, "planes": 1,
             "slots": SLOTS["pre_add"]}  # fmt: skip
    return Net([Op("conv2d", [x, filters, operand], y, attrs, "conv")]).bytes()


def one_row() -> bytes:
    return coded(1, struct.pack("<3f", 1, 2, 3))


def compact() -> bytes:
    """Nine floats; those at 2 and 7 are exceptions.  Words 0 and 1 are the base and their number, 2 to 5 the pairs; the
    last of the codes is byte 24 + 27 + 4."""
    exceptions = struct.pack("<4I", 2, 0x3F800000, 7, 0x7F800000)
    return coded(2, struct.pack("<2I", 240, 2) + exceptions + bytes(27) + b"\xff" * 4 + b"\x0f")


def table_of_two() -> bytes:
    """Nine codes of a bit: the last is the lowest of byte 8 + 1."""
    return coded(3, struct.pack("<2f", -1, 1) + b"\xff\x01")


def table_of_sixteen() -> bytes:
    """Nine codes of four bits: byte 64 + 4 has one."""
    return coded(5, struct.pack("<16f", *range(16)) + b"\x21" * 4 + b"\x0f")


BASES: dict[str, Callable[[], bytes]] = {
    base.__name__: cache(base)
    for base in (binary, copies, an_unused_one, byte_input, one_row, compact, table_of_two, table_of_sixteen)
}
# Of `binary`: the places of its sections.
B = Fields(binary())
SIZE = len(B.data)
# Files, and of each the fields that are changed (with & between them) -> the answer: OK, or the status, the text, and
# what was found and was expected.  [a|b|c] makes a row of each; numbers are expressions of Python.
TABLE = """
binary
    header.version = 1 -> VERSION header: version; 1, 2
    header.version = 3 -> VERSION header: version; 3, 2
    header.size = SIZE + 1 -> TRUNCATED header: file size; SIZE, SIZE + 1
    header.size = SIZE - 1 -> TRUNCATED header: file size; SIZE, SIZE - 1
    header.size = 2**64 - 1 -> TRUNCATED header: file size; SIZE, MOST
    header.[tensors|ops|inputs|outputs] = 0 -> FORMAT header: number of [tensors|ops|inputs|outputs]; 0, 1
    header.tensors = 65537 -> LIMIT header: number of tensors; 65537, 65536
    header.ops = 16385 -> LIMIT header: number of ops; 16385, 16384
    header.[inputs|outputs] = 65537 -> LIMIT header: number of [inputs|outputs]; 65537, 65536
    header.tensor_table = [64|127|129|192-1] -> FORMAT header: offset of the tensor table; [64|127|129|192-1], 128
    header.tensor_table = 2**64 - 64 -> FORMAT header: offset of the tensor table; MOST, 128
    header.tensor_table = 192 -> FORMAT header: offset of the op section; OPS_AT, OPS_AT + 64
    header.tensors = 65536 -> FORMAT header: size of the tensor table; 64 * 65536, SIZE - 128
    header.tensors = 7 -> FORMAT header: offset of the op section; OPS_AT, OPS_AT + 64
    header.op_section = OPS_AT - 64 -> FORMAT header: offset of the op section; OPS_AT - 64, OPS_AT
    header.op_section = OPS_AT + 8 -> FORMAT header: offset of the op section; OPS_AT + 8, OPS_AT
    header.op_section = SIZE + 64 -> FORMAT header: offset of the op section; SIZE + 64, OPS_AT
    header.op_section = SIZE -> FORMAT header: size of the op section; OPS_SIZE, 0
    header.op_bytes = SIZE - OPS_AT -> FORMAT header: offset of the string section; TEXT_AT, SIZE
    header.op_bytes = SIZE - OPS_AT + 1 -> FORMAT header: size of the op section; SIZE - OPS_AT + 1, SIZE - OPS_AT
    header.op_bytes = 2**64 - 1 -> FORMAT header: size of the op section; MOST, SIZE - OPS_AT
    header.strings = TEXT_AT + 1 -> FORMAT header: offset of the string section; TEXT_AT + 1, TEXT_AT
    header.string_bytes = SIZE - TEXT_AT + 1
        -> FORMAT header: size of the string section; SIZE - TEXT_AT + 1, SIZE - TEXT_AT
    header.data = DATA_AT - 64 -> FORMAT header: offset of the data section; DATA_AT - 64, DATA_AT
    header.data = DATA_AT + 1 -> FORMAT header: offset of the data section; DATA_AT + 1, DATA_AT
    header.data_bytes = DATA + 1 -> FORMAT header: size of the data section; DATA + 1, DATA
    header.data_bytes = DATA - 1 -> FORMAT header: end of the data section; SIZE - 1, SIZE
    header.arena = ARENA + 63 -> FORMAT header: arena bytes (a multiple of 64); ARENA + 63, ARENA
    header.arena = [ARENA+64|2**27] -> OK
    header.arena = 2**63 - 64 -> LIMIT header: bytes to run one image (max_bytes); MOST, RUN
    header.arena = 2**63 -> LIMIT header: arena bytes; MOST, MOST
    header.[zero_0|zero_1] = 1 -> FORMAT header: reserved bytes; 1, 0
    header.zero_1 = 2**62 -> FORMAT header: reserved bytes; 2**30, 0
    header.zero_0 = 2**31 -> FORMAT header: reserved bytes; 2**31, 0
    header.use = TEXT + 1 -> FORMAT header: end of the use; TEXT + 1, TEXT
    header.use_length = TEXT + 1 -> FORMAT header: end of the use; TEXT + 1, TEXT
    header.use = 2**32 - 1 & header.use_length = 2**32 - 1 -> FORMAT header: end of the use; 2**33 - 2, TEXT
    header.use_length = TEXT -> OK
    header.channels_first = 2 -> FORMAT header: whether the source has channels first (1: yes); 2, 1
    header.channels_first = 2**31 -> FORMAT header: whether the source has channels first (1: yes); 2**31, 1

    tensor 0.name = TEXT - 1 -> OK
    tensor 0.name = TEXT -> FORMAT tensor 0: end of the name; TEXT + 1, TEXT
    tensor 0.name = 0 & tensor 0.name_length = TEXT -> OK
    tensor 0.name = 0 & tensor 0.name_length = TEXT + 1 -> FORMAT tensor 0: end of the name; TEXT + 1, TEXT
    tensor 0.name = TEXT & tensor 0.name_length = 0 -> OK
    tensor 0.name = TEXT + 1 & tensor 0.name_length = 0 -> FORMAT tensor 0: end of the name; TEXT + 1, TEXT
    tensor 0.name = 2**32 - 1 & tensor 0.name_length = 2**32 - 1 -> FORMAT tensor 0: end of the name; 2**33 - 2, TEXT
    tensor 1.origin = TEXT - 8 -> OK
    tensor 1.origin = TEXT - 7 -> FORMAT tensor 1 (bits): end of the origin; TEXT + 1, TEXT
    op 0.layer = TEXT - 4 -> OK
    op 0.layer = TEXT - 3 -> FORMAT op 0: end of the layer's name; TEXT + 1, TEXT
    op 1.note = TEXT - 6 -> OK
    op 1.note = TEXT - 5 -> FORMAT op 1 (conv): end of the note; TEXT + 1, TEXT

    tensor 0.dtype = 6 -> FORMAT tensor 0 (x): dtype (at most); 6, 5
    tensor 4.dtype = 255 -> FORMAT tensor 4 (sums): dtype (at most); 255, 5
    tensor 0.storage = 5 -> FORMAT tensor 0 (x): storage (at most); 5, 4
    tensor [0|1].storage = PASSED & tensor [0|1].[offset|left] = 64
        -> FORMAT tensor [0 (x)|1 (bits)]: [offset of a passed tensor|halo of a tensor outside the arena]; [64|1], 0
    tensor [0|4|5].dtype = I32 -> FORMAT tensor [0 (x)|4 (sums)|5 (z)]: storage of an i32; [0|2|1], 3
    tensor 5.dtype = U8 -> FORMAT tensor 5 (z): storage of a u8; 1, 0
    tensor [1|5].dtype = I8 -> FORMAT tensor [1 (bits)|5 (z)]: storage of an i8; [2|1], 0
    tensor [0|5].dtype = I16 -> FORMAT tensor [0 (x)|5 (z)]: storage of an i16; [0|1], 2
    tensor [0|5].dtype = B1 -> FORMAT tensor [0 (x)|5 (z)]: dtype of an input or output; B1, F32
    tensor 0.rank = 0 -> FORMAT tensor 0 (x): rank (at least); 0, 1
    tensor 0.rank = 4 -> FORMAT tensor 0 (x): rank (at most); 4, 3
    tensor 2.rank = 5 -> FORMAT tensor 2 (filters): rank (at most); 5, 4
    tensor 3.encoding = 7 -> FORMAT tensor 3 (thresholds): encoding (at most); 7, 6
    tensor [0|1|2|5].encoding = 1
        -> FORMAT tensor [0 (x)|1 (bits)|2 (filters)|5 (z)]: encoding of what is not a constant of floats; 1, 0

    tensor 2.[o|h|w|c] = 0 -> FORMAT tensor 2 (filters): dimension (at least); 0, 1
    tensor 2.[o|h|w|c] = 2**31 -> LIMIT tensor 2 (filters): dimension (at most); 2**31, 2**31 - 1
    tensor 2.o = 2**31 - 1 -> LIMIT tensor 2 (filters): bytes of its elements (max_bytes); 16 * (2**31 - 1), OPENED
    tensor 2.[h|w] = 2**31 - 1
        -> LIMIT tensor 2 (filters): bytes of its elements (max_bytes); 32 * (2**31 - 1), OPENED
    tensor 2.c = 2**31 - 1 -> LIMIT tensor 2 (filters): bytes of its elements (max_bytes); 2**32, OPENED
    tensor 0.o = 2 -> FORMAT tensor 0 (x): dimension before those of the rank; 2, 1
    tensor 3.w = 3 -> FORMAT tensor 3 (thresholds): dimension before those of the rank; 3, 1
    tensor 2.rank = 3 -> FORMAT tensor 2 (filters): dimension before those of the rank; 4, 1
    tensor [0|2|5].top = 1 -> FORMAT tensor [0 (x)|2 (filters)|5 (z)]: halo of a tensor outside the arena; 1, 0
    tensor 0.[top|left|bottom|right] = 65535 -> FORMAT tensor 0 (x): halo of a tensor outside the arena; 65535, 0
    tensor 1.zero = 1 -> FORMAT tensor 1 (bits): reserved bytes; 1, 0
    tensor 1.top = 65534 -> FORMAT tensor 1 (bits): bytes stated for its shape; 64, 65536 * 4 * 4
    tensor 1.top = 65535 -> LIMIT tensor 1 (bits): height with its halo (at most); 65537, 65536
    tensor 1.bottom = 65534 -> LIMIT tensor 1 (bits): height with its halo (at most); 65537, 65536
    tensor 1.left = 65533 -> FORMAT tensor 1 (bits): bytes stated for its shape; 64, 65536 * 3 * 4
    tensor 1.right = 65533 -> LIMIT tensor 1 (bits): width with its halo (at most); 65537, 65536
    tensor 0.h = 65536 -> FORMAT tensor 0 (x): bytes stated for its shape; 120, 65536 * 60
    tensor 0.h = 65537 -> LIMIT tensor 0 (x): height with its halo (at most); 65537, 65536
    tensor 5.w = 65537 -> LIMIT tensor 5 (z): width with its halo (at most); 65537, 65536

    tensor 2.o = 2**31 - 1 & tensor 2.h = 2**31 - 1 & tensor 2.w = 2**31 - 1
        -> LIMIT tensor 2 (filters): bytes of an image overflow (1: yes); 1, 0
    tensor 2.h = 2**31 - 1 & tensor 2.w = 2**31 - 1 & tensor 2.c = 2**31 - 1
        -> LIMIT tensor 2 (filters): bytes of an image overflow (1: yes); 1, 0
    tensor 2.o = 1 & tensor 2.h = 2**30 & tensor 2.w = 2**31 - 1
        -> LIMIT tensor 2 (filters): bytes of its elements (max_bytes); 2**63 - 2**32, OPENED
    tensor 2.o = 1 & tensor 2.h = 2**30 + 1 & tensor 2.w = 2**31 - 1
        -> LIMIT tensor 2 (filters): bytes of an image overflow (1: yes); 1, 0
    tensor 0.h = 65536 & tensor 0.w = 65536 & tensor 0.c = 2**31 - 1
        -> LIMIT tensor 0 (x): bytes of an image overflow (1: yes); 1, 0

    tensor 0.offset = 1 -> FORMAT tensor 0 (x): index of an input or output (below); 1, 1
    tensor 5.offset = 2**64 - 1 -> FORMAT tensor 5 (z): index of an input or output (below); MOST, 1
    tensor 4.offset = 32 -> FORMAT tensor 4 (sums): offset (a multiple of 64); 32, 0
    tensor 3.offset = 65 -> FORMAT tensor 3 (thresholds): offset (a multiple of 64); 65, 64
    tensor 4.offset = ARENA -> FORMAT tensor 4 (sums): end in the arena (at most); ARENA + 64, ARENA
    tensor 4.bytes = ARENA + 64 -> FORMAT tensor 4 (sums): end in the arena (at most); ARENA + 128, ARENA
    tensor 4.bytes = ARENA & tensor 4.offset = 0 -> FORMAT tensor 4 (sums): bytes stated for its shape; ARENA, 64
    tensor 4.offset = 2**64 - 64 & tensor 4.bytes = 128
        -> FORMAT tensor 4 (sums): end in the arena (at most); MOST, ARENA
    tensor 3.offset = DATA -> FORMAT tensor 3 (thresholds): end in the data section (at most); DATA + 64, DATA
    tensor 3.bytes = 2**64 - 1 -> FORMAT tensor 3 (thresholds): end in the data section (at most); MOST, DATA
    tensor 0.bytes = [119|121|128] -> FORMAT tensor 0 (x): bytes stated for its shape; [119|121|128], 120
    tensor 1.bytes = 48 -> FORMAT tensor 1 (bits): bytes stated for its shape; 48, 64
    tensor 3.bytes = 16 -> FORMAT tensor 3 (thresholds): bytes stated for its shape; 16, 64
    tensor 2.c = 33 -> FORMAT tensor 2 (filters): bytes stated for its shape; 64, 128

    op 0.opcode = 0 -> OPCODE op 0 (sign): opcode (1 to the last one known); 0, OPCODES
    op 1.opcode = OPCODES + 1 -> OPCODE op 1 (conv): opcode (1 to the last one known); OPCODES + 1, OPCODES
    op 2.opcode = 2**32 - 1 -> OPCODE op 2: opcode (1 to the last one known); 2**32 - 1, OPCODES
    op 0.inputs = 0 -> FORMAT op 0 (sign): number of inputs; 0, 1
    op 0.inputs = 32 -> FORMAT op 0 (sign): bytes of the record; 40, 32 + 4 * 32
    op 0.inputs = 33 -> LIMIT op 0 (sign): number of inputs (at most); 33, 32
    op 0.bytes = [32|39|41|48] -> FORMAT op 0 (sign): bytes of the record; [32|39|41|48], 40
    header.op_bytes = OPS_SIZE - 9 -> FORMAT op 2: bytes left in the op section; 31, 32
    header.op_bytes = OPS_SIZE - 8 -> FORMAT op 2: bytes left in the op section; 32, 40
    header.op_bytes = OPS_SIZE - 1 -> FORMAT op 2: bytes left in the op section; 39, 40
    header.ops = 2 -> FORMAT op 1 (conv): bytes of the op section after the last op; 40, 0
    header.ops = 4 -> FORMAT op 3: bytes left in the op section; 0, 32
    op 0.input 0 = 6 -> FORMAT op 0 (sign): tensor number of an input (below); 6, 6
    op 1.input 2 = 2**32 - 1 -> FORMAT op 1 (conv): tensor number of an input (below); 2**32 - 1, 6
    op 2.output = 6 -> FORMAT op 2: tensor number of the output (below); 6, 6

    tensor 2.byte 0 = 0b11111 -> OK
    tensor 2.byte 0 = 0b100000 -> FORMAT tensor 2 (filters): bits past its channels are zero (1: yes); 0, 1
    tensor 2.byte 3 = 0x80 -> FORMAT tensor 2 (filters): bits past its channels are zero (1: yes); 0, 1
    tensor 2.word 15 = 2**31 -> FORMAT tensor 2 (filters): bits past its channels are zero (1: yes); 0, 1

copies
    header.op_bytes = 4 * 40 + 1 -> FORMAT op 3: bytes of the op section after the last op; 1, 0
    tensor [4|5].offset = 0 -> FORMAT tensor [4 (other)|5 (z)]: tensors with its index; 2, 1
    tensor 0.offset = 1 & tensor 4.offset = 0 -> OK
    header.[inputs|outputs] = 3 -> FORMAT [input|output] 2: tensors with this index; 0, 1
    op 0.input 0 = [1|2] -> FORMAT op 0: earlier ops that write what it reads; 0, 1
    op 1.input 0 = 5 -> FORMAT op 1: earlier ops that write what it reads; 0, 1
    op 3.input 0 = 3 -> OK
    op 2.input 0 = 1 -> OK
    op 3.output = 0 -> FORMAT op 3: storage of its output; 0, 2
    op 2.output = 1 -> FORMAT op 2: ops that write its output; 2, 1
    tensor 2.offset = [0|64] -> FORMAT tensor 2 (b): offset in the memory of a tensor still needed; [0|64], 128
    tensor 1.offset = 64 & tensor 2.offset = 0
        -> FORMAT tensor 2 (b): offset in the memory of a tensor still needed; 0, 192
    tensor 1.offset = 128 & tensor 2.offset = 0 -> OK

an_unused_one
    tensor 2.rank = 0 -> FORMAT tensor 2 (unused): rank (at least); 0, 1
    op 0.output = 2 -> FORMAT op 0: storage of its output; 3, 2
    tensor 2.storage = 2 & header.arena = 128 -> FORMAT tensor 2 (unused): ops that write it; 0, 1

one_row
    tensor 2.encoding = 1 -> FORMAT op 0 (conv): encoding of an input that is not a conv2d's filters; 1, 0
    tensor 1.encoding = 0 & tensor 1.o = 6 -> FORMAT tensor 1 (filters): bytes stated for its shape; 64, 128
    tensor 1.o = MANY // 4 & tensor 1.c = 1
        -> LIMIT op 0 (conv): bytes of constants read up to it (max_bytes); MANY + 12, MANY
    tensor 1.o = MANY // 4 - 3 & tensor 1.c = 1 -> FORMAT op 0 (conv): channels of the data; 3, 1
    tensor 1.o = MANY // 4 + 1 & tensor 1.c = 1
        -> LIMIT tensor 1 (filters): bytes of its elements (max_bytes); MANY + 4, MANY

compact
    tensor 1.word 0 = 241 -> FORMAT tensor 1 (filters): base of its exponents (at most); 241, 240
    tensor 1.word 1 = 3 -> FORMAT tensor 1 (filters): index of an exception (at least); 0, 8
    tensor 1.word 1 = 4 -> FORMAT tensor 1 (filters): bytes stated for its shape; 64, 128
    tensor 1.word 1 = 2**32 - 1 -> FORMAT tensor 1 (filters): bytes stated for its shape; 64, 8 * 2**32 + 64
    tensor 1.bytes = 0 -> FORMAT tensor 1 (filters): bytes stated for its shape; 0, 64
    tensor 1.byte 55 = [0x1F|0xF0] -> FORMAT tensor 1 (filters): exponent past its elements; [1|15], 0
    tensor 1.word 2 = 6 -> OK
    tensor 1.word 2 = 7 -> FORMAT tensor 1 (filters): index of an exception (at least); 7, 8
    tensor 1.word 4 = 2 -> FORMAT tensor 1 (filters): index of an exception (at least); 2, 3
    tensor 1.word 4 = 8 -> OK
    tensor 1.word 4 = 9 -> FORMAT tensor 1 (filters): index of an exception (at most); 9, 8

table_of_two
    tensor 1.byte 9 = [3|0x81] -> FORMAT tensor 1 (filters): code past its elements; [1|64], 0
    tensor 1.encoding = 4 -> OK

table_of_sixteen
    tensor 1.byte 68 = 0x1F -> FORMAT tensor 1 (filters): code past its elements; 1, 0
    tensor 1.encoding = 6 -> FORMAT tensor 1 (filters): bytes stated for its shape; 128, 1088
"""
NUMBERS = {
    "B1": B1, "F32": F32, "I32": I32, "U8": U8, "I8": I8, "I16": I16, "PASSED": PASSED,
    "OPCODES": len(OPS),
    "MOST": 2**63 - 1,  # what larger numbers show as
    "SIZE": SIZE, "ARENA": B["header.arena"],
    "OPS_AT": B["header.op_section"], "OPS_SIZE": B["header.op_bytes"],
    "TEXT_AT": B["header.strings"], "TEXT": B["header.string_bytes"],
    "DATA_AT": B["header.data"], "DATA": B["header.data_bytes"],
    # The defaults of max_bytes: of an opened model, and of a context for images of 30 floats that give 24.
    "OPENED": 2**26 + 64 * SIZE, "RUN": 2**28 + 256 * 4 * (30 + 24),
    "MANY": 2**26 + 64 * len(one_row()),
}  # fmt: skip
ROWS = read_rows(TABLE, NUMBERS)


@pytest.mark.parametrize("base", BASES)
def test_the_right_files_open(base: str) -> None:
    assert opened(BASES[base]()) == Answer("OK")


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_changed_field(row: Row) -> None:
    assert opened(changed(BASES[row.base](), row.changes)) == row.answer


def test_the_signature() -> None:
    """Each of its bytes; and files that are shorter than it, or than the header."""
    data = binary()
    for i in range(8):
        damaged = data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :]
        assert opened(damaged) == Answer("MAGIC", "header: first wrong byte of the signature", damaged[i], data[i])
        assert opened(damaged[: i + 1]).status == "MAGIC"
        assert opened(data[: i + 1]) == Answer("TRUNCATED", "header: file size", i + 1, 128)
    assert opened(data[:127]) == Answer("TRUNCATED", "header: file size", 127, 128)
    assert opened(data[:128]) == Answer("TRUNCATED", "header: file size", 128, SIZE)
    assert opened(data + b"\0") == Answer("TRUNCATED", "header: file size", SIZE + 1, SIZE)


def test_the_checksum() -> None:
    fields = Fields(binary())
    right = fields["header.checksum"]
    fields["header.checksum"] = right ^ 1 << 31
    assert opened(bytes(fields.data)) == Answer("CHECKSUM", "header: checksum", right ^ 1 << 31, right)


@pytest.mark.parametrize("field", ["header.tensors", "tensor 0.offset", "op 0.opcode", "tensor 2.h"])
def test_a_contradiction_in_a_damaged_file_is_blamed_on_the_damage(field: str) -> None:
    fields = Fields(binary())
    fields[field] = 2**31
    assert opened(bytes(fields.data)).status == "CHECKSUM"
