# SPDX-License-Identifier: Apache-2.0
"""What every op demands of its inputs, output and attributes: a right op with one of them changed, and the answer."""

from __future__ import annotations

import pytest

from op_cases import CASES, LONG, Case
from raw_model import ARENA, B1, CONSTANT, F32, I8, I16, I32, INPUT, OPS, SLOTS, U8, Answer, Row, opened, read_rows

# Ops, and of each what is changed (with & between) -> the answer, without the op's number and name.
TABLE = """
copy
    inputs = 2 -> FORMAT number of inputs; 2, 1
    in 0.storage = CONSTANT -> FORMAT storage of an input that cannot be constant; 3, 2
    in 0.dtype = B1 -> FORMAT dtype of the input; B1, F32
    out.dtype = B1 -> FORMAT dtype of the input; F32, B1
    out.shape = (3, 5) -> FORMAT rank of the output; 2, 3
    out.shape = (3, 3, 5) -> FORMAT height of the output; 3, 2
    out.shape = (2, 4, 5) -> FORMAT width of the output; 4, 3
    out.shape = (2, 3, 4) -> FORMAT channels of the output; 4, 5
unpack
    in 0.dtype = F32 -> FORMAT dtype of the input; F32, B1
    out.dtype = B1 -> FORMAT dtype of the output; B1, F32
clamp
    lo = NAN -> FORMAT limits are numbers (1: yes); 0, 1
    hi = NAN -> FORMAT limits are numbers (1: yes); 0, 1
    lo = 2 -> OK
    in 0.dtype = B1 -> FORMAT dtype of the input; B1, F32
round
    direction = [-1|1] -> OK
    direction = [-2|2] -> FORMAT direction (-1, 0 or 1); [-2|2], 0
reshape
    out.shape = (30,) -> OK
    out.shape = (2, 3, 6) -> FORMAT elements of the output; 36, 30
    out.shape = (29,) -> FORMAT elements of the output; 29, 30
    in 0.dtype = U8 & out.dtype = U8 -> OK
    out.dtype = B1 -> FORMAT dtype of the input; F32, B1
    inputs = 2 -> FORMAT number of inputs; 2, 1
add
    inputs = [1|3] -> FORMAT number of inputs; [1|3], 2
    in 0.dtype = B1 -> FORMAT dtype of the first operand; B1, F32
    in 1.dtype = B1 -> FORMAT dtype of the second operand; B1, F32
    out.dtype = B1 -> FORMAT dtype of the output; B1, F32
    in 0.storage = CONSTANT & in 1.storage = CONSTANT -> FORMAT constant operands (at most); 2, 1
    in [0|1].storage = CONSTANT -> OK
    in [0|1].storage = CONSTANT & in [0|1].shape = (2, 2, 3, 5) -> FORMAT first of a constant's four dimensions; 2, 1
    in 1.shape = (5,) -> OK
    in 0.shape = (1, 3, 1) -> OK
    in 1.shape = (3, 3, 5) -> FORMAT height of the second operand; 3, 2
    in 1.shape = (2, 2, 5) -> FORMAT width of the second operand; 2, 3
    in 1.shape = (2, 3, 4) -> FORMAT channels of the second operand; 4, 5
    in 0.shape = (5,) & in 1.shape = (3, 5) -> FORMAT rank of the output; 3, 2
    out.shape = (2, 3, 6) -> FORMAT channels of the output; 6, 5
cast
    inputs = 3 -> FORMAT number of inputs; 3, 2
    in 0.dtype = F32 -> FORMAT dtype of the input; F32, U8
    out.dtype = B1 -> FORMAT dtype of the output; B1, F32
    out.shape = (2, 3, 4) -> FORMAT channels of the output; 4, 5
quantize
    in 0.dtype = U8 -> FORMAT dtype of the input; U8, F32
    out.dtype = F32 -> FORMAT dtype of the output; F32, U8
    zero = [-1|256] -> FORMAT byte of a zero, from 0 to 255; [-1|256], 255
    [scale|offset] = NAN -> FORMAT scale and offset, finite (1: yes); 0, 1
quantize at thresholds
    inputs = 3 -> FORMAT number of inputs; 3, 2
    in 0.dtype = U8 -> FORMAT dtype of the input; U8, F32
    out.dtype = F32 -> FORMAT dtype of the output; F32, U8
    out.shape = (2, 3, 4) -> FORMAT channels of the output; 4, 5
    in 1.dtype = I32 -> FORMAT dtype of an operand; I32, F32
    in 1.shape = (1,) & in 1.value = 0 -> FORMAT thresholds, 2 to 255; 1, 2
    in 1.value = (0, 4, 2) -> FORMAT thresholds that are numbers and rise, from the first on; 2, 3
    zero = 1 -> FORMAT byte of a zero, with thresholds; 1, 0
    in 1.value = (0.5, 1.5, 4.5) -> OK
    in 1.value = [(0.53125, 2, 4)|(0, 2, 3.46875)] -> FORMAT thresholds within 1/4 of the scale's (1: yes); 0, 1
    scale = [-0.5|0|1] -> FORMAT thresholds within 1/4 of the scale's (1: yes); 0, 1
    [scale|offset] = NAN -> FORMAT thresholds within 1/4 of the scale's (1: yes); 0, 1
cast by a table
    in 0.storage = INPUT -> OK
    in 1.dtype = I32 -> FORMAT dtype of an operand; I32, F32
    in 1.storage = ARENA -> FORMAT storage of an operand (3: constant); ARENA, CONSTANT
    in 1.shape = (1, 256) -> FORMAT rank of an operand; 2, 1
    in 1.shape = ([255|257],) -> FORMAT values of the table; [255|257], 256
lookup
    inputs = 1 -> FORMAT number of inputs; 1, 2
    out.dtype = F32 -> FORMAT dtype of the output; F32, U8
    in 1.dtype = I32 -> FORMAT dtype of an operand; I32, U8
    in 1.shape = (255,) -> FORMAT values of the table; 255, 256
    out.shape = (2, 3, 4) -> FORMAT channels of the output; 4, 5
[qadd|qmul]
    inputs = 3 -> FORMAT number of inputs; 3, 4
    in 0.dtype = F32 -> FORMAT dtype of the input; F32, U8
    in 1.dtype = F32 -> FORMAT dtype of the second operand; F32, U8
    in 1.shape = (5,) -> FORMAT rank of the second operand; 1, 3
    in 1.shape = [(5,)|(1,)|(1, 1, 5)|(2, 3, 5)] & in 1.storage = CONSTANT -> OK
    in 1.shape = [(1, 1, 5)|(1, 1, 1)] -> OK
    in 1.shape = (2, 1, 5) -> FORMAT height of a second operand that is repeated; 2, 1
    in 1.shape = (1, 3, 5) -> FORMAT width of a second operand that is repeated; 3, 1
    in 1.shape = (1, 1, 4) -> FORMAT channels of a second operand that is repeated; 4, 5
    in [2|3].dtype = F32 -> FORMAT dtype of an operand; F32, I32
    in [2|3].shape = (255,) -> FORMAT values of the table; 255, 256
    multiplier = -1 -> FORMAT multiplier (at least); -1, 0
    shift = [-32|31] -> FORMAT shift (from -31 to); [-32|31], 30
    zero = 256 -> FORMAT zero (from 0 to); 256, 255
    out.shape = (2, 3, 4) -> FORMAT channels of the output; 4, 5
qadd
    in [2|3].value = [2**30 - 1|1 - 2**30] -> OK
    in [2|3].value = [2**30|-2**30] -> FORMAT size of a table's number (at most); [2**30|-2**30], 2**30 - 1
qmul
    in [2|3].value = [2**15|-2**15] -> OK
    in [2|3].value = 2**15 + 1 -> FORMAT size of a table's number (at most); 2**15 + 1, 2**15
qsoftmax
    inputs = 1 -> FORMAT number of inputs; 1, 2
    out.dtype = F32 -> FORMAT dtype of the output; F32, U8
    in 1.dtype = U8 -> FORMAT dtype of an operand; U8, I32
    in 1.shape = (255,) -> FORMAT values of the table; 255, 256
    in 1.value = -1 -> FORMAT term of a softmax (at least); -1, 0
    in 1.value = 2**11 - 1 -> FORMAT first term of a softmax (at least); 2**11 - 1, 2**11
    in 0.shape = (1, 1, 4095) & out.shape = (1, 1, 4095) -> OK
    in 0.shape = (1, 1, 4096) & out.shape = (1, 1, 4096) -> FORMAT terms of a softmax (at most); 4096, 4095
add16
    inputs = 1 -> FORMAT number of inputs; 1, 2
    in [0|1].storage = CONSTANT -> FORMAT storage of an input that cannot be constant; 3, 2
    in 0.dtype = F32 -> FORMAT dtype of the input; F32, I16
    in 1.dtype = F32 -> FORMAT dtype of the second operand; F32, I16
    out.dtype = U8 -> FORMAT dtype of the output; U8, I16
    in 1.shape = (5,) -> FORMAT rank of the second operand; 1, 3
    in 1.shape = (3, 3, 5) -> FORMAT height of the second operand; 3, 2
    in 1.shape = (2, 4, 5) -> FORMAT width of the second operand; 4, 3
    in 1.shape = (2, 3, 1) -> FORMAT channels of the second operand; 1, 5
    low = -2**15 - 1 -> FORMAT lowest number (at most the highest); -2**15 - 1, 2**15 - 1
    high = -2**15 -> OK
    low = 5 & high = 4 -> FORMAT lowest number (at most the highest); 5, 4
    high = 2**15 -> FORMAT highest number (at most); 2**15, 2**15 - 1
    out.shape = (2, 3, 4) -> FORMAT channels of the output; 4, 5
binarize16
    inputs = 2 -> FORMAT number of inputs; 2, 3
    out.dtype = F32 -> FORMAT dtype of the output; F32, B1
    in 1.dtype = I32 -> FORMAT dtype of an operand; I32, I16
    in 1.shape = (6,) -> FORMAT thresholds; 6, 5
    in 2.dtype = F32 -> FORMAT dtype of an operand; F32, B1
    in 2.shape = (6,) -> FORMAT flips; 6, 5
    out.shape = (2, 3, 4) -> FORMAT channels of the output; 4, 5
[requantize16 to bytes|requantize16 to int16]
    inputs = 4 -> FORMAT number of inputs; 4, 5
    in [1|2|3|4].dtype = F32 -> FORMAT dtype of an operand; F32, I32
    in 1.shape = (6,) -> FORMAT biases; 6, 5
    in 2.shape = (6,) -> FORMAT multipliers; 6, 5
    in 3.shape = (6,) -> FORMAT shifts; 6, 5
    in 4.shape = (5,) -> FORMAT numbers of the range; 5, 4
    in 1.value = 2**30 + 1 -> FORMAT size of a bias (at most); 2**30 + 1, 2**30
    in 2.value = -1 -> FORMAT multiplier (at least); -1, 0
    in 3.value = 31 -> FORMAT shift (from -31 to); 31, 30
    in 4.value = (0, 9, 8, 0) -> FORMAT lowest number (at most the highest); 9, 8
    out.shape = (2, 3, 4) -> FORMAT channels of the output; 4, 5
requantize16 to int16
    in 4.value = (1, 0, 0, 0) -> FORMAT zero (from 0 to); 1, 0
    in 4.value = (0, -2**15, 2**15, 0) -> FORMAT highest number (at most); 2**15, 2**15 - 1
    in 4.value = (0, 0, 0, 1) -> FORMAT once (0 or); 1, 0
requantize16 to bytes
    out.dtype = F32 -> FORMAT dtype of the output; F32, I16
    in 4.value = (0, 0, 255, 1) -> OK
max_pool of int16
    out.dtype = U8 -> FORMAT dtype of the output; U8, I16
avg_pool of int16
    out.dtype = U8 -> FORMAT dtype of the output; U8, I16
concat of int16
    in 0.dtype = U8 -> FORMAT dtype of an input; U8, I16
    out.shape = (2, 3, 5) -> FORMAT channels of the output; 5, 6
[max_pool of bytes|max_pool of int16|avg_pool of bytes|avg_pool of int16]
    kernel_w = 0 -> FORMAT window (at least); 0, 1
pad of bytes
    value = 0.0 -> OK
    value = [-1.0|256.0|0.5|NAN] -> FORMAT padding of bytes is a whole number from 0 to 255 (1: yes); 0, 1
pad_channels of bytes
    value = [-1.0|256.0|0.5|NAN] -> FORMAT padding of bytes is a whole number from 0 to 255 (1: yes); 0, 1
binarize
    inputs = 2 -> FORMAT number of inputs; 2, 3
    inputs = 4 -> FORMAT number of inputs; 4, 3
    in 0.dtype = B1 -> FORMAT dtype of the input; B1, F32
    out.dtype = F32 -> FORMAT dtype of the output; F32, B1
binarize at thresholds
    in 0.storage = CONSTANT -> FORMAT storage of an input that cannot be constant; 3, 2
    in 0.dtype = B1 -> FORMAT dtype of the input; B1, F32
    out.dtype = F32 -> FORMAT dtype of the output; F32, B1
    in 1.dtype = I32 -> FORMAT dtype of an operand; I32, F32
    in 1.shape = (6,) -> FORMAT number of thresholds; 6, 5
    in 2.dtype = F32 -> FORMAT dtype of an operand; F32, B1
    in 2.storage = ARENA -> FORMAT storage of an operand (3: constant); ARENA, CONSTANT
    in 2.shape = (4,) -> FORMAT number of flips; 4, 5
    out.shape = (2, 3, 4) -> FORMAT channels of the output; 4, 5
excess_128
    in 0.dtype = U8 -> FORMAT dtype of the input; U8, I8
    out.dtype = F32 -> FORMAT dtype of the output; F32, U8
concat
    in 0.storage = CONSTANT -> FORMAT storage of an input that cannot be constant; 3, 2
    in 1.storage = CONSTANT -> FORMAT storage of an input that cannot be constant; 3, 2
    in 1.dtype = B1 -> FORMAT dtype of an input; B1, F32
    in 1.shape = (3, 2) -> FORMAT rank of an input; 2, 3
    in 1.shape = (1, 3, 2) -> FORMAT height of an input; 1, 2
    in 1.shape = (2, 4, 2) -> FORMAT width of an input; 4, 3
    in 1.shape = (2, 3, 3) -> FORMAT channels of the output; 7, 8
pad
    inputs = 2 -> FORMAT number of inputs; 2, 1
    pad_[top|left|bottom|right] = -1 -> FORMAT padding (at least); -1, 0
    in 0.shape = (3, 5) -> FORMAT rank of the input; 2, 3
    in 0.dtype = B1 -> FORMAT dtype of the input; B1, F32
    pad_bottom = 1 -> FORMAT height of the output; 3, 4
    pad_right = 1 -> FORMAT width of the output; 6, 5
    value = NAN -> OK
    pad_top = 2**31 - 1 & pad_bottom = 2**31 - 1 -> FORMAT height of the output; 3, 2**32
pad of bits
    value = -1.0 -> OK
    value = 0.5 -> FORMAT padding of bits is +1 or -1 (1: yes); 0, 1
    value = NAN -> FORMAT padding of bits is +1 or -1 (1: yes); 0, 1
slice
    inputs = 2 -> FORMAT number of inputs; 2, 1
    out.dtype = B1 -> FORMAT dtype of the output; B1, F32
    begin = 3 & end = 5 -> OK
    begin = 4 & end = 6 -> FORMAT end of the channels (at most); 6, 5
    begin = -1 & end = 1 -> FORMAT end of the channels (above their begin); 1, -1
    begin = 3 -> FORMAT end of the channels (above their begin); 3, 3
    begin = 0 -> FORMAT channels of the output; 2, 3
    end = -1 -> FORMAT end of the channels (above their begin); -1, 1
gather
    in 0.dtype = [U8|I16] & out.dtype = [U8|I16] -> FORMAT dtype that it does not read; [U8|I16], F32
    inputs = 3 -> FORMAT number of inputs; 3, 2
    out.dtype = B1 -> FORMAT dtype of the output; B1, F32
    in 1.dtype = F32 -> FORMAT dtype of the indices; F32, I32
    in 1.shape = (2, 1, 4, 2) -> FORMAT first dimension of the indices; 2, 1
    in 1.shape = (2, 4, 2) -> FORMAT rank of the output; 2, 3
    in 1.value = 0 -> OK
    in 1.value = 30 -> FORMAT index (from 0, and below); 30, 30
    in 1.value = -1 -> FORMAT index (from 0, and below); -1, 30
prelu
    inputs = 1 -> FORMAT number of inputs; 1, 2
    in 0.dtype = B1 -> FORMAT dtype of the input; B1, F32
    out.dtype = B1 -> FORMAT dtype of the output; B1, F32
    in 1.dtype = I32 -> FORMAT dtype of an operand; I32, F32
    in 1.storage = ARENA -> FORMAT storage of an operand (3: constant); ARENA, CONSTANT
    in 1.shape = (4,) -> FORMAT number of slopes; 4, 5
    in 1.encoding = 1 -> FORMAT encoding of an input that is not a conv2d's filters; 1, 0
    out.shape = (2, 3, 4) -> FORMAT channels of the output; 4, 5
affine
    inputs = [3|5] -> FORMAT number of inputs; [3|5], 4
    lo = 1 -> OK
    lo = 1.5 -> FORMAT limits in order (1: yes); 0, 1
    [lo|hi] = NAN -> FORMAT limits in order (1: yes); 0, 1
    in 0.dtype = B1 -> FORMAT dtype of the input; B1, F32
    out.dtype = B1 -> FORMAT dtype of the output; B1, F32
    in [1|2|3].dtype = I32 -> FORMAT dtype of an operand; I32, F32
    in [1|2|3].storage = ARENA -> FORMAT storage of an operand (3: constant); ARENA, CONSTANT
    in [1|2|3].shape = (1, 5) -> FORMAT rank of an operand; 2, 1
    in [1|2|3].shape = (6,) -> FORMAT channels of an operand; 6, 5
    out.shape = (2, 3, 4) -> FORMAT channels of the output; 4, 5
pad_channels
    in 0.dtype = B1 -> FORMAT dtype of the input; B1, F32
    before = -1 -> FORMAT channels of padding (at least); -1, 0
    after = -2 -> FORMAT channels of padding (at least); -2, 0
    after = 3 -> FORMAT channels of the output; 8, 9
resize_bilinear
    in 0.dtype = B1 -> FORMAT dtype of the input; B1, F32
    in 0.shape = (3, 5) -> FORMAT rank of the input; 2, 3
    [size_h|size_w] = 0 -> FORMAT size (at least); 0, 1
    [size_h|size_w] = -1 -> FORMAT size (at least); -1, 1
    align_corners = 1 & half_pixels = 1 -> OK
    [align_corners|half_pixels] = 2 -> FORMAT flag (0 or 1); 2, 1
    [align_corners|half_pixels] = -1 -> FORMAT flag (0 or 1); -1, 1
    size_h = 5 -> FORMAT height of the output; 4, 5
batch_sum
    in 0.dtype = B1 -> FORMAT dtype of the input; B1, F32
    out.shape = (1, 5) -> FORMAT rank of the output; 2, 1
    out.shape = (4,) -> FORMAT channels of the output; 4, 5
batch_size
    in 0.dtype = B1 -> FORMAT dtype of the input; B1, F32
    per_image = 2**31 - 1 -> OK
    per_image = [0|-1] -> FORMAT count of an image; [0|-1], 1
    out.shape = (2,) -> FORMAT channels of the output; 2, 1
max_pool
    inputs = 3 -> FORMAT number of inputs; 3, 2
    inputs = 2 -> FORMAT dtype of the input with a mask; F32, B1
    in 0.storage = CONSTANT -> FORMAT storage of an input that cannot be constant; 3, 2
    out.dtype = B1 -> FORMAT dtype of the output; B1, F32
    in 0.shape = (4, 18) -> FORMAT rank of the input; 2, 3
    [kernel_h|kernel_w] = 0 -> FORMAT window (at least); 0, 1
    [stride_h|stride_w] = 0 -> FORMAT stride (at least); 0, 1
    pad_[top|left|bottom|right] = -1 -> FORMAT padding (at least); -1, 0
    pad_[top|left|bottom|right] = 1 -> OK
    pad_[top|left|bottom|right] = 2 -> FORMAT padding (less than the window); 2, 2
    pad_top = 1 & pad_bottom = 3 -> FORMAT padding (less than the window); 3, 2
    kernel_h = 5 -> FORMAT height of the output; 2, 0
    kernel_w = 7 -> FORMAT width of the output; 3, 0
    kernel_h = 4 & out.shape = (1, 3, 3) -> OK
    kernel_h = 2**31 - 1 & pad_top = 2**31 - 2 & pad_bottom = 2**31 - 2 -> FORMAT height of the output; 2, 2**30 + 1
masked max_pool
    in 0.dtype = F32 & out.dtype = F32 -> FORMAT dtype of the input with a mask; F32, B1
    in 1.dtype = F32 -> FORMAT dtype of an operand; F32, B1
    in 1.storage = ARENA -> FORMAT storage of an operand (3: constant); ARENA, CONSTANT
    in 1.shape = (1, 3) -> FORMAT rank of an operand; 2, 1
    in 1.shape = (4,) -> FORMAT channels of the mask; 4, 3
[avg_pool|sum_pool]
    in 0.dtype = B1 & out.dtype = B1 -> FORMAT dtype of the input; B1, F32
    kernel_w = 0 -> FORMAT window (at least); 0, 1
    pad_left = 2 -> FORMAT padding (less than the window); 2, 2
binarize_levels
    inputs = 1 -> FORMAT number of inputs; 1, 2
    in 0.dtype = B1 -> FORMAT dtype of the input; B1, F32
    out.dtype = F32 -> FORMAT dtype of the output; F32, B1
    in 1.dtype = I32 -> FORMAT dtype of an operand; I32, F32
    in 1.storage = ARENA -> FORMAT storage of an operand (3: constant); ARENA, CONSTANT
    in 1.shape = (1, 3) -> FORMAT rank of an operand; 2, 1
    in 1.shape = (1,) & in 1.value = 0 -> FORMAT thresholds, 2 to 255; 1, 2
    in 1.shape = (256,) & in 1.value = 0 -> FORMAT thresholds, 2 to 255; 256, 2
    in 1.shape = (255,) & in 1.value = 0 & out.shape = (2, 3, 256) -> OK
    in 1.shape = (2,) & in 1.value = (0, 1) -> OK
    in 1.shape = (4,) & in 1.value = (0, 1, 2, 3) -> FORMAT channels of the output; 64, 96
    in 1.value = (0, 2, 1) -> FORMAT thresholds that are numbers and rise, from the first on; 2, 3
    in 1.value = (1, 0, 2) -> FORMAT thresholds that are numbers and rise, from the first on; 1, 3
    in 1.value = (NAN, 0, 1) -> FORMAT thresholds that are numbers and rise, from the first on; 0, 3
    in 1.value = (0, 1, NAN) -> FORMAT thresholds that are numbers and rise, from the first on; 2, 3
    in 1.value = (1, 1, 1) -> OK
dequantize
    inputs = 1 -> FORMAT number of inputs; 1, 2
    in 0.dtype = F32 -> FORMAT dtype of the input; F32, B1
    out.dtype = B1 -> FORMAT dtype of the output; B1, F32
    in 1.dtype = I32 -> FORMAT dtype of an operand; I32, F32
    in 1.storage = ARENA -> FORMAT storage of an operand (3: constant); ARENA, CONSTANT
    in 1.shape = (1, 4) -> FORMAT rank of an operand; 2, 1
    in 1.shape = (1,) -> FORMAT values of the table (at least); 1, 2
    in 1.shape = (2,) -> FORMAT channels of the output; 2, 6
    in 1.shape = (5,) -> FORMAT channels left over when divided into planes; 2, 0
dequantize numbers
    in 1.shape = (3,) -> OK
    in 1.shape = (2,) -> FORMAT values of the table, 3 to 256; 2, 3
    in 1.shape = (257,) -> FORMAT values of the table, 3 to 256; 257, 3
    in 1.shape = (256,) & in 0.shape = (2, 3, 256) -> OK
    in 1.shape = (5,) -> FORMAT channels of the planes; 64, 96
    channels = -1 -> FORMAT channels; -1, 1
    channels = 32 & out.shape = (2, 3, 32) -> OK
    channels = 33 -> FORMAT channels of the planes; 64, 128
    channels = 6 -> FORMAT channels of the output; 5, 6
"""
# Convolutions: attributes, types, shapes, and what stands behind the sums.
CONVOLUTIONS = """
[conv2d|bconv2d|iconv2d|qconv2d]
    inputs = 1 -> FORMAT number of inputs; 1, 2
    stride_h = [0|-1] -> FORMAT vertical stride; [0|-1], 1
    stride_w = [0|-1] -> FORMAT horizontal stride; [0|-1], 1
    dilation_h = [0|-1] -> FORMAT vertical dilation; [0|-1], 1
    dilation_w = [0|-1] -> FORMAT horizontal dilation; [0|-1], 1
    pad_[top|left|bottom|right] = -1 -> FORMAT padding at the [top|left|bottom|right]; -1, 0
    groups = [0|-1] -> FORMAT groups; [0|-1], 1
    planes = [0|-1|9] -> FORMAT planes; [0|-1|9], 1
    layer_slots = 32767 -> OK
    layer_slots = [-1|32768] -> FORMAT slots of the layer; [-1|32768], 32767
    clamp0_lo = 1 -> FORMAT bounds of a clamp in order (1: yes); 0, 1
    clamp1_lo = 1 -> FORMAT bounds of a clamp in order (1: yes); 0, 1
    clamp[0_lo|0_hi|1_lo|1_hi] = NAN -> FORMAT bounds of a clamp in order (1: yes); 0, 1
    out.dtype = B1 -> OK
    out.shape = (5, 4) -> FORMAT rank of the output; 2, 3
    out.shape = (3, 5, 4) -> FORMAT height of the output; 3, 4
    out.shape = (4, 6, 4) -> FORMAT width of the output; 6, 5
    out.shape = (4, 5, 5) -> FORMAT channels of the output; 5, 4
    in 0.shape = (5, 3) -> FORMAT rank of the data; 2, 3
    in 1.shape = (2, 3, 3) -> FORMAT rank of the filters; 3, 4
    in 1.shape = (4, 2, 3, [4|7|9]) -> FORMAT channels of the data; 3, [4|7|9]
    in 1.shape = (4, 6, 3, 3) & stride_h = [1|2] -> FORMAT height of the padded image, less than the kernel's; 4, 6
    in 1.shape = (4, 2, 8, 3) & stride_w = [1|2|9] -> FORMAT width of the padded image, less than the kernel's; 5, 8
    in 0.halo = (0, 1, 0, 1) -> FORMAT halo above the data; 0, 1
    in 0.halo = (1, 0, 0, 1) -> FORMAT halo left of the data; 0, 1
    in 0.halo = (1, 1, 0, 0) -> FORMAT halo right of the data; 0, 1
    pad_top = 0 & pad_bottom = 1 -> FORMAT halo below the data; 0, 1
    in 0.halo = (3, 2, 1, 1) -> OK
[conv2d|iconv2d]
    out.dtype = U8 -> FORMAT element type of the output; U8, F32
[conv2d|bconv2d|iconv2d]
    in 1.storage = ARENA & in 1.shape = (2, 3, 3) -> FORMAT storage of the filters (3: constant); ARENA, CONSTANT
conv2d
    in 1.dtype = I32 -> FORMAT element type of the filters; I32, F32
    slots = 32768 -> FORMAT slots; 32768, 32767
    in 0.dtype = B1 -> FORMAT element type of the data; B1, F32
    pad_value = [-1|1] -> FORMAT padding value; [-1|1], 0
    slots = ZEROS -> FORMAT operand of zeros (1: it is there); 1, 0
    planes = 2 -> FORMAT planes; 2, 1
    slots = -2 -> FORMAT slots; -2, 32767
    groups = 3 -> FORMAT channels of the data; 3, 9
    groups = 3 & in 1.shape = (4, 2, 3, 1) -> FORMAT filters left over when divided into groups; 1, 0
    groups = 3 & in 1.shape = (6, 2, 3, 1) & out.shape = (4, 5, 6) -> OK
    stride_h = 2 & stride_w = 3 & out.shape = (2, 2, 4) -> OK
    dilation_h = 4 & out.shape = (1, 5, 4) -> OK
    dilation_h = 5 -> FORMAT height of the padded image, less than the kernel's; 4, 2
bconv2d
    in 1.dtype = I32 -> FORMAT element type of the filters; I32, B1
    slots = 32768 -> FORMAT slots; 32768, 32767
    in 0.dtype = F32 -> FORMAT element type of the data; F32, B1
    pad_value = [-1|0|1] -> OK
    pad_value = [-2|2] -> FORMAT padding value; [-2|2], 0
    slots = ZEROS -> FORMAT operand of zeros (1: it is there); 1, 0
    planes = 2 -> FORMAT channels of the data; 3, 64
    out.dtype = U8 -> FORMAT slots of requantized sums; 0, BIAS + MULTIPLIER + SHIFT + RANGE
bconv2d to bytes
    out.dtype = F32 -> FORMAT output of requantized sums (3: u8); F32, U8
    in 2.value = 2**30 + 1 -> FORMAT size of a bias (at most); 2**30 + 1, 2**30
    in 3.value = -1 -> FORMAT multiplier (at least); -1, 0
    in 5.value = (0, 9, 8, 0) -> FORMAT lowest number (at most the highest); 9, 8
    slots = BIAS & inputs = 3 -> FORMAT slots of requantized sums; BIAS, BIAS + MULTIPLIER + SHIFT + RANGE
    planes = 2 & in 0.shape = (4, 5, 64) -> FORMAT planes of requantized sums; 2, 1
iconv2d
    in 1.dtype = I32 -> FORMAT element type of the filters; I32, B1
    slots = 32768 + ZEROS -> FORMAT slots; 32768 + ZEROS, 32767
    in 0.dtype = F32 -> FORMAT element type of the data; F32, U8
    pad_value = [-1|1] -> FORMAT padding value; [-1|1], 0
    slots = 0 -> FORMAT operand of zeros (1: it is there); 0, 1
    groups = 2 -> FORMAT groups of a convolution of bytes; 2, 1
    planes = 2 -> FORMAT planes; 2, 1
    in 1.shape = (4, 2, 3, 3) -> OK
    in 2.shape = (4,) -> FORMAT channels of a slot's operand; 4, 3
    in 2.dtype = I32 -> FORMAT element type of a slot's operand; I32, F32
qconv2d
    in 1.dtype = B1 -> FORMAT element type of the filters; B1, I8
    in 0.dtype = F32 -> FORMAT element type of the data; F32, U8
    slots = 0 -> FORMAT operand of zeros (1: it is there); 0, 1
    groups = 3 & in 1.shape = (4, 2, 3, 1) -> FORMAT filters left over when divided into groups; 1, 0
    groups = 3 & in 1.shape = (6, 2, 3, 1) & out.shape = (4, 5, 6) -> OK
    in 2.value = [[0, 256, 0]|[-1, 0, 0]|[0, 0, 0.5]]
        -> FORMAT zero of a channel, a whole number from 0 to 255 (1: yes); 0, 1
    out.dtype = U8 -> FORMAT slots of requantized sums; ZEROS, ZEROS + BIAS + MULTIPLIER + SHIFT + RANGE
qconv2d to bytes
    out.dtype = F32 -> FORMAT output of requantized sums (3: u8); F32, U8
    inputs = 6 -> FORMAT number of inputs for the slots; 6, 7
    in [3|4|5|6].dtype = F32 -> FORMAT element type of a slot's operand; F32, I32
    in [3|4|5].shape = (5,) -> FORMAT channels of a slot's operand; 5, 4
    in 6.shape = (3,) -> FORMAT channels of a slot's operand; 3, 4
    in 3.value = [2**30|-2**30] -> OK
    in 3.value = [2**30 + 1|-2**30 - 1] -> FORMAT size of a bias (at most); [2**30 + 1|-2**30 - 1], 2**30
    in 4.value = [0|2**31 - 1] -> OK
    in 4.value = -1 -> FORMAT multiplier (at least); -1, 0
    in 5.value = [-31|30] -> OK
    in 5.value = [-32|31] -> FORMAT shift (from -31 to); [-32|31], 30
    in 6.value = ([-1|256], 0, 255, 0) -> FORMAT zero (from 0 to); [-1|256], 255
    in 6.value = (0, -1, 255, 1) -> FORMAT lowest number (at most the highest); -1, 255
    in 6.value = (0, 9, 8, 0) -> FORMAT lowest number (at most the highest); 9, 8
    in 6.value = (0, 9, 256, 0) -> FORMAT highest number (at most); 256, 255
    in 6.value = (0, 0, 255, 1) -> OK
    in 6.value = (0, 0, 255, [-1|2]) -> FORMAT once (0 or); [-1|2], 1
    slots = ZEROS & inputs = 3 -> FORMAT slots of requantized sums; ZEROS, ZEROS + BIAS + MULTIPLIER + SHIFT + RANGE
dense
    in 1.shape = (4, 2, 1, 3) -> FORMAT filter taps of a dense layer; 2, 1
    in 1.shape = (4, 1, 2, 3) -> FORMAT filter taps of a dense layer; 2, 1
    pad_[top|left|bottom|right] = 1 -> FORMAT padding of a dense layer (1: there is some); 1, 0
groups
    in 1.shape = (5, 2, 3, 32) -> FORMAT filters left over when divided into groups; 1, 0
    in 0.shape = (4, 5, 32) & in 1.shape = (4, 2, 3, 16) -> FORMAT channels of a group past a multiple of 32; 16, 0
planes
    in 0.shape = (4, 5, 96) -> FORMAT channels of the data; 96, 64
    planes = 3 -> FORMAT channels of the data; 64, 96
    planes = 8 & in 0.shape = (4, 5, 256) -> OK
slots
    inputs = 7 -> FORMAT number of inputs for the slots; 7, 8
    inputs = 9 -> FORMAT number of inputs for the slots; 9, 8
    in [2|3|4|5|6].dtype = I32 -> FORMAT element type of a slot's operand; I32, F32
    in 7.dtype = B1 -> FORMAT element type of a slot's operand; B1, F32
    in [2|3|4|5|6].shape = (5,) -> FORMAT channels of a slot's operand; 5, 4
    in 7.shape = (4, 5, 5) -> FORMAT channels of a slot's operand; 5, 4
    in 2.shape = (2, 1, 1, 4) -> FORMAT channels of a slot's operand; 4, 4
    in [2|3|4|5|6].storage = ARENA -> FORMAT storage of a slot's operand (3: constant); ARENA, CONSTANT
    in [2|3|4|5|6].shape = (1, 4) -> FORMAT rank of a slot's operand; 2, 1
    in 7.storage = CONSTANT -> OK
    in 7.shape = (4,) -> FORMAT rank of the residual; 1, 3
    in 7.shape = (3, 5, 4) -> FORMAT height of the residual; 3, 4
    in 7.shape = (4, 6, 4) -> FORMAT width of the residual; 6, 5
threshold
    in 2.dtype = F32 -> FORMAT element type of a slot's operand; F32, I32
    in 3.dtype = F32 -> FORMAT element type of a slot's operand; F32, B1
    in 3.shape = (5,) -> FORMAT channels of a slot's operand; 5, 4
    slots = THRESHOLD & inputs = 3 -> OK
    slots = NEGATED & in 2.dtype = B1 & inputs = 3
        -> FORMAT slots beside a threshold, which stands alone; NEGATED, THRESHOLD
    slots = THRESHOLD + CLAMP0 & inputs = 3
        -> FORMAT slots beside a threshold, which stands alone; THRESHOLD + CLAMP0, THRESHOLD
    out.dtype = F32 -> FORMAT output of a threshold (1: bits); F32, B1
threshold on floats
    slots = 0 & inputs = 2 -> OK
    slots = THRESHOLD -> FORMAT threshold on sums of floats (1: there is one); 1, 0
[longest|longest of bits]
    groups = 1 -> FORMAT height of the output; 2, 1
[longer|longer of bits|longer by channels]
    groups = 1 -> FORMAT products in a sum; 2**24, 2**24 - 1
longest of bytes
    groups = 1 -> FORMAT height of the output; 2, 1
longer of bytes
    groups = 1 -> FORMAT products in a sum; 32897, 32896
longest mean
    stride_h = 2 -> OK
longer mean
    stride_h = 2 -> FORMAT numbers of a mean (at most); 2**23 + 4096, 2**23
longest mean of int16
    stride_h = 2 -> OK
longer mean of int16
    stride_h = 2 -> FORMAT numbers of a mean (at most); 2**15 + 256, 2**15
longest of planes
    groups = 1 -> FORMAT height of the output; 2, 1
longer of planes
    groups = 1 -> FORMAT products in a sum of several planes; 32928, 32896
"""
NUMBERS = {
    "F32": F32, "B1": B1, "I32": I32, "U8": U8, "I8": I8, "I16": I16, "INPUT": INPUT, "ARENA": ARENA,
    "CONSTANT": CONSTANT, "NAN": float("nan"), **{name.upper(): bit for name, bit in SLOTS.items()},
}  # fmt: skip
ROWS = read_rows(TABLE + CONVOLUTIONS, NUMBERS)


