# SPDX-License-Identifier: Apache-2.0
"""Score many inputs: in parts, each with a file of its own, so that a run goes on where another one ended.

A part is a number of pictures, or a row group of a Parquet file.  Its file gets its name once it is complete, so a part
is there as a whole or not at all, whoever was killed, and scoring it twice changes nothing.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import itertools
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .._distribution import install
from .._types import Array, Floats
from ..errors import BnnError, InputError, SetupError
from ..runtime import Model, load
from ..runtime.arrays import Inputs
from ..runtime.evaluation import class_count
from ..runtime.files import file_error, replacing
from ..runtime.handles import PORTABLE
from .inputs import InputOptions, images_together, joined, note_losses, read_file
from .pictures import Unusable, files_in, in_folder, unreadable

PLAN = "_plan.json"  # readers of a folder of Parquet files pass over it
_PARQUET = ".parquet"
_BLOCKS = 10_000  # that Ray keeps track of
Losses = dict[str, tuple[str, int]]  # each loss with the first picture and the number of pictures


@dataclass(frozen=True)
class ScorePart:
    """Pictures; or the rows of one row group of a Parquet file, from ``first`` on."""

    number: int
    rows: int
    files: tuple[str, ...]
    group: int = -1
    first: int = 0


@dataclass(frozen=True)
class Job:
    """What a worker does with a part: all that it needs besides.

    ``scores``: keep every score, not the best one alone.  ``column``: of Parquet files.
    """

    net: str
    output: str
    reading: InputOptions
    labels: tuple[str, ...] | None
    column: str | None
    scores: bool
    portable: bool
    threads: int | None

    def path(self, number: int) -> str:
        return os.path.join(self.output, f"part-{number:06d}{_PARQUET}")


def parquet() -> tuple[Any, Any]:
    """The modules (pyarrow, pyarrow.parquet)."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise SetupError(f"bnn score needs pyarrow ({error}); {install('score')}") from None
    return pyarrow, pyarrow.parquet


def find_parts(given: Sequence[str], rows: int, column: str | None) -> list[ScorePart]:
    """The parts of folders, patterns and files, in the order of their names; pictures in parts of ``rows``.

    Raises InputError if there is nothing, or a Parquet file has no such ``column``.
    """
    files = list(itertools.chain.from_iterable(map(_found, given)))
    kinds = {file.endswith(_PARQUET) for file in files}
    if len(kinds) > 1:
        raise InputError(f"--input: found Parquet files and pictures ({files[0]} first), expected one kind")
    if stored := [file for file in files if file.endswith((".npy", ".npz"))]:
        raise InputError(f"{stored[0]}: found an array, expected pictures or Parquet files; use bnn run for arrays")
    if kinds == {False} and column is not None:
        raise InputError(f"--column {column}: found pictures ({files[0]} first), expected Parquet files; leave it out")
    if kinds == {False}:
        cuts = [files[i : i + rows] for i in range(0, len(files), rows)]
        return [ScorePart(k, len(cut), tuple(cut)) for k, cut in enumerate(cuts)]
    parts: list[ScorePart] = []
    for file in files:
        opened = _opened(file)
        _picture_column(opened.schema_arrow, file, column)
        first, metadata = 0, opened.metadata
        for group in range(metadata.num_row_groups):
            count = metadata.row_group(group).num_rows
            parts.append(ScorePart(len(parts), count, (file,), group, first))
            first += count
    return parts


def _found(given: str) -> list[str]:
    if os.path.isdir(given):
        return sorted(files_in(given, {_PARQUET})) or in_folder(given)
    found = [given] if os.path.isfile(given) else sorted(filter(os.path.isfile, glob.glob(given, recursive=True)))
    if not found:
        raise InputError(f"--input {given}: found no file, expected a folder, a file, or a pattern like 'photos/*.jpg'")
    return found


