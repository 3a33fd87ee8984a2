# SPDX-License-Identifier: Apache-2.0
"""Compile and emit source models: importers, passes, file and emitters put together."""

from __future__ import annotations

import ast
import errno
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ._arguments import check_callable, check_count, check_flag, check_text, shown
from ._notes import WARNING, parted
from ._types import Array
from .calibration import calibrate as quantize
from .emit.c import write as c
from .emit.c.interface import CSummary, EmitLimits, EmitOptions, Vectors
from .emit.c.program import identifier
from .emit.nir.proof import random_inputs
from .emit.nir.write import NirSummary, digest, emit
from .errors import CompileError, CompileWarning, InputError
from .file.read import decode
from .file.write import encode
from .importers import open_source
from .ir import spec
from .ir.graph import Graph, Node
from .ir.ops import OPS, Level
from .ir.ops.elementwise import softmax
from .ir.rewrite import sources
from .passes import lower
from .passes.depthwise_bits import depthwise_bits
from .passes.explain import with_hints
from .passes.interleave_rows import interleave_rows, whole_above
from .passes.stream_rows import stream_rows
from .passes.time_in_rows import time_in_rows
from .runtime import Model, TensorInfo
from .runtime.files import file_error, path_text, replace_all
from .runtime.handles import NO_LIMIT, PORTABLE
from .runtime.model import opened_model
from .runtime.use import Preprocessing, Use, check_labels, check_metadata, check_preprocessing

_ROWS_IN_TURN = 0.95  # of the memory, at most: each row of a chain costs some instructions
_CLASSES = ("labels", "classes", "class_names", "names")  # keys of metadata that name the classes
_LONGEST = 2**16  # characters of a source's metadata; longer ones are not kept
_OF_PIXELS = (1 / 255, 1 / 127.5)  # factors by which networks scale pixels
_SMALL = 1 / 50  # a factor that only pixels need


