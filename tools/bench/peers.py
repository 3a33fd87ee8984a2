# SPDX-License-Identifier: Apache-2.0
"""The engines that bnn is compared with: each yields contestants on one thread, or says what is not installed."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import MissingError
from bench.onnx_network import export
from bench.timing import Contestant
from bnn.importers import open_source
from bnn.passes import lower
from training import _tf

Floats = NDArray[np.float32]
_CALIBRATION = 4  # images
_CHILD_SECONDS = 120


def one_thread() -> None:
    """Must run before TensorFlow does anything, since it then fixes its threads."""
    tf, _, _ = _tf.load()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def compiled(model: Any, x: Floats, threads: int, engine: str = "bnn") -> Contestant:
    """bnn: one image by a plain call, several into an array made once."""
    images = len(x)
    if images > 1 or threads > 1:
        out = np.empty((images, *model.output_shapes[0]), np.float32)
        run = partial(model.predict, x, threads=threads, out=out)
    else:
        run = partial(model, x)  # with one thread, unless BNN_THREADS says otherwise
    return Contestant(engine, f"{model.kernels}, {threads} thread{'s' * (threads > 1)}", images, threads, run)


def tensorflow(keras_model: Any, x: Floats) -> Iterator[Contestant]:
    tf, _, _ = _tf.load()
    function = tf.function(lambda images: keras_model(images, training=False))
    tensor = tf.constant(x)
    yield Contestant("TensorFlow", "tf.function", len(x), 1, lambda: function(tensor).numpy())
    yield Contestant("TensorFlow", "Keras eager", len(x), 1, lambda: keras_model(tensor, training=False).numpy())


def larq_compute_engine(keras_model: Any, x: Floats) -> Iterator[Contestant]:
    """Its best setting on x86, and the default.  It has assembly only for 64-bit ARM: on x86 it runs portable C++."""
    import larq_compute_engine
    from larq_compute_engine.tflite.python.interpreter import Interpreter

    flatbuffer = _in_child(lambda: larq_compute_engine.convert_keras_model(keras_model))
    for indirect in (True, False):
        interpreter = Interpreter(flatbuffer, num_threads=1, use_indirect_bgemm=indirect)
        setting = "use_indirect_bgemm=True" if indirect else "default"
        yield Contestant("Larq Compute Engine", setting, len(x), 1, partial(interpreter.predict, x))


def onnx_runtime(keras_model: Any, x: Floats) -> Iterator[Contestant]:
    """Float32 and int8 networks of the same shape."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else it writes below the home, and looks for a host
    import onnxruntime

    image = _channels_first(x)
    with _exported(keras_model, image.shape) as (floats, int8):
        yield _session(onnxruntime, floats, "float32", image)
        yield _session(onnxruntime, int8, "int8", image)


def xnnpack(keras_model: Any, x: Floats) -> Iterator[Contestant]:
    """TensorFlow Lite's kernels on x86 and ARM, on the float network and the int8 network of the same shape."""
    tf, _, _ = _tf.load()
    for setting in ("float32", "int8"):
        flatbuffer = _in_child(partial(_flatbuffer, keras_model, x, setting == "int8"))
        with _quiet():
            interpreter = tf.lite.Interpreter(model_content=flatbuffer, num_threads=1)
        interpreter.allocate_tensors()
        given, made = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

        def run(interpreter: Any = interpreter, given: int = given, made: int = made) -> Floats:
            interpreter.set_tensor(given, x)
            interpreter.invoke()
            return np.asarray(interpreter.get_tensor(made))

        yield Contestant("XNNPACK", setting, len(x), 1, run)


def _flatbuffer(keras_model: Any, x: Floats, int8: bool) -> bytes:
    """The model without its quantizers, as TensorFlow Lite has it; int8: weights per channel, calibrated on random
    images, with floats in and out."""
    tf, keras, _ = _tf.load()

    def plain(layer: Any) -> Any:
        config = {k: None if k.endswith("_quantizer") else v for k, v in layer.get_config().items()}
        return type(layer).from_config(config)

    converter = tf.lite.TFLiteConverter.from_keras_model(keras.models.clone_model(keras_model, clone_function=plain))
    if int8:
        rng = np.random.default_rng(0)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: (
            [rng.normal(size=x.shape).astype(np.float32)] for _ in range(_CALIBRATION)
        )
    return bytes(converter.convert())


def onnx_module(module: Any, image: Floats) -> Contestant:
    """ONNX Runtime, with all its optimizations, on a PyTorch module as it is compiled here."""
    import onnxruntime

    from bnn.importers.onnx.torch import export

    proto = export(module, image)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "module.onnx"
        path.write_bytes(proto.SerializeToString())
        return _session(onnxruntime, path, "float32", image, proto.graph.input[0].name)


