# SPDX-License-Identifier: Apache-2.0
"""The process in which `bnn compile` and `bnn verify` load an untrusted file, with limits on its memory and time.

``apart.py`` starts it with a task as JSON and reads its answers: each is a line of JSON, a kind and a value.  The last
is "result" or "error".  Nothing is unpickled, so the reader need not trust the answers.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from .. import errors
from .._notes import WARNING

_PR_SET_PDEATHSIG = 1
# What the loader of shared libraries says where there is no memory for one.
_UNMAPPED = re.compile("failed to map segment from shared object$|cannot map zero-fill pages|Cannot allocate memory")


class Answers:
    """The pipe to the parent process; each answer restarts the timeout.

    When it expires, the kernel ends this process, even if Python is blocked.
    """

    def __init__(self, pipe: int, timeout: int) -> None:
        os.set_inheritable(pipe, False)
        self._pipe, self._timeout = os.fdopen(pipe, "wb"), timeout
        signal.setitimer(signal.ITIMER_REAL, timeout)

    def send(self, kind: str, value: Any = None) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)  # the reader, such as a pager, may take any time
        self._pipe.write(json.dumps([kind, value]).encode() + b"\n")
        self._pipe.flush()
        signal.setitimer(signal.ITIMER_REAL, self._timeout)


def main(task: str) -> None:
    """Run a task, answer, and end the process without waiting for TensorFlow to clean up."""
    todo = json.loads(task)
    _end_with(todo["parent"])
    _limit_memory(todo["max_memory"])
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    answers = Answers(todo["pipe"], todo["timeout"])
    answer = perform(todo["name"], answers, todo["arguments"])
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # the pipe is closed or has no reader
            stream.flush()
    answers.send(*answer)
    os._exit(0)


def perform(name: str, answers: Any, arguments: dict[str, Any]) -> tuple[str, Any]:
    """A task's last answer; ``answers`` takes the others."""
    try:
        return "result", _TASKS[name](answers, **arguments)
    except BaseException as error:
        return "error", _described(error)


def _end_with(parent: int) -> None:
    """End this process when its parent ends; on systems other than Linux, the time limit does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has already ended
            os._exit(1)


def _limit_memory(size: int) -> None:
    """Limit memory to ``size`` bytes; 0: no limit.

    Only writable memory counts (RLIMIT_DATA): TensorFlow's libraries take gigabytes of addresses that cost no memory.
    """
    if sys.platform != "linux" or not size:
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (size if most == resource.RLIM_INFINITY else min(size, most), most))
    # Native code aborts when memory is refused; this is expected and needs no core file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _described(error: BaseException) -> dict[str, Any]:
    """An error as JSON: "class" is its first base class from this package, or "" if there is none."""
    known = next((c.__name__ for c in type(error).__mro__ if c.__module__ == errors.__name__), "")
    found: dict[str, Any] = {
        "class": known, "text": str(error), "memory": _is_of_memory(error), "traceback": traceback.format_exc(),
    }  # fmt: skip
    if isinstance(error, OSError):
        name = None if error.filename is None else os.fsdecode(error.filename)
        found |= {"errno": error.errno, "strerror": error.strerror, "filename": name}
    return found


def _is_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, in this error or in one that caused it."""
    while error is not None:
        if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
            return True
        if isinstance(error, ImportError) and _UNMAPPED.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the notes that TensorFlow's native code always prints on stderr."""
    if sys.stderr is None:
        yield
        return
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def load_tensorflow() -> None:
    """Import TensorFlow without the notes that it prints then."""
    from ..importers.tensorflow.load import tensorflow

    with _quiet():
        tensorflow().config.list_physical_devices()  # without a GPU, TensorFlow prints a note once: here


def _load_framework(model: str) -> None:
    """Import what reads a model file, before its time counts."""
    from ..importers import is_tflite
    from ..importers.onnx.load import is_onnx
    from ..importers.onnx.run import packages
    from ..importers.onnx.torch import is_program

    if is_onnx(model) or is_program(model):
        packages()
    elif not is_tflite(model):
        load_tensorflow()


def _compile(
    answers: Answers, model: str, labels: str | None = None, preprocess: str | None = None,
    meta: dict[str, str] | None = None, **options: Any,
) -> str:  # fmt: skip
    """The compiled network's bytes, in base 64; ``labels`` and ``preprocess``: files, or the name of a preset."""
    from ..compiler import compile
    from .inputs import read_lines, read_preprocessing

    options |= {
        "labels": None if labels is None else read_lines(labels),
        "preprocess": None if preprocess is None else read_preprocessing(preprocess),
        "metadata": meta,
    }
    _load_framework(model)
    answers.send("working")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", errors.CompileWarning)
        try:
            compiled = compile(model, dump=lambda text: answers.send("dump", text), **options)
        except errors.InputError as error:
            files = (("labels", labels), ("preprocessing", options["preprocess"] and preprocess))
            wrong = next((file for key, file in files if file and str(error).startswith(f"{key}:")), None)
            raise error if wrong is None else errors.InputError(f"{wrong}: {error}") from None
    for text in (str(warning.message) for warning in caught if warning.category is errors.CompileWarning):
        if f"{WARNING}{text}" not in compiled.warnings:  # which the command prints
            answers.send("note", text)
    return base64.b64encode(compiled.to_bytes()).decode()


def _verify(answers: Answers, model: str, **arguments: Any) -> tuple[dict[str, Any], str]:
    """The report, as JSON and as text."""
    from ..importers import round_plainly
    from ..verification.synchronous import verify

    round_plainly()  # before TensorFlow is imported, which makes the choice
    _load_framework(model)
    return _compared(answers, verify, model, **arguments)


