# SPDX-License-Identifier: Apache-2.0
"""Check arguments that are not arrays.  Each function returns the value, or raises InputTypeError for a wrong type and
InputError for a wrong value, with the argument's name, what was found and what is expected."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, TypeVar

import numpy as np

from .errors import EnvironmentVariableError, InputError, InputTypeError

T = TypeVar("T")

MOST_THREADS = 256

_LONGEST = 80  # characters of a value in a message


def shown(value: object) -> str:
    """A value in a message: short ones as they are written, others by their type."""
    if value is None or isinstance(value, (bool, int, float, str, bytes, np.number, np.bool_)):
        try:
            text = repr(value)
        except ValueError:  # a whole number of thousands of digits
            return "a huge number"
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    if isinstance(value, PurePath):
        return shown(str(value))
    name = type(value).__name__
    return f"{name} of shape {value.shape}" if isinstance(value, np.ndarray) else name


def check_count(value: object, what: str, most: int = 2**31 - 1, least: int = 1) -> int:
    """A whole number from ``least`` to ``most``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InputTypeError(f"{what}: found {shown(value)}, expected a whole number")
    if not least <= value <= most:
        raise InputError(f"{what}: found {shown(value)}, expected {least} to {most}")
    return int(value)


def check_threads(value: object) -> int:
    """A number of threads; None: BNN_THREADS, or 1."""
    if value is not None:
        return check_count(value, "threads", MOST_THREADS)
    text = os.environ.get("BNN_THREADS") or "1"
    if not text.strip().isdecimal() or not 1 <= int(text) <= MOST_THREADS:
        raise EnvironmentVariableError(
            f"environment variable BNN_THREADS: found {text!r}, expected a whole number from 1 to {MOST_THREADS}"
        )
    return int(text)


def check_number(value: object, what: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InputTypeError(f"{what}: found {shown(value)}, expected a number")
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond the range of float
        number = np.inf
    if not np.isfinite(number):
        raise InputError(f"{what}: found {shown(value)}, expected a finite number")
    return number


def check_flag(value: object, what: str) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputTypeError(f"{what}: found {shown(value)}, expected True or False")
    return bool(value)


def check_choice(value: object, what: str, choices: Sequence[str]) -> str:
    """One of some names."""
    if not isinstance(value, str) or value not in choices:
        kind = InputError if isinstance(value, str) else InputTypeError
        raise kind(f"{what}: found {shown(value)}, expected one of {', '.join(choices)}")
    return value


def check_text(value: object, what: str, expected: str = "a text") -> str:
    """A text; ``expected``: what it should say."""
    if not isinstance(value, str):
        raise InputTypeError(f"{what}: found {shown(value)}, expected {expected}")
    return value


def check_kind(value: object, what: str, kind: type[T], expected: str) -> T:
    """An object of a class; ``expected``: in words, with how to get one."""
    if not isinstance(value, kind):
        has = isinstance(getattr(value, "__dict__", {}).get("model"), kind)  # as what bnn.calibrate returns
        hint = "; give its .model" if has else ""
        raise InputTypeError(f"{what}: found {shown(value)}, expected {expected}{hint}")
    return value


def check_callable(value: Any, what: str) -> Any:
    """None, or a function."""
    if value is not None and not callable(value):
        raise InputTypeError(f"{what}: found {shown(value)}, expected a function, or None")
    return value
