"""Read a model's inputs from files: .npy, .npz and images."""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from .._arrays import Inputs, Shape, batched
from ..errors import BnnError, InputError, InputTypeError
from ..runtime import Model

Array = np.ndarray[Any, Any]

# How many channels a model reads, and the Pillow mode that has them.
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Modes with 8 bits a channel; others (16 bits, float) would lose some in silence.
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB")


@dataclass(frozen=True)
class Reading:
    """What is done to what was read: value / scale + offset; images are resized first if asked."""

    scale: float | None
    offset: float
    resize: bool


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options --scale, --offset and --resize, handed on as one argument ``reading``."""

    @functools.wraps(command)
    def checked(*args: Any, scale: float | None, offset: float, resize: bool, **options: Any) -> Any:
        if scale is not None and not (np.isfinite(scale) and scale != 0):
            raise click.BadParameter(f"found {scale}, expected a number other than 0", param_hint="--scale")
        if not np.isfinite(offset):
            raise click.BadParameter(f"found {offset}, expected a finite number", param_hint="--offset")
        return command(*args, reading=Reading(scale, offset, resize), **options)

    resized = click.option("--resize", is_flag=True, help="Resize images.  Default: they must have the model's size.")
    added = click.option("--offset", metavar="X", type=float, default=0.0, help="Add this after dividing.  Default: 0.")
    divided = click.option("--scale", metavar="DIVISOR", type=float, help="Divide by this, as in training.")
    return divided(added(resized(checked)))


def read_arrays(model: Model, files: Sequence[str], reading: Reading) -> list[Inputs]:
    """One array (N, *shape) per input of the model; the files' images follow each other.

    Raises InputError naming the file, what was found in it, what was expected, and the option that would help.
    """
    parts = [_read(model, file, reading) for file in files]
    return [np.concatenate([part[i] for part in parts]) for i in range(len(model.input_shapes))]


def _read(model: Model, file: str, reading: Reading) -> list[Inputs]:
    path = Path(file)
    names, shapes = model.input_names, model.input_shapes
    if path.suffix == ".npz":
        arrays = _npz(path, names)
    elif len(names) > 1:
        raise InputError(f"{file}: the model has {len(names)} inputs; give an .npz file with arrays {', '.join(names)}")
    elif path.suffix == ".npy":
        arrays = [_load(path)]
    else:
        arrays = [_image(path, shapes[0], reading)]
    return [
        _fit(array, shape, dtype, file, reading)
        for array, shape, dtype in zip(arrays, shapes, model.input_dtypes, strict=True)
    ]


def _load(path: Path) -> Any:
    try:
        loaded = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a NumPy file: {error}") from None
    return loaded


def _npz(path: Path, names: Sequence[str]) -> list[Array]:
    archive = _load(path)
    if isinstance(archive, np.ndarray):
        raise InputError(f"{path}: one array, not an archive of arrays; name it .npy")
    with archive:
        wanted = list(names)
        if len(names) == 1 and names[0] not in archive.files:  # then the only array, or the one called x
            wanted = archive.files if len(archive.files) == 1 else ["x"]
        if any(name not in archive.files for name in wanted):
            found = ", ".join(archive.files) or "none"
            raise InputError(f"{path}: found arrays {found}; expected them named as the inputs: {', '.join(names)}")
        try:
            return [archive[name] for name in wanted]
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: damaged: {error}") from None


def _fit(array: Array, shape: Shape, dtype: np.dtype[Any], file: str, reading: Reading) -> Inputs:
    """(N, *shape): float32 and scaled, or bytes; one image without a batch dimension is taken as a batch of one."""
    if array.shape == shape:
        array = array[None]
    if array.shape[1:] != shape:
        raise InputError(f"{file}: found shape {array.shape}, expected {batched(shape)} or one image {shape}")
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_) or np.iscomplexobj(array):
        raise InputTypeError(f"{file}: found dtype {array.dtype}, expected numbers")
    if dtype == np.uint8:
        if array.dtype != dtype:
            raise InputTypeError(f"{file}: holds {array.dtype} and the model reads uint8, as images hold it")
        if reading.scale is not None or reading.offset:
            raise InputTypeError(f"{file}: the model scales the bytes itself; leave --scale and --offset out")
        return np.ascontiguousarray(array)
    if reading.scale is None and array.dtype != np.float32:
        raise InputTypeError(
            f"{file}: holds {array.dtype} and a model reads float32; give --scale DIVISOR, by which the values were "
            "divided in training (often 255), or --scale 1"
        )
    result = array.astype(np.float32, copy=False)
    if reading.scale is not None:
        result = result / np.float32(reading.scale)
    if reading.offset:
        result = result + np.float32(reading.offset)
    return np.ascontiguousarray(result)


def _image(path: Path, shape: Shape, reading: Reading) -> Array:
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise InputError(f"{path}: reading images needs Pillow: pip install 'bnn[cli]'") from None
    if len(shape) != 3 or shape[2] not in _MODES:
        raise InputError(f"{path}: the model reads {batched(shape)}, which is not an image; give a .npy file")
    height, width, channels = shape
    try:
        with Image.open(path) as opened:
            if opened.mode not in _EIGHT_BITS:
                raise InputError(f"{path}: pixels of mode {opened.mode}; convert them to 8 bits, or to a .npy file")
            image = ImageOps.exif_transpose(opened).convert(_MODES[channels])
    except UnidentifiedImageError:
        raise InputError(f"{path}: not an image that Pillow can read, and not .npy or .npz") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: {error}") from None
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, (FileNotFoundError, IsADirectoryError, PermissionError, BnnError)):
            raise
        raise InputError(f"{path}: damaged image: {error}") from None
    if image.size != (width, height):
        if not reading.resize:
            raise InputError(
                f"{path}: the image is {image.size[0]} x {image.size[1]}, the model reads {width} x {height} "
                "(width x height); give --resize to resize it"
            )
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(shape)