def compile(
    model: object,
    example: object = None,
    *,
    input_shape: Sequence[int] | None = None,
    input_dtype: str | Mapping[str, str] | None = None,
    require_binary: bool = False,
    zero: int = 0,
    unsafe: bool = False,
    labels: Sequence[str] | None = None,
    preprocess: str | Mapping[str, Any] | Preprocessing | None = None,
    metadata: Mapping[str, str] | None = None,
    calibrate: object = None,
    integer_only: bool = False,
    dump_after: str | None = None,
    dump: Callable[[str], object] = print,
) -> Model:
    """Compile a Keras model, an ONNX model or a PyTorch module, or the file or folder it was saved to, or a .tflite
    file of TensorFlow Lite or Larq Compute Engine.

    A file is loaded in this process.  Its contents are checked, but the memory and time that TensorFlow needs for it
    are not limited: use the command `bnn compile` for untrusted files.  It loads them in a separate process with limits
    on both.

    Args:
        model: a Keras model in memory (Keras 2 or 3; Sequential, functional or subclassed), or a path to a .keras, .h5
            or .tflite file or a SavedModel folder; an ``onnx.ModelProto``, or a path to an .onnx file; or a
            ``torch.nn.Module``, which PyTorch exports to ONNX, or what ``torch.export`` made of one.  A network from
            ONNX or PyTorch takes and gives arrays in their layout, (N, C, H, W): :attr:`bnn.Model.layout` is "NCHW".
        example: of a PyTorch module's input: a tensor or array (N, ...), or a tuple with one per argument.
        input_shape: (H, W, C) without the batch, for a subclassed model that was never called; for an ONNX model that
            leaves it free, in its own order, as (C, H, W).
        input_dtype: "uint8" or "int8": the network takes bytes, and computes what the Keras model does with
            ``images.astype(np.float32)``; "float32".  Default: the types of the model's own inputs.  Several inputs:
            one type for all, or a dict by their names.
        require_binary: raise if a convolution or dense layer is not binary, naming each with the reason: it stays
            float, or its weights have several bits.  Layers that read the network's own input, directly or moved,
            scaled or normalized, need not be binary.
        zero: what Sign gives for 0 in a model from ONNX or PyTorch.  Default: 0, as in both, and the layer after a sign
            whose input may be 0 then takes twice the bits; +1 or -1: this, as training meant it.
        unsafe: load a file like Keras and TensorFlow, whatever it does: it may run its Python code (Lambda layers) and
            any op, read and write files, call out, and use any memory; a .pt2 file always needs this.  Otherwise such a
            file is an error that names what was found.  A model in memory is called in any case; only its ops that do
            more than compute need this.
        labels: the names of the classes, as many as an output has.  Default: those that an ONNX model's metadata names.
        preprocess: how a picture becomes the input: "imagenet", "torchvision", "tf", "caffe", a
            :class:`bnn.Preprocessing`, or a dict of its fields.  Default: pixels as they are, where the network itself
            divides its input by 255 or 127.5 (``Rescaling``); otherwise the file does not say.
        metadata: whatever else the file should say, texts by their keys.  The metadata of an ONNX model are kept.
        calibrate: images, for layers that stay float: they become int8, as :func:`bnn.calibrate` does it.
        integer_only: with ``calibrate``, every op computes with whole numbers alone, as for :func:`bnn.calibrate`.
        dump_after: the name of a pass (or "import" or "all"), after which ``dump`` gets the graph's text.

    Returns:
        A model that is ready to run; ``save`` writes it to a .bnn file.

    Warns:
        CompileWarning: a layer is probably not what the model's author meant: its bits never change, or it could be
            binary; names the layer and the cause.  :attr:`bnn.Model.warnings` has them all.  Or the model has
            halves or doubles, which are computed in float32.  Or a text of an ONNX model's metadata is not kept: it
            has more than 65,536 characters.

    Raises:
        UnsupportedOpError: an operation cannot be translated, or would stay float with ``integer_only``; the message
            names the op, the layer and the remedy.
        CompileError: the model or file cannot be read, or ``require_binary`` is not met.
        InputError: labels, preprocessing or metadata that do not fit the network; ``integer_only`` without images.
        SetupError: TensorFlow, the Keras version that the file needs, onnx, onnxruntime or tflite is not installed.
    """
    check_flag(require_binary, "require_binary")
    if check_flag(integer_only, "integer_only") and calibrate is None:
        raise InputError("integer_only: found True without images; give calibrate=images, which say the values' ranges")
    check_text("" if dump_after is None else dump_after, "dump_after", "the name of a pass")
    check_callable(dump, "dump")
    opened = open_source(model, example=example, unsafe=unsafe, input_shape=input_shape, zero=zero)
    source = opened.graph(input_dtype)
    graph = with_hints(lower(source, dump_after, dump), opened.hints())
    not_binary = [n for n in graph.schedule if n.op in ("conv2d", "qconv2d") and not _reads_input(n)]
    if require_binary and not_binary:
        reasons = "; ".join(f"'{n.name}': {parted(n.note)[0] or 'float'}" for n in not_binary)
        count = "1 layer is" if len(not_binary) == 1 else f"{len(not_binary)} layers are"
        raise CompileError(f"{count} not binary: {reasons}")
    compiled = Model.from_bytes(encode(graph), max_bytes=NO_LIMIT)  # the caller's own model was as large in memory
    use = _use(source, compiled, opened.metadata, labels, preprocess, metadata).text()
    if use:
        compiled = Model.from_bytes(encode(replace(graph, use=use)), max_bytes=NO_LIMIT)
    if calibrate is not None:
        compiled = quantize(compiled, calibrate, integer_only=integer_only).model
    for line in (*opened.said, *compiled.warnings):
        warnings.warn(line.removeprefix(WARNING), CompileWarning, stacklevel=2)
    return compiled


