"""Training of a whole family: one process per job, progress through one queue."""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from variant_parallelism.errors import VpError
from variant_parallelism.families.spec import Family, VariantSpec
from variant_parallelism.training.datasets import Progress, load_dataset
from variant_parallelism.training.record import RECORD_NAME, RunRecord, load_record
from variant_parallelism.training.trainer import Report, TrainedVariant, train_variant

BACKENDS = ("tensorflow", "torch", "jax")


def train_family(
    family: Family,
    data: str,
    out: Path,
    *,
    only: list[str] | None = None,
    jobs: int = 1,
    backend: str = "tensorflow",
    image_size: int | None = None,
    resume: bool = True,
    report: Report | None = None,
    progress: Progress | None = None,
) -> list[TrainedVariant]:
    """Train the variants of `family` on `data`, `jobs` at a time, into the folder `out`.

    `only` names the variants to train, with what they start from. `out/run.json` records what was
    trained on what; `vp quantize` reads it. Raises VpError for bad data, an unknown variant, a
    missing backend, or a folder that holds another run.
    """
    check_backend(backend)
    plan = family.needed_for(only)
    dataset = load_dataset(data, image_size=image_size, channels=family.channels, progress=progress)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VpError(f"cannot create {out}: {error.strerror}") from None
    source = data if data == "digits" else str(Path(data).resolve())
    record = RunRecord(family, source, image_size, dataset.classes)
    if resume and (out / RECORD_NAME).exists() and load_record(out) != record:
        raise VpError(
            f"{out} holds another run (family, recipe, data or classes differ): "
            "use --no-resume to start over, or another --out"
        )
    record.save(out)
    return _train_all(record, plan, out, jobs, backend, resume, report)


def _train_all(
    record: RunRecord,
    plan: list[VariantSpec],
    out: Path,
    jobs: int,
    backend: str,
    resume: bool,
    report: Report | None,
) -> list[TrainedVariant]:
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")
    waiting = list(plan)
    running: dict[Future[TrainedVariant], str] = {}
    results: dict[str, TrainedVariant] = {}
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(jobs, context, _start_worker, (backend, threads)) as pool,
    ):
        events: Any = manager.Queue()
        try:
            while waiting or running:
                for spec in [s for s in waiting if s.start_from is None or s.start_from in results]:
                    waiting.remove(spec)
                    future = pool.submit(_train_one, record, spec, out, resume, events)
                    running[future] = spec.name
                finished, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                _drain(events, report)
                for future in finished:
                    results[running.pop(future)] = future.result()
        except BrokenProcessPool:
            raise VpError(
                "a training process was killed: out of memory? use fewer --jobs"
            ) from None
        except BaseException:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        _drain(events, report)
    return [results[spec.name] for spec in plan]


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
    record: RunRecord, spec: VariantSpec, out: Path, resume: bool, events: Any
) -> TrainedVariant:
    family = record.family
    return train_variant(
        spec,
        family.recipe,
        load_dataset(record.data, image_size=record.image_size, channels=family.channels),
        out,
        seed=family.seed_of(spec.name),
        resume=resume,
        report=lambda *event: events.put(event),
    )


def _drain(events: Any, report: Callable[..., None] | None) -> None:
    while True:
        try:
            event = events.get_nowait()
        except queue.Empty:
            return
        if report is not None:
            report(*event)