def openvino(keras_model: Any, x: Floats) -> Iterator[Contestant]:
    """The same networks; the float one also with bfloat16 products."""
    import openvino as ov

    core, image = ov.Core(), _channels_first(x)
    with _exported(keras_model, image.shape) as (floats, int8):
        for setting, path, precision in (
            ("float32", floats, "f32"), ("bfloat16", floats, "bf16"), ("int8", int8, "f32"),
        ):  # fmt: skip
            hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
            one = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
            request = core.compile_model(core.read_model(str(path)), "CPU", hints | one).create_infer_request()
            yield Contestant("OpenVINO", setting, 1, 1, partial(request.infer, {0: image}, share_inputs=True))


def _channels_first(x: Floats) -> Floats:
    return np.ascontiguousarray(np.moveaxis(x[:1], -1, 1))


@contextlib.contextmanager
def _exported(keras_model: Any, shape: tuple[int, ...]) -> Iterator[tuple[Path, Path]]:
    """ONNX files of the float and the int8 network of a Keras model's shape."""
    graph = lower(open_source(keras_model).graph(), until="fold_constants")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.onnx"
        path.write_bytes(export(graph).SerializeToString())
        yield path, _quantize(path, shape)


def _session(onnxruntime: Any, path: Path, setting: str, image: Floats, name: str = "input") -> Contestant:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Contestant("ONNX Runtime", setting, 1, 1, partial(session.run, None, {name: image}))


def _quantize(path: Path, shape: tuple[int, ...]) -> Path:
    """Static quantization, weights per channel, calibrated on random images.

    This is ONNX Runtime's fastest form on x86: activations as unsigned bytes, which the processor's dot product takes,
    and QDQ nodes.  QInt8 takes 1.7 times as long in QuickNet; the QOperator form is no faster (or, with QInt8, ten
    times slower), and does not load for every network; weights per tensor are no faster.
    """
    from onnxruntime import quantization

    class Images(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            self._left = [rng.normal(size=shape).astype(np.float32) for _ in range(_CALIBRATION)]

        def get_next(self) -> dict[str, Floats] | None:
            return {"input": self._left.pop()} if self._left else None

    prepared, quantized = path.with_name("prepared.onnx"), path.with_name("int8.onnx")
    with _quiet():
        quantization.quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared), str(quantized), Images(), per_channel=True, activation_type=quantization.QuantType.QUInt8
        )
    return quantized


def _in_child(work: Callable[[], bytes]) -> bytes:
    """The result of ``work``, computed in a forked process, since converters crash on some networks.

    Raises :class:`MissingError` if it crashes, fails, or takes longer than two minutes.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result"
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(_CHILD_SECONDS)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what is written from C
                with _quiet():
                    path.write_bytes(work())
                status = 0
            except Exception as error:  # whatever a converter raises
                path.write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            raise MissingError(f"its converter was ended by {signal.Signals(os.WTERMSIG(status)).name}")
        if status != 0:
            raise MissingError(path.read_text(encoding="utf-8", errors="replace").strip().split("\n")[0][:200])
        return path.read_bytes()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what converters print; only their exceptions matter here."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


@dataclass(frozen=True)
class Peer:
    """``gather`` yields its contestants for a Keras model and an image; it needs the ``packages`` that the command
    ``install`` installs."""

    gather: Callable[[Any, Floats], Iterator[Contestant]]
    packages: tuple[str, ...] = ()
    install: str = ""

    @property
    def missing(self) -> str:
        """Which of its packages are not installed, and how to install them; otherwise ""."""
        absent = [name for name in self.packages if importlib.util.find_spec(name) is None]
        return f"not installed: {', '.join(absent)}; run: {self.install}" if absent else ""


PEERS: dict[str, Peer] = {
    "tensorflow": Peer(tensorflow),  # the networks are built with it
    "lce": Peer(larq_compute_engine, ("larq_compute_engine",), "pip install --no-deps larq-compute-engine"),
    "xnnpack": Peer(xnnpack),
    "onnxruntime": Peer(onnx_runtime, ("onnx", "onnxruntime"), "pip install onnx onnxruntime"),
    "openvino": Peer(openvino, ("onnx", "onnxruntime", "openvino"), "pip install onnx onnxruntime openvino"),
}


def absent(wanted: Iterable[str]) -> dict[str, str]:
    """The peers that are not installed, and how to install them."""
    return {name: PEERS[name].missing for name in wanted if PEERS[name].missing}


def gather(keras_model: Any, x: Floats, wanted: tuple[str, ...]) -> tuple[list[Contestant], dict[str, str]]:
    """Contestants of the wanted peers, and why others are missing.  A peer that fails on a network only says so."""
    found: list[Contestant] = []
    missing: dict[str, str] = {}
    for name in wanted:
        if PEERS[name].missing:
            missing[name] = PEERS[name].missing
            continue
        try:
            for contestant in PEERS[name].gather(keras_model, x):
                contestant.run()
                found.append(contestant)
        except MissingError as error:
            missing[name] = str(error)
        except Exception as error:  # whatever a converter raises
            lines = str(error).strip().splitlines()
            missing[name] = f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]
    return found, missing
