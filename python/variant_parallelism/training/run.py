"""Training of a whole family: one process per job, progress through one queue."""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from variant_parallelism.errors import VpError
from variant_parallelism.families.catalog import get_family
from variant_parallelism.families.spec import Family, VariantSpec
from variant_parallelism.training.datasets import Progress, load_dataset
from variant_parallelism.training.record import RECORD_NAME, RunRecord, load_record
from variant_parallelism.training.trainer import Report, TrainedVariant, train_variant

BACKENDS = ("tensorflow", "torch", "jax")


def variant_seed(family: Family, name: str) -> int:
    """The seed of one variant: the recipe's, offset by the variant's place in its whole family."""
    whole = [variant.name for variant in get_family(family.name).variants]
    return 100 * family.recipe.seed + whole.index(name)


def train_family(
    family: Family,
    data: str,
    out: Path,
    *,
    jobs: int = 1,
    backend: str = "tensorflow",
    image_size: int | None = None,
    resume: bool = True,
    report: Report | None = None,
    progress: Progress | None = None,
) -> list[TrainedVariant]:
    """Train every variant of `family` on `data`, `jobs` at a time, into the folder `out`.

    `out/run.json` records what was trained on what. Raises VpError for bad data, a missing
    backend, or a folder that holds another run.
    """
    check_backend(backend)
    dataset = load_dataset(data, image_size=image_size, channels=family.channels, progress=progress)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VpError(f"cannot create {out}: {error.strerror}") from None
    source = data if data == "digits" else str(Path(data).resolve())
    record = RunRecord(family, source, image_size, dataset.classes, backend)
    if resume and (out / RECORD_NAME).exists():
        record = _merged(record, load_record(out), out)
    record.save(out)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        events: Any = manager.Queue()
        with ProcessPoolExecutor(jobs, context, _start_worker, (backend, threads)) as pool:
            pending = {
                pool.submit(
                    _train_one, family, variant, data, image_size, out, resume, events
                ): variant.name
                for variant in family.variants
            }
            try:
                results = _collect(pending, events, report)
            except BrokenProcessPool:
                raise VpError("a training process was killed: out of memory? use fewer --jobs") from None
            except BaseException:
                for process in list((pool._processes or {}).values()):
                    process.terminate()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return [results[variant.name] for variant in family.variants]


def _merged(new: RunRecord, old: RunRecord, out: Path) -> RunRecord:
    """The record of `new` and what `old` trained before; VpError if the two do not match.

    Only the number of variants may differ: `--variants` trains a family in parts.
    """
    trained = {variant.name: variant for variant in old.family.variants}
    wanted = {variant.name: variant for variant in new.family.variants}
    same = replace(old.family, variants=()) == replace(new.family, variants=())
    if (
        not same
        or (old.data, old.image_size, old.classes) != (new.data, new.image_size, new.classes)
        or any(trained[name] != wanted[name] for name in trained.keys() & wanted.keys())
    ):
        raise VpError(
            f"{out} holds another run (family, recipe, data or variants differ): "
            "use --no-resume to start over or another --out"
        )
    both = trained | wanted
    order = [variant.name for variant in get_family(new.family.name).variants]
    variants = tuple(both[name] for name in sorted(both, key=order.index))
    return replace(new, family=replace(new.family, variants=variants))


def check_backend(backend: str) -> None:
    """VpError unless Keras and the backend are installed."""
    if backend not in BACKENDS:
        raise VpError(f"unknown backend {backend!r}: choose from {', '.join(BACKENDS)}")
    for module in ("keras", backend):
        if find_spec(module) is None:
            hint = "pip install 'variant-parallelism[train]'"
            if backend != "tensorflow" and module == backend:
                hint = f"pip install {backend}"
            raise VpError(f"training needs {module}, which is not installed: {hint}")


def _start_worker(backend: str, threads: int) -> None:
    """Runs in each worker before Keras is imported: these are read at import."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = str(threads)


def _train_one(
    family: Family,
    spec: VariantSpec,
    data: str,
    image_size: int | None,
    out: Path,
    resume: bool,
    events: Any,
) -> TrainedVariant:
    dataset = load_dataset(data, image_size=image_size, channels=family.channels)
    return train_variant(
        spec,
        family.recipe,
        dataset,
        out,
        seed=variant_seed(family, spec.name),
        resume=resume,
        report=lambda *event: events.put(event),
    )


def _collect(
    pending: dict[Future[TrainedVariant], str], events: Any, report: Report | None
) -> dict[str, TrainedVariant]:
    results: dict[str, TrainedVariant] = {}
    while pending:
        finished, _ = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
        _drain(events, report)
        for future in finished:
            results[pending.pop(future)] = future.result()
    _drain(events, report)
    return results


def _drain(events: Any, report: Callable[..., None] | None) -> None:
    while True:
        try:
            event = events.get_nowait()
        except queue.Empty:
            return
        if report is not None:
            report(*event)
