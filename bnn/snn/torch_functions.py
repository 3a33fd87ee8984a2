# SPDX-License-Identifier: Apache-2.0
"""Functions of torch between neurons: the nodes of each, from its result and its arguments, named as torch does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .._types import Array
from .network import Shape
from .torch_graph import ALL, OVER, Recorder, Signal

_LINEAR = ("Affine", "Linear", "Conv1d", "Conv2d")


def _array(value: Any) -> Array:
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value, np.float32)


def _pair(value: Any, size: int = 2) -> Array:
    return np.resize(np.array(value), size)


def _grid(r: Recorder, x: Signal, rank: int) -> None:
    if len(x.shape) != rank:
        raise r.error(f"an input of the shape {x.shape}, expected {rank} dimensions", "correct the sample")


def _same(r: Recorder, result: Any, x: Any, *args: Any, **kwargs: Any) -> Signal:
    return r.of(x)


def _dropout(r: Recorder, result: Any, input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    if training and p:
        raise r.error("dropout as in training", "use torch.nn.Dropout, or training=self.training")
    return r.of(input)


def _linear(r: Recorder, result: Any, input: Any, weight: Any, bias: Any = None) -> Signal:
    x = r.of(input)
    _grid(r, x, 1)
    more = {} if bias is None else {"bias": _array(bias)}
    return r.node("Affine" if more else "Linear", x, result.shape[-1:], weight=_array(weight), **more)


def _conv(
    r: Recorder, result: Any, input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Signal:  # fmt: skip
    x, rank = r.of(input), weight.ndim - 2
    _grid(r, x, rank + 1)
    return r.node(
        f"Conv{rank}d", x, result.shape[-rank - 1 :], weight=_array(weight),
        bias=np.zeros(len(weight), np.float32) if bias is None else _array(bias), stride=_pair(stride, rank),
        padding=padding if isinstance(padding, str) else _pair(padding, rank), dilation=_pair(dilation, rank),
        groups=np.array(groups),
    )  # fmt: skip


def _batch_norm(
    r: Recorder, result: Any, input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Signal:  # fmt: skip
    """A factor and a summand per channel; they become the weights' and bias of the layer before, if there is one."""
    x = r.of(input)
    if training or running_mean is None or input.ndim != len(x.shape) + 1:
        raise r.error("statistics of a batch, or batch norm over something else than channels",
                      "use track_running_stats=True, and (batch, channels, ...)")  # fmt: skip
    mean, var = (_array(v).astype(np.float64) for v in (running_mean, running_var))
    scale = (1 if weight is None else _array(weight)) / np.sqrt(var + eps)
    shift = (0 if bias is None else _array(bias)) - mean * scale
    source = r.nodes[x.nodes[0]] if len(x.nodes) == 1 and x.nodes[0] in r.nodes else None
    if source is None or source.kind not in _LINEAR:
        by_channel = (-1, *[1] * (len(x.shape) - 1))
        return r.scaled(x, scale.reshape(by_channel), shift.reshape(by_channel))
    weights = source["weight"] * scale.reshape(-1, *[1] * (source["weight"].ndim - 1))
    folded = source.values.get("bias", 0) * scale + shift
    values = {**source.values, "weight": weights.astype(np.float32), "bias": folded.astype(np.float32)}
    kind = "Affine" if source.kind == "Linear" else source.kind
    return r.node(kind, Signal(r.into[x.nodes[0]], (), x.step), x.shape, **values)


