# SPDX-License-Identifier: Apache-2.0
"""Read a model's inputs from files: .npy, .npz and images."""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .._arguments import shown
from .._distribution import install
from .._types import Array
from ..errors import BnnError, InputError, InputTypeError, ModelFileError, SetupError
from ..runtime import Model
from ..runtime.arrays import Inputs, Shape, batched, shape_hint
from ..runtime.evaluation import class_count
from ..runtime.numpy_files import load
from ..runtime.progress import note
from ..runtime.summary import quantity
from ..runtime.use import PRESETS, Preprocessing

try:
    import click
except ImportError:  # of a program that calls bnn.read_picture; the command says so before
    raise SetupError(f"reading pictures needs the extra cli; {install('cli')}") from None

from .common import was_given
from .pictures import EXPECTED, OtherSize, Unusable, decode, in_folder, unreadable

# Bytes of float pictures that are read before a network runs on them, and their number at most.
_BATCH_BYTES, _BATCH_IMAGES = 2**26, 1024
_STORED = (".npy", ".npz")
_TEXTS = {".txt": "", ".csv": ", delimiter=','"}  # and what np.loadtxt needs to know
_SCALE = "--scale DIVISOR, the number by which the values were divided in training (often 255), or --scale 1"


class Reads(Protocol):
    """What reads the inputs: a Model, or another network."""

    @property
    def input_names(self) -> Sequence[str]: ...
    @property
    def input_shapes(self) -> Sequence[Shape]: ...
    @property
    def input_dtypes(self) -> Sequence[np.dtype[Any]]: ...
    @property
    def layout(self) -> str: ...


@dataclass(frozen=True)
class InputOptions:
    """What options say: values become value / scale + offset; pictures are resized.  Otherwise what the file says."""

    scale: float | None
    offset: float
    resize: bool

    @property
    def scales(self) -> bool:
        return self.scale is not None or self.offset != 0

    def over(self, known: Preprocessing | None, channels: int) -> Preprocessing:
        """How pixels become the input, by the file and these options."""
        made = known or Preprocessing()
        if self.scales:
            mean = (-self.offset,) * channels if self.offset else ()
            made = replace(made, scale=made.scale if self.scale is None else self.scale, mean=mean, std=())
        if self.resize:
            made = replace(made, fit="stretch", shorter=None, filter="bilinear", fill=())
        return made


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options --scale, --offset and --resize, passed on as one argument ``reading``."""

    @functools.wraps(command)
    def checked(*args: Any, scale: float | None, offset: float, resize: bool, **options: Any) -> Any:
        check_scaling(1 if scale is None else scale, offset)
        for name in ("scale", "offset", "resize"):
            if not options.get("files", True) and was_given(name):
                raise click.UsageError(f"--{name} is for files, found none to read; leave it out")
        return command(*args, reading=InputOptions(scale, offset, resize), **options)

    resized = click.option("--resize", is_flag=True,
                           help="Resize images.  Default: as NET says, or they must have its size.")  # fmt: skip
    added = click.option("--offset", metavar="X", type=float, default=0.0, help="Add this after dividing.  Default: 0.")
    divided = click.option("--scale", metavar="DIVISOR", type=float,
                           help="Divide all inputs by this, including float arrays, as in training.  Default: "
                                "pixels as NET says, float arrays not at all.")  # fmt: skip
    return divided(added(resized(checked)))


def check_scaling(scale: float, offset: float) -> None:
    """Refuse numbers that float32, the type of the computation, does not have: one that is not 0 may be 0 there."""
    with np.errstate(all="ignore"):
        divisor, added = np.float32(scale), np.float32(offset)
    if not np.isfinite(divisor) or divisor == 0:
        raise click.BadParameter(f"found {scale}, expected a finite float32 that is not 0", param_hint="--scale")
    if not np.isfinite(added):
        raise click.BadParameter(f"found {offset}, expected a finite float32", param_hint="--offset")


def read_targets(path: str) -> Array:
    """The right classes in the .npy file of --targets."""
    if not path.endswith(".npy"):
        raise InputError(f"--targets {path}: expected a .npy file; write one with np.save")
    return read_numpy(Path(path), ["y"], "a .npy file of the right classes")[0]


def read_labels(path: str, classes: Collection[int]) -> list[str]:
    """Read class names, one per line; their number must be one of ``classes``."""
    names = read_lines(path)
    if len(names) not in classes:
        has = f"{' or '.join(map(str, sorted(classes)))} classes; give one name per line"
        has = has if classes else "no class output; leave out --labels"
        raise InputError(f"{path}: found {quantity(len(names), 'label')}, the model has {has}")
    return names


def label_counts(model: Model) -> set[int]:
    """How many labels could name the classes of one of the model's outputs."""
    return {class_count(shape) for shape in model.output_shapes} - {0}