def _verify_nir(answers: Answers, model: str, **arguments: Any) -> tuple[dict[str, Any], str]:
    """The report, as JSON and as text."""
    from ..verification.nir import verify_nir

    return _compared(answers, verify_nir, model, **arguments)


def _compared(
    answers: Answers, compare: Callable[..., Any], model: str, net: str, files: list[str], reading: dict[str, Any],
    count: int | None, seed: int, **options: Any,
) -> tuple[dict[str, Any], str]:  # fmt: skip
    """The report of ``compare`` on the images of ``files``, or on ``count`` random ones; tells the progress."""
    from ..runtime import load
    from ..verification.report import as_json
    from ..verification.synchronous import images_of
    from .inputs import InputOptions, random_arrays, read_arrays

    compiled = load(net)
    count = count or max(8, images_of(compiled, 2**26, 256))
    arrays = read_arrays(compiled, files, InputOptions(**reading)) if files else random_arrays(compiled, count, seed)
    answers.send("working", len(arrays[0]))
    report = compare(model, compiled, arrays, progress=lambda images: answers.send("done", images), **options)
    return as_json(report), str(report)


def _compile_snn(answers: Answers, model: str, **options: Any) -> dict[str, Any]:
    """The .snn file's bytes, in base 64, and warnings."""
    from ..snn import compile

    return _compiled(partial(compile, model, **options))


def _compile_module(answers: Answers, model: str, sample: str, **options: Any) -> dict[str, Any]:
    """The same of ``model``, FILE.py:NAME, the user's own Python; ``sample``: a file."""
    from ..snn import from_torch
    from .inputs import read_numpy

    return _compiled(partial(from_torch, _load_module(model), read_numpy(Path(sample), ["x"])[0], **options))


def _compile_nengo(answers: Answers, model: str, **options: Any) -> dict[str, Any]:
    """The same of a ``nengo.Network``."""
    from ..snn import from_nengo

    return _compiled(partial(from_nengo, _load_module(model), **options))


def _compiled(make: Callable[[], Any]) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the command prints them
        made = make()
    return {"data": base64.b64encode(made.to_bytes()).decode(), "warnings": made.warnings}


def _convert_snn(answers: Answers, model: str, data: str, count: int, **options: Any) -> dict[str, Any]:
    """The network of counters as a .snn file in base 64, and what there is to say of it."""
    from ..snn.convert import convert
    from ..snn.file import encode
    from .inputs import read_numpy

    images = read_numpy(Path(data), ["x"])[0][:count]
    _load_framework(model)
    answers.send("working")
    try:
        made = convert(model, images, **options)
    except errors.InputError as error:
        what, _, text = str(error).partition(": ")
        raise errors.InputError(f"{data if what == 'images' else what}: {text}") from None
    quantized = made.quantized
    return {
        "data": base64.b64encode(encode(made.network)).decode(),
        "text": str(quantized),
        "images": len(images),
        "agreement": quantized.agreement,
        "scheme": made.scheme,
        "steps": made.steps,
        "neurons": sum(p.size for p in made.network.populations if p.dynamics),
        "layers": [
            {"name": x.name, "kind": x.kind, "shape": list(x.grid), "levels": x.most, "step": x.step,
             "population": made.populations.get(x.name)}
            for x in quantized.layers
        ],
    }  # fmt: skip


def _verify_snn(
    answers: Answers, model: str, net: str, data: str | None, samples: int, module: str | None, **options: Any
) -> tuple[dict[str, Any], str]:
    """The report, as JSON and as text; ``module``: FILE.py:NAME, the user's own Python."""
    import numpy as np

    from ..snn import load
    from ..verification.over_time import verify
    from ..verification.report import as_json
    from .inputs import read_over_time

    network, x = load(net), None
    if data is not None:
        names, shapes = list(network.input_shapes)[:1], list(network.input_shapes.values())[:1]
        x = np.stack([sample[names[0]] for sample in read_over_time(data, names, shapes)], axis=1)
    answers.send("working", samples if x is None else x.shape[1])
    trained = None if module is None else _load_module(module)
    own: dict[str, Any] = {"samples": samples, "module": trained, "progress": lambda n: answers.send("done", n)}
    report = verify(model, network, x, **own, **options)
    return as_json(report), str(report)


def _load_module(text: str) -> Any:
    """What a user's Python file defines under a name; a class or function is called without arguments.

    The file runs as Python runs a script: from its folder, with the user's rights.
    """
    import runpy

    path, _, name = text.rpartition(":")
    if not path.endswith(".py") or not name.isidentifier():
        raise errors.InputError(f"{text}: expected FILE.py:NAME, a Python file and what it calls the module")
    if not os.path.isfile(path):
        raise errors.InputError(f"{text}: there is no file {path}; expected FILE.py:NAME")
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    try:
        found = runpy.run_path(path, run_name="bnn_model")
        made = found.get(name)
        is_module = hasattr(made, "named_modules") and not isinstance(made, type)
        made = made if is_module or not callable(made) else made()
    except ImportError as error:
        raise errors.SetupError(f"{text}: {path} cannot be run ({error}); install what it imports") from error
    except Exception as error:
        raise errors.InputError(f"{text}: {path} fails ({type(error).__name__}: {error})") from error
    if name not in found:
        names = ", ".join(sorted(n for n, value in found.items() if not n.startswith("_") and callable(value))[:20])
        raise errors.InputError(f"{text}: found no {name} in {path}, expected one of {names or 'its names'}")
    return made


_TASKS: dict[str, Callable[..., Any]] = {
    "compile": _compile, "verify": _verify, "verify_nir": _verify_nir, "compile_snn": _compile_snn,
    "compile_module": _compile_module, "compile_nengo": _compile_nengo,
    "convert_snn": _convert_snn, "verify_snn": _verify_snn,
}  # fmt: skip
