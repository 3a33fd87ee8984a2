# SPDX-License-Identifier: Apache-2.0
"""Read a model's inputs from files: .npy, .npz and images."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click
import numpy as np

from .._distribution import install
from .._types import Array
from ..errors import BnnError, InputError, InputTypeError, ModelFileError
from ..runtime import Model
from ..runtime.arrays import Inputs, Shape, batched
from ..runtime.files import file_error
from ..runtime.numpy_files import load, most_unpacked
from ..runtime.progress import note
from ..runtime.report import quantity
from ..runtime.use import PRESETS

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


# The number of channels that a model reads, and the Pillow mode with the same number.
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Modes with 8 bits per channel; others (16 bits, float) would silently lose bits.
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB")
# Other formats are programs (PostScript) or not pictures.
_FORMATS = ("AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP")
_EXPECTED = "an array (.npy, .npz) or an image file"


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
class Reading:
    """How values are transformed: value / scale + offset; images are resized first if requested."""

    scale: float | None
    offset: float
    resize: bool


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options --scale, --offset and --resize, passed on as one argument ``reading``."""

    @functools.wraps(command)
    def checked(*args: Any, scale: float | None, offset: float, resize: bool, **options: Any) -> Any:
        check_scaling(1 if scale is None else scale, offset)
        return command(*args, reading=Reading(scale, offset, resize), **options)

    resized = click.option("--resize", is_flag=True, help="Resize images.  Default: they must have the model's size.")
    added = click.option("--offset", metavar="X", type=float, default=0.0, help="Add this after dividing.  Default: 0.")
    divided = click.option("--scale", metavar="DIVISOR", type=float,
                           help="Divide all inputs by this, including float arrays, as in training.")  # fmt: skip
    return divided(added(resized(checked)))


def check_scaling(scale: float, offset: float) -> None:
    """Refuse numbers that float32, the type of the computation, does not have: one that is not 0 may be 0 there."""
    with np.errstate(all="ignore"):
        divisor, added = np.float32(scale), np.float32(offset)
    if not np.isfinite(divisor) or divisor == 0:
        raise click.BadParameter(f"found {scale}, expected a finite float32 that is not 0", param_hint="--scale")
    if not np.isfinite(added):
        raise click.BadParameter(f"found {offset}, expected a finite float32", param_hint="--offset")


def read_labels(path: str, classes: Collection[int]) -> list[str]:
    """Read class names, one per line; their number must be one of ``classes``."""
    names = read_lines(path)
    if len(names) not in classes:
        expected = f"{' or '.join(map(str, sorted(classes)))} classes" if classes else "no class output"
        raise InputError(f"{path}: found {quantity(len(names), 'label')}, the model has {expected}; one per line")
    return names


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
        raise InputError(f"{name}: not JSON: {error}") from None