def answer_to(case: Case) -> Answer:
    """With the op's number and name taken off the text."""
    number, data = case.file()
    found = opened(data)
    return Answer(found.status, found.what.removeprefix(f"op {number} (it): "), found.found, found.expected)


@pytest.mark.parametrize("name", [name for name in CASES if name != "threshold on floats"])
def test_the_right_ops_open(name: str) -> None:
    assert answer_to(CASES[name]()) == Answer("OK")


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_changed_op(row: Row) -> None:
    case = {**CASES, **LONG}[row.base]()
    for name, value in row.changes.items():
        case.change(name, value)
    assert answer_to(case) == row.answer


@pytest.mark.parametrize("name", CASES)
def test_no_op_takes_another_type(name: str) -> None:
    """Of an input alone; but two operands of a bit's or a byte's type may be none that fits (a mask, signs)."""
    for i in range(len(CASES[name]().inputs)):
        for dtype in (F32, B1, I32, U8, I8, I16):
            case = CASES[name]()
            if dtype == case.inputs[i].dtype or name == "threshold on floats":
                continue
            case.change(f"in {i}.dtype", dtype)
            assert answer_to(case).status == "FORMAT", (i, dtype)


def test_every_op_has_a_right_case() -> None:
    assert {CASES[name]().op for name in CASES} == set(OPS)


@pytest.mark.parametrize("op", OPS)
def test_no_op_but_excess_128_takes_signed_bytes(op: str) -> None:
    """Not even where it would be of the output's type: nothing but an input can be of it."""
    for name in CASES:
        for i in range(len(CASES[name]().inputs)):
            case = CASES[name]()
            if case.op == op != "excess_128" and case.inputs[i].dtype != I8:
                case.change(f"in {i}.dtype", I8)
                case.change("out.dtype", U8)
                assert answer_to(case).status == "FORMAT", (name, i)
