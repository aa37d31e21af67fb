"""Boards that run in an emulator: started, killed, paused and reset like real ones."""

from variant_parallelism.emulators.board import Board, BoardConfig, Emulator
from variant_parallelism.emulators.launch import EMULATORS, EmulatedFleet, launch_fleet

__all__ = ["EMULATORS", "Board", "BoardConfig", "EmulatedFleet", "Emulator", "launch_fleet"]