def _read_text(path: str, expected: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a UTF-8 text file: {error}") from None
    except OSError as error:
        raise _unreadable(path, error, expected) from None


def read_arrays(model: Reads, files: Sequence[str], reading: Reading) -> list[Inputs]:
    """One array (N, *shape) per input of the model, with the images of all files in order.

    Raises InputError with the file, what was found in it, what was expected, and the option that would help.
    """
    losses: dict[str, list[str]] = {}
    parts = [_read(model, file, reading, losses) for file in files]
    for loss, where in losses.items():
        more = f" and {quantity(len(where) - 1, 'other')}" if len(where) > 1 else ""
        note(f"bnn: note: {where[0]}{more}: {loss}")
    return [np.concatenate([part[i] for part in parts]) for i in range(len(model.input_shapes))]


def random_arrays(model: Model, count: int, seed: int) -> list[Inputs]:
    """``count`` random inputs: bytes, or multiples of 1/256 from -1 to 1, so that a sign of them has both values."""
    rng = np.random.default_rng(seed)
    shapes = [(count, *shape) for shape in model.input_shapes]
    return [
        rng.integers(-256, 257, shape).astype(np.float32) / 256 if dtype == np.float32
        else rng.integers(0, 256, shape, np.uint8).view(dtype)
        for shape, dtype in zip(shapes, model.input_dtypes, strict=True)
    ]  # fmt: skip


def _unreadable(path: str | Path, error: OSError, expected: str) -> ModelFileError:
    return file_error(str(path), error.errno or 0, "opened", error.strerror or str(error), f"expected {expected}")


def _read(model: Reads, file: str, reading: Reading, losses: dict[str, list[str]]) -> list[Inputs]:
    """One file's arrays.  Adds what the conversion of images lost to ``losses``, with the files."""
    path = Path(file)
    names, shapes = model.input_names, model.input_shapes
    if len(names) > 1 and path.suffix != ".npz":
        raise InputError(f"{file}: the model has {len(names)} inputs; give an .npz file with arrays {', '.join(names)}")
    stored = path.suffix in (".npy", ".npz")
    arrays = read_numpy(path, names) if stored else [_picture(model, path, reading, losses)]
    return [
        _fit(array, shape, dtype, file, reading)
        for array, shape, dtype in zip(arrays, shapes, model.input_dtypes, strict=True)
    ]


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


def read_numpy(path: Path, names: Sequence[str]) -> list[Array]:
    """The array of a .npy file, or those of a .npz file for the inputs with these names."""

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
        raise _unreadable(path, error, _EXPECTED) from None
    if isinstance(loaded, dict):
        return list(loaded.values())
    if path.suffix == ".npz":
        raise InputError(f"{path}: one array, not an archive of arrays; rename it to .npy")
    return [loaded]


def _fit(array: Array, shape: Shape, dtype: np.dtype[Any], file: str, reading: Reading) -> Inputs:
    """(N, *shape): float32 and scaled, or bytes; an image without a batch dimension becomes a batch of one."""
    if array.dtype.kind in "iuf":
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.shape == shape:
        array = array[None]
    if array.shape[1:] != shape:
        raise InputError(f"{file}: found shape {array.shape}, expected {batched(shape)} or one image {shape}")
    if array.dtype.kind not in "biuf":
        raise InputTypeError(f"{file}: found dtype {array.dtype}, expected numbers")
    if dtype != np.float32:
        if array.dtype != dtype:
            hint = ", the type of image files"
            if dtype == np.int8:
                hint = "; convert it like the training data, and give a .npy file of int8 (often the bytes minus 128)"
            raise InputTypeError(f"{file}: contains {array.dtype} but the model reads {dtype}{hint}")
        if reading.scale is not None or reading.offset:
            raise InputTypeError(f"{file}: the model scales the bytes itself; leave out --scale and --offset")
        return np.ascontiguousarray(array)
    if reading.scale is None and array.dtype != np.float32:
        raise InputTypeError(
            f"{file}: contains {array.dtype} but the model reads float32; give --scale DIVISOR, the number by which "
            "the values were divided in training (often 255), or --scale 1"
        )
    with np.errstate(all="ignore"):  # overflow is an error below
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


def _picture(model: Reads, path: Path, reading: Reading, losses: dict[str, list[str]]) -> Array:
    """An image file as the model's first input, with its channels where the model has them."""
    shape = model.input_shapes[0]
    if model.layout == "NHWC" or len(shape) != 3:
        return _image(path, shape, reading, losses)
    return np.moveaxis(_image(path, (*shape[1:], shape[0]), reading, losses), -1, 0)


def _image(path: Path, shape: Shape, reading: Reading, losses: dict[str, list[str]]) -> Array:
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise InputError(f"{path}: reading images needs Pillow: {install('cli')}") from None
    if len(shape) != 3 or shape[2] not in _MODES:
        raise InputError(f"{path}: the model reads {batched(shape)}, which is not an image; give a .npy file")
    height, width, channels = shape
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # this module has its own limit
            with Image.open(path) as opened:
                _check_picture(path, opened, shape, reading)
                if opened.mode not in _EIGHT_BITS:
                    raise InputError(f"{path}: has mode {opened.mode}; convert it to 8 bits or to a .npy file")
                upright = ImageOps.exif_transpose(opened)
                for loss in _losses(upright, channels, getattr(opened, "n_frames", 1)):
                    losses.setdefault(loss, []).append(str(path))
                image = upright.convert(_MODES[channels])
    except UnidentifiedImageError:
        raise InputError(f"{path}: not an image that Pillow can read, and not .npy or .npz") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: {error}") from None
    except BnnError:
        raise
    except MemoryError:
        raise InputError(f"{path}: its pixels need more memory than is available; give a smaller image") from None
    except Exception as error:  # Pillow may raise anything; the caller wants one kind
        if isinstance(error, OSError) and error.errno:  # the file is wrong, not the image
            raise _unreadable(path, error, _EXPECTED) from None
        raise InputError(f"{path}: damaged image: {str(error) or type(error).__name__}") from None
    if image.size != (width, height):
        if not reading.resize:  # it was rotated upright
            raise _other_size(path, image.size, shape)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(shape)


def _check_picture(path: Path, opened: Picture, shape: Shape, reading: Reading) -> None:
    """Check an image's header before its pixels are decoded."""
    if opened.format not in _FORMATS:
        raise InputError(f"{path}: has format {opened.format}, expected one of {', '.join(_FORMATS)}")
    if not reading.resize and sorted(opened.size) != sorted(shape[:2]):
        raise _other_size(path, opened.size, shape)
    size, unpacked = path.stat().st_size, opened.size[0] * opened.size[1] * len(opened.getbands())
    if unpacked > most_unpacked(size):
        most = f"{most_unpacked(size):,}; give a smaller image"
        raise InputError(f"{path}: {size:,} bytes that unpack to {unpacked:,}, expected at most {most}")


def _other_size(path: Path, found: tuple[int, int], shape: Shape) -> InputError:
    return InputError(
        f"{path}: the image is {found[0]} x {found[1]}, the model reads {shape[1]} x {shape[0]} (width x height); give "
        "--resize to resize it"
    )


def _losses(image: Picture, channels: int, frames: int) -> list[str]:
    """The parts of an image that are not read: other frames; transparency, unless all pixels are opaque; colours,
    unless all are grey."""
    losses = ["only the first of several pictures in the file is read"] if frames > 1 else []
    transparent = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    if channels < 4 and transparent and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        losses.append(f"transparency is dropped because the model reads {quantity(channels, 'channel')}")
    if channels == 1 and image.mode not in ("1", "L", "LA"):
        red, green, blue = (channel.tobytes() for channel in image.convert("RGB").split())
        if not red == green == blue:
            losses.append("colours become grey because the model reads 1 channel")
    return losses
