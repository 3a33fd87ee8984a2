# SPDX-License-Identifier: Apache-2.0
"""What to do about what the compiler does not support: the end of each refusal."""

CUT = "replace the layer, or cut the model before it"
OUTSIDE = "cut it out of the model, and compute it outside"
KINDS = (
    "supported: convolutions, dense layers, pools, normalization, activations, resizing, arithmetic and comparisons of "
    "floats, sums and means, and what moves values"
)
LOOK_UP = "if it numbers the rows of a table (Embedding), look them up outside and give the network the rows"
