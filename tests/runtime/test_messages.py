# SPDX-License-Identifier: Apache-2.0
"""Every text with which the runtime refuses a file is expected by a test, word for word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bnn.runtime.build import sources

ROOT = Path(__file__).resolve().parents[2]
TESTS = [
    Path(__file__).with_name(f"test_{name}.py") for name in ("corruptions", "limits", "op_checks", "arguments", "use")
]
TESTS += [ROOT / "tests" / "snn" / f"test_{name}.py" for name in ("corruptions", "events", "feedback")]
SOURCES = [path for path in sources("core") if not path.startswith("csrc/coding/")]
CALLS = (
    r"(?:WANT|CHECK|BNN_NAMES|bnn_fail|bnn_report|\w+_error|bnn_missing|read_string"
    r"|bnn_check_dtype|bnn_check_operand)\("
)
# What a text begins with, before the name and the number.
KINDS = {"header", "tensor", "op", "input", "output", "file", "kernels", "memory", "model", "bytes", "selection", "net"}
# What cannot happen where size_t has 64 bits.
ELSEWHERE = {"csrc/ops/batch.c": {"channels"}, "csrc/model/model.c": {"bytes it needs in memory overflow (1: yes)"}}


def messages(source: str) -> set[str]:
    """The texts of a C source file: those it hands to what reports, those of tables of them, and those it returns."""
    found = set(re.findall(r'\{(?:BNN_TEXT\()?"([^"]+)"', source))
    for line in re.findall(r"return ([^;]*);", source):
        found |= set(re.findall(r'"([^"]+)"', line))
    for call in re.finditer(CALLS, source):
        depth, end = 1, call.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(source[end], 0)
            end += 1
        found |= set(re.findall(r'"((?:[^"\\]|\\.)+)"', source[call.end() : end]))
    return found


@pytest.mark.parametrize("source", SOURCES)
def test_every_message_is_expected_somewhere(source: str) -> None:
    expected = "\n".join(path.read_text(encoding="utf-8") for path in TESTS)
    expected = expected.replace("[top|left|bottom|right]", "top") + "".join(
        f" padding at the {side};" for side in ("top", "left", "bottom", "right")
    )
    expected += "".join(f": number of {what};" for what in ("tensors", "ops", "inputs", "outputs"))
    missing = set()
    for text in messages((ROOT / source).read_text(encoding="utf-8")) - KINDS:
        if not any(words in expected for words in (f" {text};", f': {text}"', f'"{text}"')):
            missing.add(text)
    assert missing <= ELSEWHERE.get(source, set())
