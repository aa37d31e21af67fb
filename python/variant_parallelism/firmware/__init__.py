"""Firmware images: a variant, compiled and linked for a board.

    from variant_parallelism.firmware import build_fleet, build_image
    manifest = Path("models/digits/manifest.json")
    image = build_image(manifest, "d16", "mps2-an386", Path("build/firmware"))
    print(image.elf, image.flash, image.ram)

Needs arm-none-eabi-gcc, cmake and ninja. What has not changed is not built again.
"""

from variant_parallelism.firmware.boards import BoardInfo, board_names, load_board
from variant_parallelism.firmware.build import (
    Image,
    TooLargeError,
    build_fleet,
    build_image,
    build_images,
)
from variant_parallelism.firmware.every_board import Misfit, build_pairs

__all__ = [
    "BoardInfo",
    "Image",
    "Misfit",
    "TooLargeError",
    "board_names",
    "build_fleet",
    "build_image",
    "build_images",
    "build_pairs",
    "load_board",
]