def _windows(
    r: Recorder, kind: str, result: Any, input: Any, kernel_size: Any, stride: Any, padding: Any = 0, dilation: Any = 1
) -> Signal:  # fmt: skip
    """Something of each window within the input."""
    x, names = r.of(input), ("kernel_size", "stride", "padding", "dilation")
    window, step, pad, wide = sizes = [_pair(n) for n in (kernel_size, stride or kernel_size, padding, dilation)]
    _grid(r, x, 3)
    if (np.array(result.shape[-2:]) != (np.array(x.shape[1:]) + 2 * pad - wide * (window - 1) - 1) // step + 1).any():
        raise r.error(f"{tuple(result.shape[-2:])} windows on {x.shape}, some of them beyond it", "leave out ceil_mode")
    return r.node(kind, x, result.shape[-3:], **dict(zip(names, sizes, strict=True)))


def _mean_pool(
    r: Recorder, result: Any, input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: Any = None,
) -> Signal:  # fmt: skip
    if divisor_override is not None:
        raise r.error(f"divisor_override={divisor_override}", "leave it out")
    return _windows(r, "AvgPool2d", result, input, kernel_size, stride, padding)


def _adaptive(r: Recorder, result: Any, input: Any, output_size: Any) -> Signal:
    size, grid = np.array(r.of(input).shape[-2:]), np.array(result.shape[-2:])
    if (size % grid).any():
        raise r.error(f"windows of several sizes, {tuple(grid)} on {tuple(size)}", "choose a size that divides it")
    return _windows(r, "AvgPool2d", result, input, tuple(size // grid), None)


def _sum_pool(
    r: Recorder, result: Any, x: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Signal:  # fmt: skip
    if norm_type != 1:
        raise r.error(f"a pool of the norm {norm_type}", "use sums: norm_type=1")
    return _windows(r, "SumPool2d", result, x, kernel_size, stride)


def _max_pool(
    r: Recorder, result: Any, input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Signal:  # fmt: skip
    return _windows(r, "MaxPool2d", result, input, kernel_size, stride, padding, dilation)


def _reshape(r: Recorder, result: Any, input: Any, *args: Any, **kwargs: Any) -> Signal:
    """Other dimensions of batch and time, or all others as one."""
    x = r.of(input)
    lead, new, flat = input.ndim - len(x.shape), tuple(result.shape), (math.prod(x.shape),)
    samples = math.prod(input.shape[:lead])
    for n in (lead, *range(len(new))):
        if math.prod(new[:n]) == samples and new[n:] in (x.shape, flat):
            return x if new[n:] == x.shape else r.node("Flatten", x, flat, start_dim=0, end_dim=-1)
    raise r.error(f"the shape {tuple(input.shape)} made {new}", "give samples the shape that layers take, or flatten "
                  "all dimensions but batch and time")  # fmt: skip


def _unsqueeze(r: Recorder, result: Any, input: Any, dim: int) -> Signal:
    if dim == 0:  # a dimension of time for what is the same in every step
        r.decide(False)
    return _reshape(r, result, input)


def _repeat(r: Recorder, result: Any, input: Any, *args: Any, **kwargs: Any) -> Signal:
    """The same in every step."""
    r.decide(False)
    x = r.of(input)
    if x.step is not None or result.ndim != len(x.shape) + 2 or tuple(result.shape[2:]) != x.shape:
        raise r.error(f"{tuple(input.shape)} repeated as {tuple(result.shape)}", "repeat along a new first dimension")
    r.repeated = len(result)
    return replace(x, step=ALL)


def _item(r: Recorder, result: Any, x: Any, index: Any) -> Signal:
    """A step of all."""
    first, *rest = index if isinstance(index, tuple) else (index,)
    plain = isinstance(first, int) and all(other is Ellipsis or other == slice(None) for other in rest)
    if plain and x is r.given:
        r.decide(True)
    value = r.of(x)
    if not plain or value.step != ALL or x.ndim != len(value.shape) + 2:
        raise r.error(f"[{index}] of the shape {tuple(x.shape)}, expected the number of a step, and steps first",
                      "leave it out")  # fmt: skip
    return replace(value, step=first % len(x))


def _unbind(r: Recorder, result: Any, x: Any, dim: int = 0) -> list[Signal]:
    return [_item(r, part, x, i if dim == 0 else (slice(None), i)) for i, part in enumerate(result)]


def _stack(r: Recorder, result: Any, tensors: Sequence[Any], dim: int = 0) -> Signal:
    """All steps of one value."""
    values = [r.of(t) if r.known(t) else None for t in tensors]
    first = values[0]
    if first is None or dim != 0 or values != [replace(first, step=i) for i in range(len(values))]:
        raise r.error(f"a stack of {len(tensors)} tensors, expected what one layer sends in all steps, along the first "
                      "dimension", "leave it out")  # fmt: skip
    return replace(first, step=ALL)


def _over(r: Recorder, result: Any, x: Any, dim: Any = None, keepdim: bool = False) -> Signal:
    """A sum or mean over steps."""
    value, axis = r.of(x), 1 if r.record.imported == "flat" else 0
    if value.step != ALL or dim not in (axis, (axis,), [axis]) or x.ndim != len(value.shape) + 2:
        raise r.error(f"a sum or mean over {dim} of {tuple(x.shape)}, expected one over steps", "leave it out")
    return replace(value, step=OVER)


def _add(r: Recorder, result: Any, a: Any, b: Any) -> Signal:
    a, b = (a, b) if r.known(a) else (b, a)
    x = r.of(a)
    if not r.known(b):
        value = _array(b)
        lead = (0,) * (value.ndim - len(x.shape))
        if lead and (value == value[lead]).all():  # the same for each sample
            value = value[lead]
        return r.scaled(x, 1.0, value) if value.any() else x
    y = r.of(b)
    if x.nodes == y.nodes and x.step != y.step and None not in (x.step, y.step):
        return replace(x, step=OVER)
    return _joined(r, [x, y], x.shape)


def _joined(r: Recorder, values: list[Signal], shape: Shape) -> Signal:
    """A sum in one step, also with what was sent in the step before."""
    steps = {value.step for value in values if value.step is not None}
    now = max(steps) if steps else None
    before = [value for value in values if value.step not in (None, now)]
    nodes = tuple(name for value in values if value not in before for name in value.nodes)
    late = tuple(name for value in values for name in (value.nodes if value in before else value.late))
    if len(steps) > 1 and (steps != {now, max(steps) - 1} or min(steps) < 0 or any(value.late for value in before)):
        raise r.error(f"'{' + '.join((*nodes, *late))}' of different steps, expected one step and that before",
                      "use recurrent neurons of the simulator")  # fmt: skip
    if any(value.shape != shape for value in values):
        raise r.error(f"a sum of the shapes {' and '.join(str(value.shape) for value in values)}", "add what is equal")
    return Signal(nodes, shape, now, late)


def _times(r: Recorder, result: Any, a: Any, b: Any = -1.0) -> Signal:
    a, b = (a, b) if r.known(a) else (b, a)
    if r.known(b):
        raise r.error("a product of two things that come from the input", "leave it out")
    x = r.of(a)
    return x if x.step == OVER else r.scaled(x, _array(b))


def _divide(r: Recorder, result: Any, a: Any, b: Any) -> Signal:
    if not r.known(a) or r.known(b):
        raise r.error("a division by something that comes from the input", "leave it out")
    return _times(r, result, a, 1 / _array(b))


def _cat(r: Recorder, result: Any, tensors: Sequence[Any], dim: int = 0) -> Signal:
    """Channels beside channels: the sum of each part at its place."""
    values, at, parts = [r.of(t) if r.known(t) else None for t in tensors], 0, []
    first = next(value for value in values if value is not None)
    lead = result.ndim - len(first.shape)
    zeros = all(value is not None or not _array(t).any() for value, t in zip(values, tensors, strict=True))
    if not zeros or dim % result.ndim != lead:
        raise r.error(f"a concatenation along dimension {dim} of {tuple(result.shape)}, expected one of channels that "
                      "come from the input", "leave it out")  # fmt: skip
    total, rank = result.shape[lead], len(first.shape) - 1
    for value, tensor in zip(values, tensors, strict=True):
        at += tensor.shape[lead]
        if value is None:  # nothing was sent before the first step
            continue
        weight = np.eye(total, value.shape[0], value.shape[0] - at, np.float32).reshape(total, -1, *[1] * rank)
        line = {name: np.full(rank, n) for name, n in (("stride", 1), ("padding", 0), ("dilation", 1))}
        conv = {"bias": np.zeros(total, np.float32), **line, "groups": np.array(1)} if rank else {}
        kind = f"Conv{rank}d" if rank else "Linear"
        parts.append(r.node(kind, value, (total, *value.shape[1:]), weight=weight, **conv))
    return _joined(r, parts, (total, *first.shape[1:]))


#: By name, without the underscores of in-place and reflected forms: what a function makes of its result and arguments.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("detach", "clone", "contiguous", "float", "to", "cpu", "data"), _same),
    **dict.fromkeys(("dropout", "feature_dropout", "dropout1d", "dropout2d"), _dropout),
    **dict.fromkeys(("conv1d", "conv2d"), _conv), **dict.fromkeys(("sum", "mean"), _over),
    **dict.fromkeys(("flatten", "view", "reshape", "squeeze", "unflatten"), _reshape),
    **dict.fromkeys(("repeat", "expand"), _repeat), **dict.fromkeys(("add", "iadd", "radd"), _add),
    **dict.fromkeys(("mul", "imul", "rmul", "neg"), _times),
    **dict.fromkeys(("div", "truediv", "true_divide", "itruediv"), _divide),
    "linear": _linear, "batch_norm": _batch_norm, "avg_pool2d": _mean_pool, "adaptive_avg_pool2d": _adaptive,
    "lp_pool2d": _sum_pool, "max_pool2d": _max_pool, "unsqueeze": _unsqueeze, "getitem": _item, "unbind": _unbind,
    "stack": _stack, "cat": _cat,
}  # fmt: skip
#: What says nothing of a tensor's numbers, or makes another from its shape alone.
PLAIN = frozenset((
    "size", "dim", "shape", "ndim", "len", "numel", "device", "dtype", "layout", "requires_grad", "grad_fn",
    "is_sparse", "is_cuda", "is_contiguous", "stride", "zeros_like", "ones_like", "full_like", "empty_like",
    "new_zeros", "new_ones", "new_full", "new_empty", "get_device", "is_floating_point", "is_complex",
))  # fmt: skip