def _opened(file: str) -> Any:
    pyarrow, pq = parquet()
    try:
        return pq.ParquetFile(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{file}: not a Parquet file that can be read: {error}; write it again") from None


def go_on(job: Job, parts: Sequence[ScorePart], rows_per_part: int) -> list[ScorePart]:
    """The parts that are still to be scored; writes the plan if this is the first run.

    Raises InputError if the folder holds results of another run.
    """
    digest = hashlib.sha256()
    for name in dict.fromkeys(itertools.chain.from_iterable(part.files for part in parts)):
        try:
            there = os.stat(name)
        except OSError as error:
            raise unreadable(name, error, "a file, or a link to one; remove it from the input") from None
        line = f"{os.path.realpath(name)}\0{there.st_size}\0{there.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    options = {k: v for k, v in asdict(job).items() if k not in ("net", "output", "threads")}
    plan = {
        "network": hashlib.sha256(Path(job.net).read_bytes()).hexdigest(), "input": digest.hexdigest(),
        "rows": sum(part.rows for part in parts), "parts": len(parts), "rows_per_part": rows_per_part,
        "options": json.loads(json.dumps(options)),
    }  # fmt: skip
    path = os.path.join(job.output, PLAN)
    try:
        os.makedirs(job.output, exist_ok=True)
    except OSError as error:
        raise file_error(job.output, error.errno or 0, "made", hint="give another folder") from None
    if os.path.exists(path):
        try:
            before = json.loads(Path(path).read_text(encoding="utf-8"))
            different = [key for key in plan if before.get(key) != plan[key]]
        except (ValueError, AttributeError):
            different = ["the plan is damaged"]
        if different:
            what = f"{job.output}: holds results of another run (other: {', '.join(different)})"
            raise InputError(f"{what}; give another folder, or empty it")
    elif os.listdir(job.output):
        raise InputError(f"{job.output}: is not empty, and holds no {PLAN}; give another folder")
    else:
        with replacing(path) as file:
            file.write(json.dumps(plan, indent=1).encode() + b"\n")
    return [part for part in parts if not os.path.exists(job.path(part.number))]


@contextmanager
def planned(job: Job, parts: Sequence[ScorePart], rows_per_part: int, take_back: bool) -> Iterator[list[ScorePart]]:
    """The parts that are still to be scored, for a block that scores them.

    ``take_back``: if the block fails while no part is there, remove the plan, so that the command, put right, begins;
    not where workers may outlive the block.  Every run locks its plan, so that none loses it to another.
    """
    path = os.path.join(job.output, PLAN)
    plan: BinaryIO | None = None
    while plan is None:
        todo = go_on(job, parts, rows_per_part)
        plan = _locked(path)
    with plan:
        try:
            yield todo
        except BaseException:
            if take_back:
                with suppress(OSError):  # another run has the lock, too; or there are no locks here
                    fcntl.flock(plan, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if _is_at(plan, path) and os.listdir(job.output) == [PLAN]:
                        os.remove(path)
            raise


def _locked(path: str) -> BinaryIO | None:
    """The plan, with a lock that all runs share; None if one took it back meanwhile."""
    try:
        plan = open(path, "rb")  # noqa: SIM115  the caller closes it
    except FileNotFoundError:
        return None
    with suppress(OSError):  # without locks, nobody takes it back
        fcntl.flock(plan, fcntl.LOCK_SH)
    if _is_at(plan, path):
        return plan
    plan.close()
    return None


def _is_at(plan: BinaryIO, path: str) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(plan.fileno()))
    except FileNotFoundError:
        return False


class Scorer:
    """A network, mapped into memory, and the parts that it scores."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._model = load(job.net, kernels=PORTABLE if job.portable else None)
        self._classes = output_classes(self._model)

    def score(self, part: ScorePart) -> Losses:
        """Write the part's file: a row per picture or row, in order.  Returns what reading the pictures lost."""
        count, losses = images_together(self._model), dict[str, list[str]]()
        errors: dict[int, str] = {}
        found: list[Floats] = []
        batch: list[list[Inputs]] = []
        for i, (name, value) in enumerate(self._values(part)):
            try:
                content = None if value is None else _content(value, self._model.input_shapes[0], name)
                batch.append(read_file(self._model, name, self._job.reading, losses, content))
            except Unusable as error:
                errors[i] = str(error).removeprefix(f"{name}: ")
            if len(batch) == count:
                found.append(self._run(batch))
                batch = []
        found += [self._run(batch)] if batch else []
        self._write(part, np.concatenate(found) if found else np.zeros((0, 1), np.float32), errors)
        return {loss: (where[0], len(where)) for loss, where in losses.items()}

    def _values(self, part: ScorePart) -> Iterator[tuple[str, Any]]:
        """(name, Arrow's value of the row; None: the name is a picture's file)"""
        if part.group < 0:
            yield from ((file, None) for file in part.files)
            return
        (file,) = part.files
        opened = _opened(file)
        column = _picture_column(opened.schema_arrow, file, self._job.column)
        row, types = part.first, parquet()[0].types
        batches = opened.iter_batches(images_together(self._model), row_groups=[part.group], columns=[column])
        for batch in batches:
            values = batch.column(0)
            for value in values.field("bytes") if types.is_struct(values.type) else values:
                yield f"{file}[{row}]", value
                row += 1

    def _run(self, batch: list[list[Inputs]]) -> Floats:
        result: Floats = self._model.predict(joined(batch), threads=self._job.threads)
        return result.reshape(len(result), -1)

    def _write(self, part: ScorePart, scores: Floats, errors: dict[int, str]) -> None:
        pyarrow, pq = parquet()
        good = np.array([i not in errors for i in range(part.rows)], bool)
        decided = good.copy()
        decided[good] = ~np.isnan(scores).any(axis=1)
        texts = [errors.get(i, None if ok else "its scores are not numbers") for i, ok in enumerate(decided)]
        if part.group < 0:
            columns: dict[str, Any] = {"file": pyarrow.array(part.files, pyarrow.string())}
        else:
            columns = {
                "file": pyarrow.array(part.files * part.rows, pyarrow.string()),
                "row": pyarrow.array(np.arange(part.first, part.first + part.rows)),
            }
        if self._classes:
            best, top = np.zeros(part.rows, np.int32), np.zeros(part.rows, np.float32)
            best[decided] = scores[decided[good]].argmax(axis=1)
            top[decided] = scores[decided[good]].max(axis=1)
            columns["class"] = pyarrow.array(best, mask=~decided)
            if self._job.labels:
                names = [self._job.labels[k] if ok else None for k, ok in zip(best, decided, strict=True)]
                columns["label"] = pyarrow.array(names, pyarrow.string())
            columns["score"] = pyarrow.array(top, mask=~decided)
        if self._job.scores or not self._classes:
            rows = iter(scores)
            columns["scores"] = pyarrow.array(
                [next(rows) if ok else None for ok in good], pyarrow.list_(pyarrow.float32())
            )
        columns["error"] = pyarrow.array(texts, pyarrow.string())
        with replacing(self._job.path(part.number)) as file:
            pq.write_table(pyarrow.table(columns), file)


def output_classes(model: Model) -> int:
    """The number of classes, 0 if the output is something else.

    Raises InputError for several inputs or outputs, or if results depend on the whole batch."""
    for what, count in (("inputs", len(model.input_shapes)), ("outputs", len(model.output_shapes))):
        if count > 1:
            raise InputError(f"found a network with {count} {what}, expected one; use bnn run")
    if model.whole_batch:
        raise InputError("found a network whose results depend on the whole batch, which has no end here; use bnn run")
    return class_count(model.output_shapes[0])


def _picture_column(schema: Any, file: str, wanted: str | None) -> str:
    """The column that has pictures or numbers."""
    types = parquet()[0].types

    def usable(kind: Any) -> bool:
        if types.is_struct(kind):
            return any(f.name == "bytes" for f in kind)
        numbers = types.is_list(kind) or types.is_fixed_size_list(kind) or types.is_large_list(kind)
        return bool(types.is_binary(kind) or types.is_large_binary(kind) or numbers)

    found = [field.name for field in schema if usable(field.type)]
    if wanted is not None and wanted not in found or wanted is None and len(found) != 1:
        text = ", ".join(found) or "none"
        asked = f"'{wanted}'" if wanted is not None else "exactly one" + ("; give --column NAME" if found else "")
        raise InputError(f"{file}: columns of pictures (binary) or of lists of numbers: found {text}, expected {asked}")
    return wanted or found[0]


def _content(value: Any, shape: tuple[int, ...], name: str) -> bytes | Array:
    """A picture's bytes, or a list of numbers in the network's shape."""
    if not value.is_valid:
        raise Unusable(f"{name}: found nothing (null), expected a picture or numbers")
    if not hasattr(value, "values"):
        return bytes(value.as_py())
    numbers: Array = value.values.to_numpy(zero_copy_only=False)
    if numbers.size != np.prod(shape):
        raise Unusable(f"{name}: found {numbers.size} numbers, expected {int(np.prod(shape))}, for {shape}")
    return numbers.reshape(1, *shape)


def totals(job: Job, parts: Sequence[ScorePart]) -> tuple[int, int]:
    """(rows, those of them with an error) in the results."""
    rows = wrong = 0
    for part in parts:
        metadata = _opened(job.path(part.number)).metadata
        rows += metadata.num_rows
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            if group.num_rows:  # of no rows there are no statistics
                wrong += group.num_rows - group.column(group.num_columns - 1).statistics.null_count
    return rows, wrong


def on_this_machine(job: Job, parts: Sequence[ScorePart], advance: Callable[[int], object]) -> None:
    scorer = Scorer(job)
    losses: Losses = {}
    for part in parts:
        _add(losses, scorer.score(part))
        advance(part.rows)
    note_losses(losses)


def _add(losses: Losses, more: Losses) -> None:
    """Count the losses of another part."""
    for loss, (first, count) in more.items():
        known, before = losses.get(loss, (first, 0))
        losses[loss] = known, before + count


def on_ray(job: Job, parts: Sequence[ScorePart], workers: int, advance: Callable[[int], object]) -> None:
    """By Ray Data: each worker has one network, mapped into memory; a part of a worker that dies is scored again.

    RAY_ADDRESS in the environment names a cluster; its machines need the input, the network and the output under the
    same paths.
    """
    # Before the import: it would send statistics of its use, and print warnings about itself.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise SetupError(f"--on ray needs Ray Data ({error}); {install('ray')}") from None

    class Worker:
        """Runs in a process of its own.  It takes no arguments: Ray may have lost them when it replaces a worker."""

        def __init__(self) -> None:
            self._scorer = Scorer(job)

        def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
            part = ScorePart(row["number"], row["rows"], tuple(row["files"]), row["group"], row["first"])
            try:
                losses = self._scorer.score(part)
            except BnnError as error:  # no retry would change it
                return {"rows": 0, "error": str(error), "losses": "{}"}
            return {"rows": part.rows, "error": "", "losses": json.dumps(losses)}

    size = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers, "include_dashboard": False}
    ray.init(log_to_driver=False, logging_level="ERROR", **size)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = ray.data.from_items([asdict(part) for part in parts], override_num_blocks=min(len(parts), _BLOCKS))
        pool = ray.data.ActorPoolStrategy(size=workers)
        losses: Losses = {}
        for row in rows.map(Worker, compute=pool, num_cpus=1).iter_rows():
            if row["error"]:
                raise InputError(row["error"])
            _add(losses, json.loads(row["losses"]))
            advance(row["rows"])
        note_losses(losses)
    finally:
        ray.shutdown()