def _use(
    source: Graph,
    compiled: Model,
    found: Mapping[str, str],
    labels: Any,
    preprocess: Any,
    metadata: Mapping[str, str] | None,
) -> Use:
    """What the caller says, and where it says nothing, what the source says for certain; ``found``: its metadata."""
    for key, text in found.items():
        if len(text) > _LONGEST:
            size = f"{len(text):,} characters, more than {_LONGEST:,}"
            lost = f"metadata {shown(key)}: found {size}, which are not kept; give metadata= what you need of them"
            warnings.warn(lost, CompileWarning, stacklevel=3)
    found = {key: text for key, text in found.items() if len(text) <= _LONGEST}
    inputs, outputs = ([t for t in compiled.tensors if t.storage == kind] for kind in ("input", "output"))
    layer, factor = _own_factor(source)
    scales = abs(factor) < _SMALL
    made: Preprocessing | None = None
    if preprocess is not None:
        made = check_preprocessing(preprocess, inputs)
        if isinstance(preprocess, str) and made.scale is None and not scales:
            raise InputError(
                f"preprocess: found {shown(preprocess)}, which scales pixels, but the network reads bytes as they are; "
                'give {"fit": "stretch"}, or, if it was trained on scaled pixels, compile it without '
                "input_dtype='uint8' (--input-dtype uint8)"
            )
        if scales and made.scale is not None and (made.scale != 1 or made.mean or made.std):
            raise InputError(
                f"preprocess: the network itself scales pixels (layer '{layer}' multiplies its input by {factor:.4g}); "
                "give the scale 1, and no mean or std"
            )
    elif (
        len(inputs) == 1
        and scales
        and inputs[0].dtype == "f32"
        and any(np.float32(factor) == np.float32(f) for f in _OF_PIXELS)
    ):
        made = Preprocessing(scale=1.0)
    names = _classes(found, outputs) if labels is None else check_labels(labels, outputs)
    return Use(names, made, {**found, **({} if metadata is None else check_metadata(metadata))})


def _own_factor(graph: Graph) -> tuple[str, float]:
    """(layer, factor) of the first operation that multiplies the input by constants; ("", 1.0) if there is none."""
    node, users = graph.inputs[0], graph.users()
    while len(users[node]) == 1:
        (node,) = users[node]
        constants = [i for i in node.inputs if i.is_constant]
        if node.op in ("mul", "div") and constants:
            factor = float(np.median(constants[0].value))
            divides = node.op == "div" and node.inputs[1] is constants[0]
            return node.name, (1 / factor if factor else 1.0) if divides else factor
        if node.op not in ("add", "sub", "cast", "copy", "reshape") or (node.op in ("add", "sub") and not constants):
            break
    return "", 1.0


def _classes(found: Mapping[str, str], outputs: Sequence[TensorInfo]) -> tuple[str, ...] | None:
    """The names of the classes in a model's metadata: a list, or an object by numbers, in JSON or Python's form."""
    for text in (found[key] for key in _CLASSES if key in found):
        for parse in (json.loads, ast.literal_eval):
            try:
                names = parse(text)
                if isinstance(names, dict):
                    by_number = {int(key): name for key, name in names.items()}
                    names = [by_number[i] for i in range(len(names))]
                return check_labels(names, outputs)
            except (SyntaxError, TypeError, ValueError, KeyError, MemoryError, RecursionError):
                continue  # something else under this key
    return None


def _reads_input(node: Node) -> bool:
    """Whether all of a layer's data come from graph inputs through moves and scales, without weights; a separable
    layer's first half does not count as a layer."""

    def past(x: Node) -> bool:
        first_half = x.op == "conv2d" and x.name == node.name and x.inputs[1].type.shape[3] == 1
        return OPS[x.op].moves or OPS[x.op].scales or first_half

    return all(x.op == "input" for x in sources(node.inputs[0], past))


