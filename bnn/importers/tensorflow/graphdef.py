# SPDX-License-Identifier: Apache-2.0
"""Read a frozen TensorFlow graph into the SOURCE level of the IR: one reader per TensorFlow op type."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ..._types import Array
from ...errors import CompileError, UnsupportedOpError
from ...ir.graph import DType, Graph, Node
from ...ir.ops import constant, input_node
from ..common.inputs import InputDType, as_floats, input_dtypes
from ..common.limits import MOST_BYTES, PERMISSION, Made, most_made
from ..common.moves import OF_THE_NUMBER, Moved, arrange, in_order, move, start
from ..common.reduce import Shared, batch_size, noted, without_ones
from ..common.remedies import CUT, LOOK_UP
from .counts import computed, keeps_its_place, multiple, slopes
from .frozen import ALIASES, MOST_RANK, MOVES, POINTWISE, PRODUCTS, SHAPE_OPS, SPARSE_PRODUCT, Frozen, Tensor, TfNode
from .ops import (
    NORMS,
    READERS,
    batch_reduction,
    concat,
    layer_norm,
    over_batch,
    product,
    sparse_product,
    unsupported_alone,
)
from .source import PROBE_BATCH, TfReading, TfSource

# Images in the larger batch in which moves are followed; many if all tensors that move have few elements.
_MORE, _MANY, _SMALL = 7, 67, 2**14
_PIXELS = frozenset({"int8", "uint8", "int16", "uint16"})  # exact in float32
SUPPORTED = READERS.keys() | MOVES | PRODUCTS | {"SpaceToBatchND", SPARSE_PRODUCT}


def read(frozen: Frozen, input_dtype: InputDType = None) -> Graph:
    """The SOURCE graph.

    ``input_dtype``: "float32", "uint8" or "int8" for all inputs, or for some by name; any other input is bytes if it is
    so in the model, otherwise float32.  A network reads bytes as the source model reads ``images.astype(float32)``.

    The graph is executed on zeros, so every shape is known, and everything that does not depend on the data (weights
    and their quantizers, shape arithmetic) is a constant that TensorFlow itself has computed.

    Raises:
        UnsupportedOpError: an op that depends on the data and has no reader; names the op, the layer and the remedy.
    """
    return TfReader(frozen).graph(_input_dtypes(frozen, input_dtype))


def _input_dtypes(frozen: Frozen, wanted: InputDType) -> list[DType]:
    own = [str(frozen.by_name[name].attrs.get("dtype")) for name in frozen.inputs]
    return input_dtypes(frozen.input_names, own, wanted)


class TfReader(TfReading):
    def __init__(self, frozen: Frozen) -> None:
        super().__init__(frozen)
        for node in frozen.nodes:
            if node.op not in SHAPE_OPS and any(name in self.dependent for name, _ in node.inputs):
                self.dependent.add(node.name)
        self._check_supported()
        self.fewer: dict[Tensor, tuple[int, ...]] = {}  # shapes for one image less, where anything depends on them
        self.results: dict[Tensor, Node | Moved | Shared] = {}  # for tensors that depend on the data
        self.arranged: dict[Tensor, Moved] = {}  # moved tensors that keep the batch first
        self.positions = 0  # bytes of the positions of moved elements
        self.foreign = self._read_by_others()
        self.inside = self._dilated()
        self._probe()
        moving = (self.shapes[frozen.resolve(t)] for n in frozen.nodes if n.op in MOVES for t in n.inputs[:1])
        more = _MANY if max(map(np.prod, moving), default=0) < PROBE_BATCH * _SMALL else _MORE
        self.batches = (PROBE_BATCH, more)
        # Constants that depend on the number of images, in the larger batch.
        self.later = computed(frozen, self.constants, self.shapes, self.fewer, more - PROBE_BATCH)

    def _check_supported(self) -> None:
        for node in self.frozen.nodes:
            if node.name not in self.dependent or node.name in self.frozen.inputs:
                continue
            if node.op not in SUPPORTED and node.op not in ALIASES:
                raise TfSource(self, node).without_reader("TensorFlow")
            order, training = node.attrs.get("data_format"), node.attrs.get("is_training")
            # Some versions of TensorFlow cannot even execute convolutions of such data.
            if order in ("NCHW", "NCDHW") and not training:
                raise TfSource(self, node).unsupported(
                    f"data format {order}", "build the model with channels last (NHWC)"
                )

    def _read_by_others(self) -> set[str]:
        """Ops whose value leaves their layer."""
        foreign = {self.frozen.resolve(t)[0] for t in self.frozen.outputs}
        for node in self.frozen.nodes:
            if node.op in ALIASES:
                continue
            for operand in node.inputs:
                source = self.frozen.resolve(operand)[0]
                if self.frozen.layer(source) != self.frozen.layer(node.name):
                    foreign.add(source)
        return foreign

    def _probe(self) -> None:
        frozen = self.frozen
        zeros = []
        users: dict[Tensor, set[str]] = {}  # of each input
        for n in frozen.nodes:
            for t in n.inputs:
                users.setdefault(frozen.resolve(t), set()).add(n.op)
        for name in frozen.inputs:
            node = frozen.by_name[name]
            shape = node.attrs.get("shape") or []
            if not 2 <= len(shape) <= MOST_RANK or any(d < 1 for d in shape[1:]):
                raise CompileError(
                    f"input '{name}' has shape {shape}; only the batch size may be unknown: save the model with a "
                    "fixed size, or, if it has one input, pass input_shape=(height, width, channels) (--input-shape)"
                )
            dtype = str(node.attrs.get("dtype"))
            casts = users.get((name, 0), set()) - ALIASES <= {"Cast"}
            if dtype != "float32" and not (dtype in _PIXELS and casts):
                raise UnsupportedOpError(
                    f"input '{name}' is {dtype}; supported: float32, and {', '.join(sorted(_PIXELS))} if the model "
                    f"first casts it to float32 (for example in a Rescaling layer); {LOOK_UP}"
                )
            size = math.prod(shape[1:]) * PROBE_BATCH * np.dtype(dtype).itemsize
            if size > MOST_BYTES:
                raise CompileError(
                    f"input '{name}' has shape {shape}: {PROBE_BATCH} of them are {size:,} bytes; at most "
                    f"{MOST_BYTES:,} are read"
                )
            zeros.append(np.zeros([PROBE_BATCH, *shape[1:]], dtype))

        stored = frozen.stored
        made = Made(most_made(stored), PERMISSION)
        self.most = most_made(None if stored is None else stored + sum(z.nbytes for z in zeros))

        for node, results in frozen.execute(zeros, self.most):
            for tensor, value in results.items():
                self.shapes[tensor] = tuple(int(d) for d in value.shape)
                if node.name not in self.dependent:
                    self.constants[tensor] = np.asarray(value)
                    made.add(0 if node.op in ALIASES else self.constants[tensor].nbytes, node.name)

        if not any(node.op in SHAPE_OPS for node in frozen.nodes):
            return

        fewer = self.fewer
        for _, results in frozen.execute([z[1:] for z in zeros]):
            fewer.update({tensor: tuple(int(d) for d in value.shape) for tensor, value in results.items()})
        self.slopes = slopes(frozen, self.constants, self.shapes, fewer)
        self.growing = {t for t in self.constants if self.shapes[t] != fewer[t]}

    def graph(self, dtypes: Sequence[DType]) -> Graph:
        frozen = self.frozen
        inputs = []
        for name, label, dtype in zip(frozen.inputs, frozen.input_names, dtypes, strict=True):
            inputs.append(input_node(label, self.shapes[name, 0][1:], dtype))
            self.results[name, 0] = as_floats(inputs[-1])
        for node in frozen.nodes:
            if node.name not in self.dependent or node.name in frozen.inputs:
                continue
            if node.op in ALIASES or node.name in self.inside:
                continue
            self.results.update(((node.name, i), result) for i, result in enumerate(self._read(node)))
        outputs = tuple(self.node(t) for t in frozen.outputs)
        return Graph(tuple(inputs), outputs, tuple(frozen.output_names))

    def _read(self, node: TfNode) -> tuple[Node | Moved | Shared, ...]:
        source = TfSource(self, node)
        operands = [self._of_batch(node, t) for t in node.inputs]
        if any(operands):
            return (self._with_batch(node, operands),)
        if over_batch(source):
            return (batch_reduction(source),)
        loose = any(isinstance(self._result(t), Moved) for t in node.inputs)
        if node.op in MOVES:
            joined = concat(source) if node.op == "ConcatV2" and not loose else None
            results = self._move(source) if joined is None else (joined,)
        elif node.op == SPARSE_PRODUCT:
            results = (sparse_product(source),)
        elif loose:
            results = (self._read_loose(source),)
        elif node.op not in READERS:
            raise unsupported_alone(source)
        else:
            results = (READERS[node.op](source),)
            if self.shapes[node.name, 0][:1] != (PROBE_BATCH,):
                raise self._loose(node)
        for i, result in enumerate(results):
            shape = self.shapes[node.name, i]
            if isinstance(result, Node) and result.type.shape != shape[1:]:
                raise source.misread(shape[1:], result.type)
        return results

    def _read_loose(self, source: TfSource) -> Moved:
        """An op on values that do not keep the batch first."""
        node = source.tf
        if node.op in POINTWISE:
            return self._pointwise(node)
        norm = node.op in NORMS and node.attrs.get("is_training")
        if not norm and node.op not in PRODUCTS:
            raise self._loose(node) if node.op in READERS else unsupported_alone(source)
        operand = self._operand(node.inputs[0])
        if not isinstance(operand, Moved):
            raise unsupported_alone(source)
        return layer_norm(source, operand) if norm else product(source, operand)

    def _loose(self, node: TfNode, output: int = 0) -> UnsupportedOpError:
        known = map(self._result, ((node.name, output), *node.inputs))
        if any(isinstance(m, Moved) and m.layouts[0].per_image(m.size) is not None for m in known):
            return TfSource(self, node).unsupported(OF_THE_NUMBER)
        return TfSource(self, node).unsupported(
            f"it does not keep the batch as its first dimension: {self.shapes[node.name, output]} for a batch of "
            f"{PROBE_BATCH}; such values support only moves, dense layers and elementwise operations",
            "keep the batch first, or cut the model before it",
        )

    def _of_batch(self, node: TfNode, tensor: Tensor) -> Shared | int:
        """How an operand depends on the whole batch: a value of the batch; a number per image; or 0: not at all."""
        tensor, result = self.frozen.resolve(tensor), self._result(tensor)
        if isinstance(result, Shared):
            return result
        if node.op not in POINTWISE or tensor not in self.slopes:
            return 0
        return multiple(self.constants[tensor], self.slopes[tensor], PROBE_BATCH)

    def _with_batch(self, node: TfNode, operands: Sequence[Shared | int]) -> Node | Shared:
        """An elementwise op on values of the whole batch, and perhaps on values of an image."""
        source = TfSource(self, node)
        known = [self._result(t) for t in node.inputs]
        images = [x for x in known if isinstance(x, Node)]
        if any(isinstance(x, Moved) for x in known):
            raise self._loose(node)
        if node.op not in POINTWISE:
            raise source.unsupported("a value of the whole batch; for which only elementwise operations are supported")
        rank = max([1] + [len(x.type.shape) for x in images])
        if not images:  # as few dimensions as possible, since an image has at most three
            rank = max([1] + [len(without_ones(self.shapes[t])) for t in node.inputs])
        bases = [o.of_rank(source, rank) if isinstance(o, Shared) else None for o in operands]
        anything = next(iter([*images, *filter(None, bases)]))
        for i, o in enumerate(operands):
            if isinstance(o, int) and o:
                count = batch_size(source, anything, o)
                bases[i] = count if any(isinstance(other, Shared) for other in operands) else noted(source, count)
        result = READERS[node.op](TfSource(self, node, bases))
        shape, own = self.shapes[node.name, 0], result.type.shape
        if images and shape != (PROBE_BATCH, *own) or not images and without_ones(shape) != without_ones(own):
            raise self._loose(node)
        return result if images else Shared(replace(result, origin="", tap=""), shape)

    def _pointwise(self, node: TfNode) -> Moved:
        """An elementwise op on values that keep their elements' order but not the batch (those of a dense layer that is
        distributed over time): the op on the values with the batch."""
        operands = [self._operand(t) for t in node.inputs]
        moved = [o for o in operands if isinstance(o, Moved)]
        constants = [o for o in operands if not isinstance(o, Moved)]
        source = TfSource(self, node)
        if not all(moved[0].like(o) for o in moved):
            ordered = [in_order(source, o) if isinstance(o, Moved) else o for o in operands]
            operands = [o for o in ordered if o is not None]
            if len(operands) < len(ordered):
                raise self._loose(node)
            moved = [o for o in operands if isinstance(o, Moved)]
        alike = all(moved[0].like(o) for o in moved) and all(c.size == np.prod(c.shape[-1:]) for c in constants)
        if not alike or self.shapes[node.name, 0] != moved[0].index.shape:
            raise self._loose(node)
        bases = [o.base if isinstance(o, Moved) else None for o in operands]
        result = READERS[node.op](TfSource(self, node, bases))
        return replace(moved[0], base=result)

    def _result(self, tensor: Tensor) -> Node | Moved | Shared | None:
        """What a tensor was read as; None: it does not depend on the data, or has not been read."""
        return self.results.get(self.frozen.resolve(tensor))

    def _operand(self, tensor: Tensor) -> Moved | Array:
        tensor, result = self.frozen.resolve(tensor), self._result(tensor)
        if isinstance(result, Node):
            self._check_positions(tensor[0], 4 * math.prod(result.type.shape) * sum(self.batches))
            return self.arranged.get(tensor) or start(result, self.batches)
        return result if isinstance(result, Moved) else self.constants[tensor]

    def _check_positions(self, name: str, more: int) -> None:
        """Refuse to follow more moved elements than fit into memory: a number for each, in batches of two sizes."""
        if self.positions + more > self.most:
            raise TfSource(self, self.frozen.by_name[name]).unsupported(
                f"the positions of moved elements are {self.positions + more:,} bytes; at most {self.most:,} are kept"
            )

    def _move(self, source: TfSource) -> tuple[Node | Moved, ...]:
        op, given, results = source.tf.op, list[Moved | tuple[Array, ...]](), list[Node | Moved]()
        for tensor in map(self.frozen.resolve, source.tf.inputs):
            operand = self._operand(tensor)
            if isinstance(operand, Moved):
                given.append(operand)
                continue
            later = self.later.get(tensor, operand)
            slope = None if tensor in self.growing else self.slopes.get(tensor)
            if later is None or slope is not None and not keeps_its_place(op, slope):
                raise source.unsupported(OF_THE_NUMBER)
            given.append((operand, later))
        if op in ("ConcatV2", "Pack") and not all(isinstance(o, Moved) for o in given[: None if op == "Pack" else -1]):
            raise source.unsupported("it joins the data with a constant")
        for i, moved in enumerate(move(source, given, partial(self.frozen.run_op, source.tf))):
            self.positions += sum(layout.index.nbytes for layout in moved.layouts)
            elements = moved.per_image()
            if elements is None:
                results.append(moved)
            else:
                self.arranged[source.tf.name, i] = moved
                results.append(arrange(source, moved.base, elements, i))
        return tuple(results)

    def _dilated(self) -> set[str]:
        """Ops inside dilated convolutions; each convolution is read at its last op."""
        inside = set()
        for node in self.frozen.nodes:
            if node.op == "BatchToSpaceND":
                name = node.name
                while self.frozen.by_name[name].op != "SpaceToBatchND" and self.frozen.by_name[name].inputs:
                    outer = self.frozen.by_name[name]
                    data = 2 if outer.op == "Conv2DBackpropInput" else 0
                    name = self.frozen.resolve(outer.inputs[data])[0]
                    inside.add(name)
        return inside

    def node(self, tensor: Tensor) -> Node:
        tensor, result = self.frozen.resolve(tensor), self._result(tensor)
        if isinstance(result, Node):
            return result
        if isinstance(result, Moved):
            raise self._loose(self.frozen.by_name[tensor[0]], tensor[1])
        if isinstance(result, Shared):
            raise TfSource(self, self.frozen.by_name[tensor[0]]).unsupported("an output of the whole batch")
        if tensor in self.constants:
            return constant(self.constants[tensor])
        raise UnsupportedOpError(f"output {tensor[1]} of '{tensor[0]}' is not supported; {CUT}")
