# SPDX-License-Identifier: Apache-2.0
"""PyTorch modules, exported to ONNX by PyTorch itself."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from ..._distribution import install, install_packages
from ...errors import BnnError, CompileError, InputError, InputTypeError, SetupError
from ..common.kinds import check_there
from ..common.limits import PERMISSION
from .brevitas import export_quantizers
from .run import without_telemetry
from .substitutes import substituting

_MOST_TEXT = 300
_STYLE = re.compile(r"\x1b\[[\d;]*m")
# PyTorch's functions of these names turn a tensor into numbers of Python, which a trace keeps as constants.
_NUMBERS = frozenset({
    "__bool__", "__contains__", "__float__", "__index__", "__int__", "allclose", "equal", "is_nonzero", "item",
    "nonzero", "numpy", "tolist",
})  # fmt: skip


def is_module(model: Any) -> bool:
    """Whether it is a PyTorch module; imports nothing."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def is_program(model: Any) -> bool:
    """Whether it is what ``torch.export.export`` made, or the path of its file; imports nothing."""
    if isinstance(model, (str, os.PathLike)):
        return os.fsdecode(model).lower().endswith(".pt2")
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.export.ExportedProgram)


def export_program(program: Any, unsafe: bool) -> Any:
    """A ``torch.export.ExportedProgram``, or its ``.pt2`` file, as an ``onnx.ModelProto``.

    Raises:
        CompileError: the file cannot be read, which needs ``unsafe``: PyTorch unpickles parts of it.
    """
    name = "the program"
    try:
        import torch

        without_telemetry()
        if isinstance(program, (str, os.PathLike)):
            name = os.fsdecode(program)
            check_there(name, "a .pt2 file")
            if not unsafe:
                raise CompileError(f"{name}: PyTorch may run code of this file when it loads it; {PERMISSION}")
            program = torch.export.load(name)
        with _quiet():
            exported: Any = torch.onnx.export(program, dynamo=True, optimize=False, verbose=False)
        return exported.model_proto
    except BnnError:
        raise
    except ImportError as error:
        raise _needs_packages(error) from None
    except Exception as error:  # PyTorch may raise anything
        raise CompileError(f"{name}: PyTorch cannot export it to ONNX: {_line(error)}") from error


def _needs_packages(error: ImportError) -> SetupError:
    if error.name == "onnxoptimizer":
        return SetupError(
            f"Brevitas exports its modules with onnxoptimizer ({error}); {install_packages([error.name])}"
        )
    return SetupError(f"exporting from PyTorch needs torch, onnx and onnxscript ({error}); {install('torch')}")


def _unwrapped(torch: Any, module: Any) -> Any:
    """The module that others run in parallel, or compiled."""
    parallel = torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel
    while isinstance(module, parallel) or hasattr(module, "_orig_mod"):
        module = module.module if isinstance(module, parallel) else module._orig_mod
    return module


def export(module: Any, example: Any) -> Any:
    """The module in inference mode as an ``onnx.ModelProto``, with a free batch size where the module allows one.

    torch.export reads it first, and the older exporter traces what torch.export cannot read.  A module that decides by
    its data is refused: a trace would keep only the branch of the example; one that decides by parameters and buffers
    is not.  Neither folds constants or optimizes: batch norms stay as they are, so that nothing rounds in another way.
    A module with quantizers of Brevitas is exported by Brevitas, which calls the same two.

    Args:
        example: a tensor or array (N, ...), or a tuple of them, one per argument of ``forward``.

    Raises:
        SetupError: onnx or onnxscript, or onnxoptimizer for a module of Brevitas, is not installed.
        CompileError: neither exporter can read the module; says why.
    """
    import torch

    without_telemetry()  # the exporters may import ONNX Runtime
    if example is None:
        raise InputError(
            "a PyTorch module needs an example of its input: bnn.compile(module, torch.zeros(1, 3, 32, 32))"
        )
    module = _unwrapped(torch, module)
    own = {t.dtype for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()}
    kind = own.pop() if len(own) == 1 else None  # of a module of halves, or doubles
    arguments = tuple(_doubled(torch, x, kind) for x in (example if isinstance(example, (tuple, list)) else (example,)))
    with _inference(torch, module), _quiet(), _followed_data(torch), substituting(torch):
        try:
            return _exported(torch, module, arguments)
        except ImportError as error:
            raise _needs_packages(error) from None
        except Exception as first:  # torch.export may raise anything; then the older exporter tries
            try:
                return _traced(torch, module, arguments)
            except Exception as error:
                name, why = type(module).__name__, f"{_line(error)} (torch.export: {_line(first)})"
                raise CompileError(f"PyTorch cannot export {name} to ONNX: {why}") from error