def emit_c(
    model: Model | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    name: str | None = None,
    target: str = "generic",
    output: str = "values",
    fast: bool = False,
    single_file: bool = False,
    trace: bool = False,
    stream: bool = False,
    vectors: Array | Sequence[Array] | None = None,
    max_ram: int | None = None,
    max_flash: int | None = None,
    max_instructions: int | None = None,
) -> CSummary:
    """Write a compiled network as C99 for firmware: const tables and a list of calls, which need no file, no parser and
    no memory of their own.  Its outputs have the bytes of ``bnn.load(path, kernels="portable")(x)``, and of every other
    family of kernels where sums of floats are exact.

    Args:
        model: a compiled model, or the path of a .bnn file.
        folder: where to write NAME.h, NAME.c, NAME_kernels.h, NAME_kernels.c, main.c (which runs test vectors),
            NAME_vectors.h and README.md; it is created if there is none.  Files that were emitted before are replaced,
            others are not.
        name: of the files and functions, a C identifier in lower case.  Default: the .bnn file's name, or "network".
        target: "generic", or the processor ("cortex-m4"; all: ``bnn.emit.c.interface.TARGETS``): layouts of weights and
            the README's commands; every target computes the same.
        output: "values": the network's outputs; "logits": before its last softmax; "probabilities": after a softmax;
            "class": the index of the largest logit.
        fast: functions of their own for the usual windows (2 to 36 words, 9 and 27 bytes): fewer instructions.
        single_file: all in NAME.h, whose code is compiled where NAME_IMPLEMENTATION is defined.
        trace: main.c, compiled with NAME_HOOK, names the first layer that differs.
        stream: the input is a window over time, (T, C) or (T, W, C), of a stream: a function NAME_push takes new rows
            alone and gives what the network gives for the last T, without computing the rows of layers anew that
            earlier calls computed.  ``vectors`` are whole windows.
        vectors: (N, ...) like the model's inputs, for main.c, with the outputs of the portable kernels.  Default: four
            random images.
        max_ram: bytes of memory that the caller gives, at most.  Default: any number, as for the other limits.
        max_flash: bytes of tables, at most; code comes to them.
        max_instructions: for an image, or a call of a stream, on the target, at most.

    Raises:
        CompileError: only the runtime can do what a layer does, or the network takes more than it may; names the layer
            and the reason, and no file is written.
        InputError, ModelFormatError: a wrong name, target, output or vector; a file that was not emitted; no model.
        ModelFileError: a file cannot be written; none has been then.
    """
    opened = opened_model(model)
    folder = path_text(folder, "folder")
    default = "network" if isinstance(model, Model) else os.path.splitext(os.path.basename(os.fspath(model)))[0]
    options = EmitOptions(
        name=name if name is not None else identifier(default),
        target=target, output=output, fast=fast, single_file=single_file, trace=trace, stream=stream,
    )  # fmt: skip
    c.check_options(options)
    limits = EmitLimits(*(
        None if value is None else check_count(value, what, 2**62)
        for what, value in (("max_ram", max_ram), ("max_flash", max_flash), ("max_instructions", max_instructions))
    ))  # fmt: skip
    data = opened.to_bytes()
    graph = c.last_values(decode(data), output)
    images = random_inputs(graph) if vectors is None else opened.check_inputs(vectors, least=1, convert=True)
    tested = _test_vectors(data, graph, options, images)

    plan = graph if trace else depthwise_bits(graph)  # a trace has the values of every layer of the file
    summary, files = _of_stream(plan, options, data, tested) if stream else _of_images(plan, options, data, tested)
    c.check_limits(summary, target, limits)
    contents = {os.path.join(folder, file): text.encode() for file, text in files.items()}
    _check_own(contents)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise file_error(os.fspath(folder), error.errno or errno.EIO, "created as a folder") from None
    replace_all(contents)
    for file in {f"{options.name}{end}" for end in (".c", "_kernels.c", "_kernels.h")} - files.keys():
        _remove_own(os.path.join(folder, file))
    return summary