def read_lines(path: str) -> list[str]:
    """Class names, one per line."""
    return _read_text(path, "a text file of class names, one per line").rstrip().splitlines()


def read_preprocessing(name: str) -> Any:
    """The name of a preset, or what a .json file has."""
    if name in PRESETS:
        return name
    if not name.endswith(".json"):
        raise InputError(f"--preprocess {name}: expected {', '.join(PRESETS)}, or a .json file")
    try:
        return json.loads(_read_text(name, f"a file of JSON, or {', '.join(PRESETS)}"))
    except (ValueError, RecursionError) as error:
        if isinstance(error, BnnError):
            raise
        raise InputError(f'{name}: not JSON: {error}; expected an object like {{"scale": 255}}') from None


def _read_text(path: str, expected: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a UTF-8 text file: {error}; expected {expected}") from None
    except OSError as error:
        raise unreadable(path, error, expected) from None


def read_arrays(model: Reads, files: Sequence[str], reading: InputOptions) -> list[Inputs]:
    """One array (N, *shape) per input of the model, with the images of all files and folders in order.

    Raises InputError with the file, what was found in it, what was expected, and the option that would help.
    """
    parts = [arrays for _, arrays in read_batches(model, files, reading)]
    return joined(parts)


def read_batches(
    model: Reads,
    files: Sequence[str],
    reading: InputOptions,
    skipped: dict[str, str] | None = None,
    read: Callable[[int], object] = int,
    most: int | None = None,
) -> Iterator[tuple[list[str], list[Inputs]]]:
    """The images' names and arrays, at least one batch; a file of arrays is never cut.

    Args:
        skipped: takes pictures that cannot be used, and why; without it, and if there is nothing else, they are errors.
        read: called with the number of files that were read.
        most: pictures in a batch; by default, as many as take little memory.
    """
    losses: dict[str, list[str]] = {}
    names: list[str] = []
    parts: list[list[Inputs]] = []
    count = most or images_together(model)
    first: InputError | ModelFileError | None = None
    some = False
    listed = list(_files(files))
    for file, found in listed:
        try:
            arrays = read_file(model, file, reading, losses)
            stored = Path(file).suffix in _STORED
            names += [f"{file}[{i}]" for i in range(len(arrays[0]))] if stored else [file]
            parts.append(arrays)
        except (Unusable, ModelFileError) as error:
            if skipped is None or len(listed) == 1 or not (found or isinstance(error, Unusable)):
                raise
            first = first or error
            skipped[file] = str(error).removeprefix(f"{file}: ")
            note(f"bnn: skipped: {error}")
        read(1)
        if len(names) >= count:
            some = True
            yield names, joined(parts)
            names, parts = [], []
    if first is not None and not parts and not some:
        raise first
    if parts or not some:
        yield names, joined(parts)
    note_losses({loss: (where[0], len(where)) for loss, where in losses.items()})


def note_losses(losses: Mapping[str, tuple[str, int]]) -> None:
    """Print what reading pictures lost: each loss with the first picture and the number of pictures."""
    for loss, (first, count) in losses.items():
        more = f" and {quantity(count - 1, 'other')}" if count > 1 else ""
        note(f"bnn: note: {first}{more}: {loss}")


def images_together(model: Reads) -> int:
    """The number of images that take little memory."""
    return max(min(_BATCH_BYTES // (4 * math.prod(model.input_shapes[0])), _BATCH_IMAGES), 1)


def joined(parts: Sequence[list[Inputs]]) -> list[Inputs]:
    """The batches of each input as one."""
    return parts[0] if len(parts) == 1 else [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def _files(given: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Files, and the pictures of folders; whether it was found in a folder."""
    for path in given:
        folder = os.path.isdir(path)
        yield from ((file, folder) for file in (in_folder(path) if folder else [path]))


def count_files(given: Sequence[str]) -> int:
    """Files, and pictures in folders."""
    return sum(1 for _ in _files(given))


def random_arrays(model: Model, count: int, seed: int) -> list[Inputs]:
    """``count`` random inputs: bytes, or multiples of 1/256 from -1 to 1, so that a sign of them has both values."""
    rng = np.random.default_rng(seed)
    shapes = [(count, *shape) for shape in model.input_shapes]
    return [
        rng.integers(-256, 257, shape).astype(np.float32) / 256 if dtype == np.float32
        else rng.integers(0, 256, shape, np.uint8).view(dtype)
        for shape, dtype in zip(shapes, model.input_dtypes, strict=True)
    ]  # fmt: skip


def read_file(
    model: Reads, file: str, reading: InputOptions, losses: dict[str, list[str]], content: bytes | Array | None = None
) -> list[Inputs]:
    """One file's arrays.  Adds what the conversion of images lost to ``losses``, with the files.

    ``content``: a picture's bytes, or an array, of that name, which then are not read from the file.
    """
    path = Path(file)
    names, shapes = model.input_names, model.input_shapes
    if len(names) > 1 and (path.suffix != ".npz" or content is not None):
        raise InputError(f"{file}: the model has {len(names)} inputs; give an .npz file with arrays {', '.join(names)}")
    first = model.layout == "NCHW"
    known = getattr(model, "preprocessing", None)  # networks over time have none
    channels = shapes[0][0 if first and len(shapes[0]) == 3 else -1] if shapes[0] else 1
    made = reading.over(known, channels)
    if isinstance(content, np.ndarray):
        arrays = [content]
    elif path.suffix in _STORED and content is None:
        arrays = read_numpy(path, names)
    else:
        arrays = [_picture(model, path, made, losses, content)]
    return [
        _fit(array, shape, dtype, file, reading, known, made, first)
        for array, shape, dtype in zip(arrays, shapes, model.input_dtypes, strict=True)
    ]


def read_picture(model: Model, picture: str | os.PathLike[str] | bytes) -> Inputs:
    """A picture as the input of a network, read as ``bnn run`` reads it: upright, with the network's channels, and of
    its size and values as the file's preprocessing says.

    Args:
        model: what it is for: a network with one input, an image.
        picture: the path of an image file, such as .png or .jpg; or what such a file contains.

    Returns:
        (1, *shape), float32, or the bytes that the network reads.

    Raises:
        InputError: no such file; a damaged picture, one of another size where the file does not say how to fit it, or
            values that nothing says how to scale.
        InputTypeError: an argument of another type.
        SetupError: the extra ``cli`` is not installed.
    """
    if not isinstance(model, Model):
        raise InputTypeError(f"model: found {shown(model)}, expected a compiled model: bnn.load(path)")
    if not isinstance(picture, (str, os.PathLike, bytes)):
        raise InputTypeError(f"picture: found {shown(picture)}, expected the path of an image file, or its bytes")
    if len(model.input_names) != 1:
        raise InputError(f"model: found {len(model.input_names)} inputs, expected a network with one")
    content = picture if isinstance(picture, bytes) else None
    file = "picture" if isinstance(picture, bytes) else os.fspath(picture)
    if file.lower().endswith(_STORED):
        raise InputError(f"{file}: found an array, expected a picture; read it with np.load")
    try:
        return read_file(model, file, InputOptions(None, 0, False), {}, content)[0]
    except (OtherSize, InputTypeError):
        if model.preprocessing is not None:
            raise
        # Not --scale and --resize, which are options of commands.
        how = "how pixels become its input; compile it with preprocess= (--preprocess)"
        raise InputError(f"{file}: the network's file does not say {how}") from None


def _picture(
    model: Reads, path: Path, made: Preprocessing, losses: dict[str, list[str]], content: bytes | None
) -> Array:
    """An image file as the model's first input, with its channels where the model has them."""
    shape = model.input_shapes[0]
    if content is None and path.suffix in _TEXTS and path.is_file():
        read = f"np.loadtxt({str(path)!r}, dtype=np.float32{_TEXTS[path.suffix]}).reshape{(-1, *shape)}"
        raise Unusable(f"{path}: a text file, expected {EXPECTED}; numbers: np.save({f'{path.stem}.npy'!r}, {read})")
    if model.input_dtypes[0] == np.int8:
        raise InputError(
            f"{path}: the model reads int8, which pictures are not; convert the .tflite file with inference_input_type="
            "tf.float32 or tf.uint8, or give a .npy file of int8"
        )
    first = model.layout == "NCHW" and len(shape) == 3
    try:
        image = decode(path, (*shape[1:], shape[0]) if first else shape, made, losses, content)
    except OtherSize as error:
        if made.scale is not None or model.input_dtypes[0] != np.float32:
            raise
        raise OtherSize(f"{error}, and {_SCALE}") from None  # what would be asked for next
    if model.input_dtypes[0] == np.uint8:  # nothing else is done to them
        image = made.apply(image)
    return np.moveaxis(image, -1, 0) if first else image


def read_over_time(
    file: str, names: Sequence[str], shapes: Sequence[Shape], images: str = ""
) -> Iterator[dict[str, Array]]:
    """The samples of a .npy or .npz file, each (T, *shape) per input; the file has one, or (T, N, *shape).  ``images``:
    what to add for images, for messages."""
    path = Path(file)
    if not names:
        raise InputError(f"{file}: the network has no input, expected one")
    if path.suffix not in (".npy", ".npz"):
        raise InputError(f"{file}: expected .npy or .npz" + (f"; for image files add {images}" if images else ""))
    if len(names) > 1 and path.suffix != ".npz":
        raise InputError(f"{file}: the network has {len(names)} inputs; give an .npz file with {', '.join(names)}")
    found = []
    for name, shape, array in zip(names, shapes, read_numpy(path, names), strict=True):
        one, rank = array.ndim - len(shape) == 1, len(shape)
        if array.ndim - rank not in (1, 2) or array.shape[array.ndim - rank :] != shape:
            sizes = ", ".join(map(str, shape))
            hint = f"; for images add {images}" if images and array.shape == shape else ""
            raise InputError(
                f"{file}: input '{name}': found shape {array.shape}, expected (steps, {sizes}) or "
                f"(steps, samples, {sizes}){hint}"
            )
        if array.dtype.kind not in "biuf":
            raise InputTypeError(f"{file}: input '{name}': found dtype {array.dtype}, expected numbers")
        found.append(array[:, None] if one else array)
    counts = {array.shape[1] for array in found}
    if len(counts) > 1:
        raise InputError(f"{file}: found {sorted(counts)} samples, expected one number for all inputs")
    for axis, what in enumerate(("step", "sample")):
        if not all(array.shape[axis] for array in found):
            raise InputError(f"{file}: found no {what}, expected at least one")
    for i in range(counts.pop()):
        yield {name: array[:, i] for name, array in zip(names, found, strict=True)}


def read_numpy(path: Path, names: Sequence[str], expected: str = EXPECTED) -> list[Array]:
    """The array of a .npy file, or those of a .npz file for the inputs with these names; ``expected``: for errors."""

    def choose(found: list[str]) -> list[str]:
        if path.suffix == ".npy":
            raise InputError(f"{path}: an archive of arrays, not one array; rename it to .npz")
        wanted = list(names)
        if len(names) == 1 and names[0] not in found:  # read the only array, or the one called x or inputs
            wanted = found if len(found) == 1 else ["inputs" if "inputs" in found and "x" not in found else "x"]
        if any(name not in found for name in wanted):
            listed, expected = ", ".join(found) or "none", ", ".join(names)
            raise InputError(f"{path}: found arrays {listed}; expected the names of the inputs: {expected}")
        return wanted

    try:
        loaded = load(path, choose)
    except OSError as error:
        raise unreadable(path, error, expected) from None
    if isinstance(loaded, dict):
        return list(loaded.values())
    if path.suffix == ".npz":
        raise InputError(f"{path}: one array, not an archive of arrays; rename it to .npy")
    return [loaded]


def _fit(
    array: Array, shape: Shape, dtype: np.dtype[Any], file: str, reading: InputOptions, known: Preprocessing | None,
    made: Preprocessing, first: bool,
) -> Inputs:  # fmt: skip
    """(N, *shape): float32 and scaled, or bytes; an image without a batch dimension becomes a batch of one."""
    if array.dtype.kind in "iuf":
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.shape == shape:
        array = array[None]
    if array.dtype.names is not None:
        raise InputTypeError(f"{file}: found an array of events ({', '.join(array.dtype.names)}), expected numbers; "
                             "recordings are for bnn events --mode recording and bnn snn run --recording")  # fmt: skip
    if array.shape[1:] != shape:
        expected = f"{batched(shape)} or one image {shape}{shape_hint(array.shape, shape)}"
        raise InputError(f"{file}: found shape {array.shape}, expected {expected}")
    if array.dtype.kind not in "biuf":
        raise InputTypeError(f"{file}: found dtype {array.dtype}, expected numbers")
    if dtype != np.float32:
        if array.dtype != dtype:
            hint = ", the type of image files"
            if dtype == np.int8:
                meant = "of a .tflite file, round(x / scale) + zero point (bnn inspect shows both)"
                hint = f"; give a .npy file of int8: {meant}"
            raise InputTypeError(f"{file}: contains {array.dtype} but the model reads {dtype}{hint}")
        if reading.scales:
            raise InputTypeError(f"{file}: the model scales the bytes itself; leave out --scale and --offset")
        return np.ascontiguousarray(array)
    _check_floats(array, file, reading, known, made)
    with np.errstate(all="ignore"):  # overflow is an error below
        if array.dtype.kind != "f":
            moves = first and array.ndim > 2
            result = made.apply(np.moveaxis(array, 1, -1) if moves else array)
            result = np.moveaxis(result, -1, 1) if moves else result
        else:
            result = array.astype(np.float32, copy=False)
            if reading.scale is not None:
                result = result / np.float32(reading.scale)
            if reading.offset:
                result = result + np.float32(reading.offset)
    if result is not array and np.any(np.isfinite(array) & ~np.isfinite(result)):
        raise InputError(
            f"{file}: found values that are too large for float32 when divided by {reading.scale or 1:g}; expected "
            "--scale DIVISOR and --offset X as in training"
        )
    return np.ascontiguousarray(result)


def _check_floats(
    array: Array, file: str, reading: InputOptions, known: Preprocessing | None, made: Preprocessing
) -> None:
    """Refuse pixels if neither the file nor an option says how they become a float network's input.

    Integers are pixels.  Floats are the network's own inputs, unless they look like pixels: whole numbers above 1.
    Such arrays are refused if they are float64, which nobody makes for a network, or if the file scales pixels.
    """
    if reading.scale is not None or (array.dtype.kind != "f" and made.scale is not None):
        return
    scaled = known is not None and known.scale is not None and (known.scale != 1 or known.mean or known.std)
    pixels = array.dtype.kind != "f"
    if array.dtype.kind == "f" and (scaled or array.dtype != np.float32):
        pixels = bool(np.max(array, initial=0) > 1) and not np.any(array != np.rint(array))
    if not pixels:
        return
    if scaled:
        raise InputTypeError(
            f"{file}: contains whole numbers as {array.dtype}, probably pixels, which would not be scaled; save them "
            "as uint8, or give --scale 1 if they are the network's own inputs"
        )
    like = ", whole numbers like pixels," if array.dtype.kind == "f" else ""
    raise InputTypeError(f"{file}: contains {array.dtype}{like} but the model reads float32; give {_SCALE}")