def _doubled(torch: Any, x: Any, kind: Any) -> Any:
    """An example of two images at least: of one, the exporter would take the batch size for fixed.  Floats become those
    of the module, ``kind``."""
    try:
        tensor = x if isinstance(x, torch.Tensor) else torch.as_tensor(x)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputTypeError(
            f"example: found {type(x).__name__}, expected a tensor or an array: {_line(error)}"
        ) from None
    if tensor.dim() < 2 or not len(tensor):
        raise InputError(f"example: found shape {tuple(tensor.shape)}, expected (N, ...), at least one image: "
                         "torch.zeros(1, 3, 32, 32)")  # fmt: skip
    tensor = tensor.detach()
    if kind is not None and tensor.is_floating_point():
        tensor = tensor.to(kind)
    return tensor if len(tensor) > 1 else torch.cat([tensor, tensor])


@contextlib.contextmanager
def _inference(torch: Any, module: Any) -> Iterator[None]:
    """The module as after ``eval()``; its parts are restored, each to its own mode."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes.items():
            part.training = training


@contextlib.contextmanager
def _followed_data(torch: Any) -> Iterator[None]:
    """``x.data`` as the exporters follow it, for binary layers are often written with it: reading that of a parameter
    ends the process in torch.export, and setting that of a value, ``x.data = sign(x)``, is lost."""
    plain = torch._C.TensorBase.data

    def put(tensor: Any, value: Any) -> None:
        if isinstance(tensor, torch.nn.Parameter):
            plain.__set__(tensor, value)
        else:
            tensor.copy_(value)

    torch.Tensor.data = property(lambda tensor: tensor.detach(), put)
    try:
        yield
    finally:
        del torch.Tensor.data


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' progress and warnings."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        silent = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _exported(torch: Any, module: Any, arguments: tuple[Any, ...]) -> Any:
    free = tuple({0: torch.export.Dim.AUTO} for _ in arguments)
    options = {"dynamo": True, "optimize": False, "verbose": False, "dynamic_shapes": free}
    quantized = export_quantizers(module, arguments, options)
    if quantized is not None:
        return quantized
    found = torch.onnx.export(module, arguments, **options)
    if any(node.op_type == "NonZero" for node in found.model_proto.graph.node):
        program = _without_masked_assignments(torch, found.exported_program)
        found = torch.onnx.export(program, dynamo=True, optimize=False, verbose=False)
    return found.model_proto


def _without_masked_assignments(torch: Any, program: Any) -> Any:
    """``x[mask] = number`` as a choice between the two, where the exporter looks for the places that are not 0."""
    for node in program.graph.nodes:
        if node.target is not torch.ops.aten.index_put.default or any(node.args[3:]):
            continue
        x, indices, number = node.args[:3]
        if len(indices) != 1 or number.meta["val"].dim():
            continue
        mask = indices[0].meta["val"]
        if mask.dtype == torch.bool and mask.dim() == x.meta["val"].dim():
            node.target, node.args = torch.ops.aten.where.self, (indices[0], number, x)
    program.graph_module.recompile()
    return program


def _traced(torch: Any, module: Any, arguments: tuple[Any, ...]) -> Any:
    import onnx

    names = [f"input_{i}" for i in range(len(arguments))] if len(arguments) > 1 else ["input"]
    axes = {name: {0: "batch"} for name in names}
    options = {"dynamo": False, "do_constant_folding": False, "input_names": names, "dynamic_axes": axes}
    _check_decisions(torch, module, arguments)
    quantized = export_quantizers(module, arguments, options)
    if quantized is not None:
        return quantized
    file = io.BytesIO()
    torch.onnx.export(module, arguments, file, **options)
    return onnx.load_from_string(file.getvalue())


def _check_decisions(torch: Any, module: Any, arguments: tuple[Any, ...]) -> None:
    """Run the module, and refuse it where it asks for a number that follows from its data.  What it asks of parameters
    and buffers alone is the same for all data."""

    class Data(torch.Tensor):  # type: ignore[misc]
        """What follows from the data: results of PyTorch's functions have the class of their operands."""

        @classmethod
        def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if (name := getattr(function, "__name__", "")) in _NUMBERS:
                raise CompileError(f"it decides by its data, and a network cannot: it asks for {name} of a tensor")
            return super().__torch_function__(function, types, args, kwargs)

    module(*(x.as_subclass(Data) for x in arguments))


def _line(error: BaseException) -> str:
    """The first line of an error, or of the one behind it, which says more."""
    said = _STYLE.sub("", str(error.__cause__ or error))
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:_MOST_TEXT]
