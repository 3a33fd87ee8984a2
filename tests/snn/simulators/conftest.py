# SPDX-License-Identifier: Apache-2.0
"""Simulators that are not installed are skipped, with the reason."""

from __future__ import annotations

import pytest

from bnn.snn.simulators import SIMULATORS

from .importers import why_not


@pytest.fixture(params=list(SIMULATORS))
def simulator(request: pytest.FixtureRequest) -> str:
    reason = why_not(request.param)
    if reason:
        pytest.skip(reason)
    return str(request.param)
