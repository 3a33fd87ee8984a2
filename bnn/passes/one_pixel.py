# SPDX-License-Identifier: Apache-2.0
"""Images whose pixels do not fill words, as one pixel of all their channels.

Every pixel begins with a new word, in activations and in filters: a dense layer over 28 x 28 x 1 bits, as a convolution
of the image's size, stores 32 times the weights that it needs.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..file.bits import words
from ..ir.graph import Node
from ..ir.ops import ReshapeAttrs, conv_attrs, make

_OP_WORDS = 64  # words of a reshape in the file: its record, its tensor's record, its name
_MOVE = 48  # words of filters read in the time that moving one pixel's bits takes (AVX-512)


def wasted_words(shape: Sequence[int]) -> int:
    """How many more words an image (h, w, c) of bits takes pixel by pixel than as one pixel."""
    h, w, c = (1, 1, *shape)[-3:]
    return h * w * words(c) - words(h * w * c)


def reads_all(conv: Node) -> bool:
    """Whether a convolution without padding or groups sees its whole image at once: a dense layer over it."""
    (x, w), attrs = conv.inputs[:2], conv_attrs(conv)
    return len(x.type.shape) == 3 and w.type.shape[1:] == x.type.shape and not any(attrs.pads)


def is_smaller(shape: Sequence[int], filters: int, moves_bits: bool) -> bool:
    """Whether the file becomes smaller if ``filters`` filters read an image (h, w, c) as one pixel; and, if that
    ``moves_bits`` within words, whether the network becomes no slower."""
    saved = wasted_words(shape) * filters
    return saved > _OP_WORDS and (not moves_bits or saved >= _MOVE * shape[0] * shape[1])


def one_pixel(x: Node, name: str) -> Node:
    """An image (h, w, c) as (1, 1, h w c)."""
    h, w, c = x.type.shape
    return make("reshape", x, attrs=ReshapeAttrs((1, 1, h * w * c)), name=name)
