"""Builds firmware images with CMake and Ninja: one build tree per manifest and board."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variant_parallelism._paths import firmware_dir
from variant_parallelism.errors import VpError
from variant_parallelism.firmware.boards import BoardInfo, load_board
from variant_parallelism.firmware.timing import watchdog_warning
from variant_parallelism.firmware.toolchain import BuildError, check_tools, run
from variant_parallelism.firmware.variant_source import (
    Compiled,
    Runtime,
    VariantSource,
    remove_stale,
    write_variant,
)
from variant_parallelism.fleet import Fleet
from variant_parallelism.manifest import Manifest, load_manifest

if TYPE_CHECKING:
    from rich.console import Console

    from variant_parallelism.firmware.tflm_checkout import TflmCheckout

DEFAULT_OUT = Path("build/firmware")
_OVERFLOW = re.compile(r"region `(FLASH|RAM)' overflowed by (\d+) bytes")
_STAMP = "configured.json"


class TooLargeError(VpError):
    """An image does not fit the memory of its board."""


@dataclass(frozen=True)
class Image:
    """A linked image. Sizes in bytes.

    Attributes:
        flash: code and constants; `flash_available` of the board, provisioning block excluded.
        ram: everything static (arena and input buffer among it), without the stack.
        ram_available: the board's RAM; the stack comes out of it too.
        arena: the model's working memory.
        model_hash: as HELLO reports it.
        warning: one line about a step that may take too long for the watchdog.
    """

    variant: str
    board: str
    elf: Path
    flash: int
    flash_available: int
    ram: int
    ram_available: int
    stack: int
    arena: int
    model_hash: str
    warning: str | None

    def as_json(self) -> dict[str, Any]:
        """For `vp build --json`."""
        return vars(self) | {"elf": str(self.elf)}


def build_image(manifest_path: Path, variant_name: str, board: str, out_dir: Path) -> Image:
    """Build the image of one variant for one board; see build_images."""
    return build_images(manifest_path, [variant_name], board, out_dir)[0]


def build_fleet(
    fleet: Fleet,
    out_dir: Path = DEFAULT_OUT,
    console: Console | None = None,
    tflm: TflmCheckout | None = None,
    ram: int | None = None,
) -> dict[int, Image]:
    """Build what the nodes of a fleet need: node id -> image. Progress goes to `console`.

    `tflm` and `ram` as for build_images.
    """
    images: dict[tuple[str, str], Image] = {}
    for board in sorted({node.board for node in fleet.nodes}):
        variants = sorted({node.variant for node in fleet.nodes if node.board == board})
        for image in build_images(
            fleet.manifest_path, variants, board, out_dir, console, tflm, ram
        ):
            images[image.variant, board] = image
    return {node.id: images[node.variant, node.board] for node in fleet.nodes}


def build_images(
    manifest_path: Path,
    variant_names: Sequence[str],
    board: str,
    out_dir: Path = DEFAULT_OUT,
    console: Console | None = None,
    tflm: TflmCheckout | None = None,
    ram: int | None = None,
) -> list[Image]:
    """Build the images of some variants of a manifest for one board.

    They stand in build/images under build_tree(...). With `tflm` the models run on TensorFlow Lite
    Micro, from that checkout, instead of being compiled. `ram` is what the arena of a compiled one
    may take, in bytes, as for vp_converters.compile_model. VpError if a tool is missing, a
    variant or board unknown or a model cannot be compiled, TooLargeError if an image does not fit
    the board.
    """
    manifest = load_manifest(manifest_path)
    target = load_board(board)
    for name in variant_names:
        _check_variant(manifest, manifest_path, name)
    check_tools()
    runtime = _runtime(target, tflm, ram)
    tree = board if tflm is None else f"{board}-tflm"
    root = build_tree(out_dir, manifest_path, manifest.name, tree)
    with _made_and_locked(root), progress_bar(console, len(variant_names)) as advance:
        variants_dir = root / "variants"
        remove_stale(variants_dir, {variant.name for variant in manifest.variants})
        images = []
        for name in variant_names:
            advance(f"{name} for {board}", 0)
            variant = manifest.variant(name)
            tflite = manifest_path.parent / variant.file
            source = write_variant(manifest, variant, tflite, variants_dir / name, runtime)
            elf = _link(root, variants_dir, name, target, runtime)
            images.append(_image(elf, name, target, source, variant.hash))
            advance(f"{name} for {board}", 1)
        return images


def build_tree(out_dir: Path, manifest_path: Path, name: str, board: str) -> Path:
    """Where a manifest called `name` is built: `<name>-<digest>/<board>` in `out_dir`.

    The digest is of the manifest's path, so that two manifests of one name do not share a tree;
    what a folder's name should not hold is replaced. With the tflm runtime `board` ends in "-tflm".
    """
    path = str(manifest_path.resolve()).encode(errors="surrogateescape")
    digest = hashlib.blake2s(path, digest_size=4).hexdigest()
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:40]
    return out_dir.resolve() / f"{safe}-{digest}" / board


def _runtime(board: BoardInfo, tflm: TflmCheckout | None, ram: int | None) -> Runtime:
    if tflm is None:
        return Compiled(board.kernels, ram)
    from variant_parallelism.firmware.tflm import TflmRuntime

    return TflmRuntime(tflm, board)


def _check_variant(manifest: Manifest, path: Path, name: str) -> None:
    known = [variant.name for variant in manifest.variants]
    if name not in known:
        raise VpError(f"{path} has no variant {name!r}: it has {', '.join(known)}")


def _link(root: Path, variants_dir: Path, variant: str, board: BoardInfo, runtime: Runtime) -> Path:
    build = root / "build"
    _configure(build, variants_dir, board.name, runtime)
    jobs = str(os.cpu_count() or 1)
    try:
        run(["ninja", "-C", build, "-j", jobs, f"image_{variant}"], root / f"{variant}.log")
    except BuildError as error:
        raise _too_large(error.output, variant, board) or error from None
    return build / "images" / f"{variant}.elf"


def _configure(build: Path, variants_dir: Path, board: str, runtime: Runtime) -> None:
    """Run CMake where there is no build tree yet; Ninja runs it again when its inputs change."""
    source = firmware_dir()
    arguments = [
        *("-S", str(source), "-B", str(build), "-G", "Ninja"),
        f"-DCMAKE_TOOLCHAIN_FILE={source / 'cmake' / 'arm-none-eabi.cmake'}",
        *(f"-DVP_BOARD={board}", f"-DVP_VARIANTS_DIR={variants_dir}"),
        *runtime.cmake_arguments(),
    ]
    stamp = build / _STAMP
    wanted = json.dumps(arguments)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    run(["cmake", "--fresh", *arguments], build.with_name("cmake.log"))
    stamp.write_text(wanted, encoding="utf-8")


def _too_large(output: str, variant: str, board: BoardInfo) -> TooLargeError | None:
    overflows = _OVERFLOW.findall(output)
    if not overflows:
        return None
    have = {"FLASH": board.flash_size, "RAM": board.ram_size}
    needs = [
        f"{have[region] + int(excess):,} bytes of {'RAM' if region == 'RAM' else 'flash'}, "
        f"board {board.name} has {have[region]:,}"
        for region, excess in sorted(set(overflows))
    ]
    return TooLargeError(f"variant {variant} needs {'; and '.join(needs)}")


def _image(
    elf: Path, variant: str, board: BoardInfo, source: VariantSource, model_hash: str
) -> Image:
    output = run(["arm-none-eabi-size", elf], elf.with_suffix(".size"))
    text, data, bss = (int(number) for number in output.splitlines()[1].split()[:3])
    return Image(
        variant=variant,
        board=board.name,
        elf=elf,
        flash=text + data,
        flash_available=board.flash_size,
        ram=data + bss - board.stack_size,
        ram_available=board.ram_size + (board.dma_size or 0),
        stack=board.stack_size,
        arena=source.arena,
        model_hash=model_hash,
        warning=watchdog_warning(variant, source.step, source.step_macs, board),
    )


@contextmanager
def _made_and_locked(folder: Path) -> Iterator[None]:
    """Two builds of one tree at a time would trip over each other: the second one waits."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise VpError(f"cannot write to {folder}: {error.strerror}") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def progress_bar(console: Console | None, total: int) -> Iterator[Any]:
    """A bar of `total` steps on `console`; gives a function of a text and of steps done."""
    if console is None:
        yield lambda text, done: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("building"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TextColumn("{task.description}"), console=console, transient=True
    ) as bar:
        task = bar.add_task("", total=total)
        yield lambda text, done: bar.update(task, description=text, advance=done)