def _of_images(graph: Graph, options: EmitOptions, data: bytes, tested: Vectors) -> tuple[CSummary, dict[str, str]]:
    """Layer by layer, or rows of several in turn where that takes less memory."""

    def emitted(plan: Graph) -> tuple[CSummary, dict[str, str]]:
        spec.verify(plan, Level.RUNTIME, "interleave_rows")
        return c.emit(plan, options, digest(data), tested)

    found = emitted(interleave_rows(graph, chains=()))
    if not options.trace and (rows := interleave_rows(graph)).chains:
        in_turn = min((emitted(rows), emitted(whole_above(rows))), key=lambda each: each[0].arena)
        if in_turn[0].arena < _ROWS_IN_TURN * found[0].arena:
            return in_turn
    return found


def _of_stream(graph: Graph, options: EmitOptions, data: bytes, tested: Vectors) -> tuple[CSummary, dict[str, str]]:
    """The new rows of every layer."""
    found = stream_rows(time_in_rows(graph))
    return c.emit(found.graph, options, digest(data), tested, found)


def _remove_own(path: str) -> None:
    """A file of the other form, if it was emitted: builds that take every file of the folder would have both."""
    try:
        _check_own([path])
        os.remove(path)
    except (InputError, OSError):
        return  # somebody else's, or there is none


def _check_own(paths: Iterable[str]) -> None:
    """Refuse to replace files that were not emitted: a main.c, for example."""
    for path in paths:
        try:
            with open(path, "rb") as file:
                start = file.read(1000)
        except OSError:
            continue  # there is none, or writing says why not
        if b"ritten by bnn " not in start:
            raise InputError(f"{path}: exists and was not written by bnn; give another folder, or move the file")


def _test_vectors(data: bytes, graph: Graph, options: EmitOptions, images: Sequence[Array]) -> Vectors:
    """The outputs of the portable kernels, one op at a time."""
    portable = Model.from_bytes(data, kernels=PORTABLE, max_bytes=NO_LIMIT)
    count = len(images[0])
    stepper = portable.stepper(count)
    places = [tensor for tensor in portable.tensors if tensor.storage == "input"]
    for tensor, values in zip(places, images, strict=True):
        stepper.poke(tensor.index, values)
    values_of: dict[Node, Array] = {}
    for number, node in enumerate(graph.schedule):
        values_of[node] = stepper.step(number, count)
    outputs = [values_of[node] for node in graph.outputs]
    if options.output == "class":
        outputs = [outputs[0].argmax(axis=-1).astype(np.uint16)]
    elif options.output == "probabilities" and graph.outputs[0].op != "softmax":
        outputs = [softmax(outputs[0])]
    layers = []
    if options.trace:
        layers = [
            [c.hash_of(c.memory_of(graph, node, values[i])) for node, values in values_of.items()] for i in range(count)
        ]
    return Vectors(images, outputs, layers)


def emit_nir(
    model: Model | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    profile: str = "if",
    proof_inputs: Array | Sequence[Array] | None = None,
) -> NirSummary:
    """Write a compiled network as a spike-equivalent NIR file, with its proof in files next to it.

    Args:
        model: a compiled model, or the path of a .bnn file.
        out: the file to write; the proof is out's name with .proof.npz and .proof.json.
        profile: "if", "lif", "flat" or "cuba": the kind of neuron, and images or vectors; see docs/spikes/nir.md.
        proof_inputs: (N, ...) like the model's input: the images of the proof.  Default: four random images.

    Raises:
        UnsupportedOpError: the network has no equal as spikes (because of a real-valued shortcut, for example); names
            the layer and the reason; nothing has been written.
        InputError, CompileError, SetupError, ModelFormatError: a wrong profile, wrong inputs, no nir package, no model.
        ModelFileError: a file cannot be written; none of the three has been then.
    """
    out = path_text(out, "out")
    opened = opened_model(model)
    if not isinstance(model, Model) and os.path.isfile(out) and os.path.samefile(model, out):
        raise InputError(f"{out}: would overwrite the model; give another path")
    inputs = None if proof_inputs is None else opened.check_inputs(proof_inputs, least=1, convert=True)
    data = opened.to_bytes()
    summary, files = emit(decode(data), out, profile, inputs, digest(data))
    replace_all(files)
    return summary
