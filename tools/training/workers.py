# SPDX-License-Identifier: Apache-2.0
"""The processes that train one network together, as TF_CONFIG in the environment names them.

TensorFlow's MultiWorkerMirroredStrategy: each takes its share of every batch, and all add up their gradients.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from training import UserError

_EXPECTED = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Workers:
    """How many there are, and which of them this process is; number 0 writes the files."""

    count: int = 1
    number: int = 0

    @staticmethod
    def from_environment() -> Workers:
        """Raises UserError if TF_CONFIG is not what TensorFlow expects."""
        text = os.environ.get("TF_CONFIG")
        if not text:
            return Workers()
        try:
            record = json.loads(text)
            kinds = {kind: list(record["cluster"].get(kind, ())) for kind in ("chief", "worker")}
            kind, index = record["task"]["type"], int(record["task"]["index"])
            count, number = sum(map(len, kinds.values())), index + (len(kinds["chief"]) if kind == "worker" else 0)
            if not 0 <= index < len(kinds[kind]):
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"TF_CONFIG: found {text[:200]}, expected {_EXPECTED}") from None
        return Workers(count, number)

    def strategy(self, tf: Any) -> Any:
        """Connects this process with the others; before TensorFlow has computed anything."""
        return tf.distribute.MultiWorkerMirroredStrategy() if self.count > 1 else tf.distribute.get_strategy()

    def meet(self, tf: Any, strategy: Any) -> None:
        """Wait until all are here."""
        if self.count > 1:
            strategy.reduce("SUM", strategy.run(tf.function(lambda: tf.constant(1.0))), axis=None)
