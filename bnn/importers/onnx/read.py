# SPDX-License-Identifier: Apache-2.0
"""Read an ONNX graph into the SOURCE level of the IR: one reader per operator."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..._types import Array
from ...errors import BnnError, CompileError, UnsupportedOpError
from ...ir.graph import DType, Graph, Node
from ...ir.ops import ReshapeAttrs, input_node
from ..common.inputs import INPUT_DTYPES, InputDType, as_floats, input_dtypes
from ..common.limits import MOST_BYTES, Made, most_made
from ..common.moves import Moved, move
from ..common.remedies import CUT
from .call import Spec, of
from .ops import ALIASES, MOVES, READERS, concat, pad, transpose
from .protos import FRAMEWORK, Input, OnnxGraph, OnnxNode
from .run import SHAPES, VIEWS, OnnxRunner
from .source import OnnxReading, OnnxSource
from .values import Laid, Order, Value, channels_last, inverse, permutation

# Sizes of the batches in which a model without a fixed one is followed: with one size, images could seem to be treated
# equally only because there are as many as channels.
_BATCHES = (2, 5)
# Bytes of constants that are computed while shapes are found: of one, of one with its operands, and of all.  Those of
# which shapes follow are short, and weights must not take their place.
_EARLY, _EARLY_WORK, _ALL_EARLY = 2**19, 2**24, 2**26
_FLOATS = frozenset({"DepthToSpace", "Resize", "SpaceToDepth"})  # ONNX Runtime moves only floats with these
# Operators whose whole numbers are those that floats give.
_KEEP_INTEGERS = frozenset({"Clip", "Max", "MaxPool", "Min", "QuantizeLinear", "Where"})
_MOST_MOVED, _ALL_MOVED = 2**27, 2**30  # elements that are followed: by one operator, by all
_MOST_FLOATS = 2**24  # whole numbers that float32 has
_FIRST = {"concat": concat, "pad": pad, "transpose": transpose}


@dataclass(frozen=True)
class ReadGraph:
    """What a graph was read as."""

    graph: Graph
    values: Mapping[str, Value]  # of tensors that depend on the data
    signs: Mapping[str, str]  # tensors that stand for others, equal up to rounding
    snapped: Mapping[str, Array]  # weights that replace those of the model, equal up to rounding
    channels_last: bool  # the model's own images have their channels last
    hints: Mapping[str, Sequence[str]]  # for people, by layer


def read(onnx: OnnxGraph, runner: OnnxRunner, input_dtype: InputDType = None, zero: int = 0) -> ReadGraph:
    """The SOURCE graph; ``input_dtype`` as for ``bnn.compile``; ``zero``: what Sign gives for zero.

    Every shape is found first.  Everything that does not depend on the data (weights and their quantizers, shape
    arithmetic) is a constant that ONNX Runtime itself has computed.

    Raises:
        UnsupportedOpError: an unsupported operator that depends on the data; names it, its layer and the remedy.
    """
    dtypes = _checked_dtypes(onnx.inputs, input_dtype)
    return OnnxReader(onnx, runner, zero).read(dtypes)


def _checked_dtypes(inputs: Sequence[Input], wanted: InputDType) -> list[DType]:
    for given in inputs:
        if given.dtype not in INPUT_DTYPES:
            raise UnsupportedOpError(
                f"input '{given.name}' is {given.dtype}; supported: {', '.join(INPUT_DTYPES)}; export a float32 model"
            )
    return input_dtypes([i.name for i in inputs], [i.dtype for i in inputs], wanted)


class OnnxReader(OnnxReading):
    def __init__(self, onnx: OnnxGraph, runner: OnnxRunner, zero: int) -> None:
        super().__init__(onnx, zero)
        self.runner = runner
        self.batches = _BATCHES if onnx.images is None else (onnx.images,)
        self.dependent = self._dependent()
        self.foreign = self._foreign()
        self._check_supported()
        self._constants = {name: of(value) for name, value in onnx.constants.items()}
        self._first: dict[OnnxNode, tuple[Sequence[Spec | None], list[Spec]]] = {}  # constants of the first batch
        self._made = Made(most_made(sum(c.bytes for c in self._constants.values())))
        self._early = self._moved = 0  # bytes, elements
        self.tensors = [self._plan(images) for images in self.batches]
        for tensors in self.tensors:
            self._fold(tensors)

    def _dependent(self) -> set[str]:
        found = {i.name for i in self.onnx.inputs}
        for node in self.onnx.nodes:
            operands = node.inputs[:1] if node.op == "CastLike" else node.inputs
            if node.op not in SHAPES and any(i in found for i in operands):
                found.update(o for o in node.outputs if o)
        return found

    def _foreign(self) -> set[str]:
        """Tensors that leave their layer."""
        layers = {o: n.layer for n in self.onnx.nodes for o in n.outputs}
        found = {self.onnx.behind(o) for o in self.onnx.outputs} | set(self.onnx.outputs)
        for node in self.onnx.nodes:
            found.update(i for t in node.inputs for i in (t, self.onnx.behind(t)) if layers.get(i) != node.layer)
        return found

    def _check_supported(self) -> None:
        for node in self.onnx.nodes:
            if not any(o in self.dependent for o in node.outputs):
                continue
            if node.op not in READERS and node.op not in MOVES and node.op not in ALIASES:
                raise node.without_reader(FRAMEWORK)
            training = len(node.inputs) > 2 and node.op == "Dropout" and node.inputs[2]
            if training and np.asarray(self.onnx.constants.get(training, False)).any():
                raise node.unsupported("training mode", "export the model after eval()")

    # -- what every tensor is, before anything large is computed

    def _plan(self, images: int) -> dict[str, Spec]:
        """Every tensor for a batch of this size.  Small constants, on which shapes depend, are computed at once."""
        tensors = dict(self._constants)
        for given in self.onnx.inputs:
            shape = tuple(d or 0 for d in given.shape[1:])  # OnnxModel has made them all known
            if math.prod(shape) * images * 4 > MOST_BYTES:
                raise CompileError(
                    f"input '{given.name}' has shape {given.shape}; at most {MOST_BYTES:,} bytes are read"
                )
            tensors[given.name] = Spec((images, *shape), np.dtype(given.dtype))
        for node in self.onnx.nodes:
            operands = _operands(node, tensors)
            if node.outputs and node.outputs[0] in self.dependent:
                found = self.runner.plan(node, operands)
            else:
                found = self._constant(node, operands)
            tensors.update(zip((o for o in node.outputs if o), found, strict=True))
        return tensors

    def _constant(self, node: OnnxNode, operands: Sequence[Spec | None]) -> list[Spec]:
        """The results of a node that does not depend on the data; those of the first batch, if its operands are."""
        before = self._first.get(node)
        if before is not None and all(a is b for a, b in zip(operands, before[0], strict=True)):
            return before[1]
        specs = self.runner.plan(node, operands)
        size = 0 if node.op in VIEWS else sum(s.bytes for s in specs)
        self._made.add(size, node.outputs[0])
        work = size + sum(o.bytes for o in operands if o is not None and o.value is not None)
        early = size <= _EARLY and work <= _EARLY_WORK and self._early <= _ALL_EARLY
        if early and _is_known(node, operands):
            self._early += size
            specs = [of(value) for value in self.runner.computed(node, operands)]
        self._first.setdefault(node, (operands, specs))
        return specs

    def _fold(self, tensors: Mapping[str, Spec]) -> None:
        """Compute the constants that are left and that nodes with data read; no other value stays in memory."""
        read = {i for n in self.onnx.nodes if n.outputs[0] in self.dependent for i in n.inputs}
        wanted, nodes = self._unknown(read, tensors), list[OnnxNode]()
        for node in reversed(self.onnx.nodes):
            if not wanted.isdisjoint(node.outputs):
                nodes.append(node)
                wanted |= self._unknown(node.inputs, tensors)
        passing, left = wanted - read, Counter(i for node in nodes for i in node.inputs)
        for node in reversed(nodes):
            results = [tensors[o] for o in node.outputs if o]
            for spec, value in zip(results, self.runner.computed(node, _operands(node, tensors)), strict=True):
                spec.value = value
            left.subtract(node.inputs)
            for name in passing.intersection(i for i in node.inputs if not left[i]):
                tensors[name].value = None

    def _unknown(self, names: Iterable[str], tensors: Mapping[str, Spec]) -> set[str]:
        """The constants among these that have not been computed."""
        return {n for n in names if n and n not in self.dependent and tensors[n].value is None}

    # -- reading

    def read(self, dtypes: Sequence[DType]) -> ReadGraph:
        self._check_outputs()
        last = self._images_channels_last()
        inputs = []
        for given, dtype in zip(self.onnx.inputs, dtypes, strict=True):
            image = self.shape(given.name)[1:]
            order: Order = tuple(range(len(image))) if last else channels_last(len(image))
            if len(image) > 3:
                raise UnsupportedOpError(
                    f"input '{given.name}' has {len(image) + 1} dimensions; two to four are supported; reshape the "
                    "image inside the model"
                )
            node = input_node(given.name, tuple(image[i] for i in inverse(order)), dtype)
            inputs.append(node)
            self.values[given.name] = Laid(as_floats(node), order)
        for reader in self.onnx.nodes:
            if any(o in self.dependent for o in reader.outputs):
                self._try_to_read(reader)
        outputs = tuple(self._output(o, last) for o in self.onnx.outputs)
        graph = Graph(tuple(inputs), outputs, tuple(self.onnx.outputs), channels_first=not last)
        return ReadGraph(graph, self.values, self.signs, self.snapped, last, self.hints)

    def _check_outputs(self) -> None:
        """Refuse what cannot be an output of images, before many elements are followed."""
        for name in self.onnx.outputs:
            if name not in self.dependent:
                raise UnsupportedOpError(f"output '{name}' does not depend on the data; leave it out of the model")
            shapes, node = [tensors[name].shape for tensors in self.tensors], self.onnx.producers.get(name)
            if node is None or node.op not in MOVES:
                continue  # its reader says more
            if any(shape[:1] != (images,) for shape, images in zip(shapes, self.batches, strict=True)):
                raise UnsupportedOpError(
                    f"output '{name}' has shape {shapes[0]} for {self.batches[0]} images; expected the batch first; "
                    f"{CUT}"
                )

    def _images_channels_last(self) -> bool:
        """Whether the model takes images (N, H, W, C): it begins by moving their channels."""
        images = [i.name for i in self.onnx.inputs if len(i.shape) == 4]
        users = [n for n in self.onnx.nodes if any(i in images for i in n.inputs)]
        return bool(users) and all(
            n.op == "Transpose" and list(n.attrs.get("perm") or ()) == [0, 3, 1, 2] for n in users
        )

    def _try_to_read(self, node: OnnxNode) -> None:
        try:
            self._read(node)
        except BnnError:
            raise
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # attributes of a wrong type or length
            raise CompileError(f"{node.where}: its attributes or operands are damaged: {error}") from error

    def _read(self, node: OnnxNode) -> None:
        source = OnnxSource(self, node)
        names = [o for o in node.outputs if o and o in self.dependent]
        if node.op in ALIASES:
            self.values[node.outputs[0]] = source.value(0)
            return
        self._check_type(source)
        if node.op not in MOVES and 0 in self.shape(node.outputs[0]):
            raise source.unsupported(f"a result of shape {self.shape(node.outputs[0])}, which has no elements")
        first = _FIRST.get(node.op.lower())
        found = first(source) if first is not None else None
        if found is None and node.op in MOVES:
            results = self._move(source)
        else:
            result = READERS[node.op](source) if found is None else found
            results = [Laid(result, source.frame) if isinstance(result, Node) else result]  # type: ignore[arg-type]
        for name, value in zip(names, results, strict=False):
            self.values[name] = self._checked(source, name, value)

    def _check_type(self, source: OnnxSource) -> None:
        """Numbers are floats here: arithmetic that wraps, or divides, in whole numbers would give others."""
        dtype = self.dtype(source.onnx.outputs[0])
        if dtype.kind in "iu" and source.op not in MOVES | _KEEP_INTEGERS:
            raise source.unsupported(
                f"arithmetic of {dtype}; only float32 arithmetic is supported", "cast to floats first"
            )
        if dtype.kind not in "iub" and dtype != np.float32:
            raise source.unsupported(f"numbers of type {dtype}; only float32 arithmetic is supported")

    def _checked(self, source: OnnxSource, name: str, value: Value) -> Value:
        shape = self.shape(name)
        if isinstance(value, Laid):
            if (self.batches[0], *value.shape) != shape:
                raise source.misread(shape, (self.batches[0], *value.shape))
        elif value.base.origin == name and permutation(value) is None:
            return replace(value, base=replace(value.base, origin=""))
        return value

    def _move(self, source: OnnxSource) -> list[Value]:
        node = source.onnx
        crop = node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize"
        if node.op == "Resize" and (node.attrs.get("mode", "nearest") != "nearest" or crop):
            raise source.unsupported(
                f"mode {node.attrs.get('mode', 'nearest')}, which computes new values; supported: nearest"
            )
        given: list[Moved | tuple[Array, ...]] = []
        kinds = np.float32 if node.op in _FLOATS else np.int32
        if node.op == "Pad" and len(node.inputs) > 2:
            node = replace(node, inputs=(*node.inputs[:2], "", *node.inputs[3:]))  # its number has the data's type
        for tensor in node.inputs:
            if not tensor:
                given.append((np.zeros(0, np.int64),) * len(self.batches))
                continue
            value = self.values.get(tensor)
            if value is None:
                given.append(self.constants(tensor))
            else:
                given.append(value.moved(self.batches) if isinstance(value, Laid) else value)
        if node.op == "Concat" and not all(isinstance(g, Moved) for g in given):
            raise source.unsupported("it joins the data with a constant")

        if kinds is np.float32 and any(
            isinstance(g, Moved) and g.size * max(self.batches) > _MOST_FLOATS for g in given
        ):
            raise source.unsupported(f"an image of more than {_MOST_FLOATS // max(self.batches):,} elements")

        count = sum(math.prod(t[o].shape) for t in self.tensors for o in node.outputs if o)
        self._moved += count
        if count > _MOST_MOVED or self._moved > _ALL_MOVED:
            raise source.unsupported(
                f"it moves {count:,} elements, {self._moved:,} with those before it, in {sum(self.batches)} images; at "
                f"most {_MOST_MOVED:,} and {_ALL_MOVED:,} are followed"
            )

        def run(values: list[Array]) -> list[Array]:
            operands: list[Array | None] = [
                None if not name else v.astype(kinds) if isinstance(g, Moved) else v
                for name, v, g in zip(node.inputs, values, given, strict=True)
            ]
            while operands and operands[-1] is None:
                operands.pop()
            return [np.asarray(r).astype(np.int32) for r in self.runner(node, operands)]

        return [self._settled(source, moved) for moved in move(source, given, run)]

    def _settled(self, source: OnnxSource, moved: Moved) -> Value:
        """What only drops or adds dimensions of 1 is a node again."""
        own = moved.per_image()
        if own is None or not 1 <= own.ndim <= 3 or own.size != moved.size:
            return moved
        every = np.arange(moved.size)
        for order in (channels_last(own.ndim), tuple(range(own.ndim))):
            placed = own.transpose(inverse(order))
            if np.array_equal(placed.reshape(-1), every):
                if placed.shape == moved.base.type.shape:
                    return Laid(moved.base, order)
                return Laid(source.make("reshape", moved.base, attrs=ReshapeAttrs(placed.shape)), order)
        return moved

    def _output(self, name: str, last: bool) -> Node:
        value = self.values.get(name)
        if value is None:
            op = self.onnx.producers[name].op
            raise UnsupportedOpError(f"output '{name}' is a result of {op} that is not read; leave it out of the model")
        node = self.onnx.producers.get(name) or OnnxNode("Output", name, (name,), (name,), {}, False, name)
        rank = len(self.shape(name)) - 1
        order = tuple(range(rank)) if last else channels_last(rank)
        return OnnxSource(self, node).arranged(value, order, f"output '{name}'")


def _operands(node: OnnxNode, tensors: Mapping[str, Spec]) -> list[Spec | None]:
    """Those of a node; an operand that is left out is None, and is no operand if none follows."""
    found = [tensors[name] if name else None for name in node.inputs]
    while found and found[-1] is None:
        found.pop()
    return found


def _is_known(node: OnnxNode, operands: Sequence[Spec | None]) -> bool:
    """Whether every operand that matters has its value."""
    if node.op in SHAPES and not node.custom:
        return True
    matter = operands[:1] if node.op == "CastLike" else operands
    return all(o is None or o.value is not None for o in matter)
