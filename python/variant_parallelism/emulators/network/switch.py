"""An Ethernet switch, without I/O: learns, forwards, floods; every port is a line with faults."""

from __future__ import annotations

from collections.abc import Callable

from variant_parallelism.emulators.faults import Carrier, Direction
from variant_parallelism.emulators.network.frames import is_group
from variant_parallelism.emulators.network.pcapng import Recorder

_HEADER = 14
_MOST_ADDRESSES = 1024


class Port(Carrier):
    """One port and the cable to its station: faults hit whole frames, each way.

    Corrupted and cut frames arrive: an emulated controller gets no FCS that would tell. `cut()`
    pulls the cable, `restore()` plugs it in again. `log` has every frame that either side put on
    the cable. The recording has, per port, what arrived at the other end, and what did not with
    the reason.
    """

    def __init__(
        self, switch: Switch, name: str, outward: Direction, station: Callable[[bytes], None]
    ) -> None:
        """`outward` is the direction of what leaves the switch, which `station` is handed."""
        super().__init__()
        self.name = name
        self._switch = switch
        self._outward = outward
        self._inward = next(way for way in Direction if way is not outward)
        self._station = station

    def receive(self, frame: bytes) -> None:
        """The station sends a frame."""
        self._carry(self._inward, frame)

    def send(self, frame: bytes) -> None:
        """The switch sends a frame to the station."""
        self._carry(self._outward, frame)

    def close(self) -> None:
        """Forget the frames that are still under way."""
        self._stop_timers()

    def _send(self, direction: Direction, data: bytes) -> None:
        if direction is self._outward:
            self._station(data)
        else:
            self._switch.forward(self, data)

    def _observe(self, direction: Direction, data: bytes, remark: str) -> None:
        recorder = self._switch.recorder
        if recorder is not None:
            recorder.record(self.name, direction is self._inward, data, remark)


class Switch:
    """Forwards frames by MAC (IEEE 802.1D, without spanning tree).

    It has no IGMP snooping: a frame to a group or to an unknown station goes out of every port
    but the one that it came from.
    """

    def __init__(self, recorder: Recorder | None = None) -> None:
        self.recorder = recorder
        self.ports: list[Port] = []
        self._port_of: dict[bytes, Port] = {}

    def add_port(self, name: str, outward: Direction, station: Callable[[bytes], None]) -> Port:
        """A port whose `station` is called with every frame that reaches it."""
        port = Port(self, name, outward, station)
        self.ports.append(port)
        return port

    def forward(self, came_from: Port, frame: bytes) -> None:
        """Send a frame on; one shorter than its header is dropped."""
        if len(frame) < _HEADER:
            return
        destination, source = frame[:6], frame[6:12]
        if not is_group(source):
            self._learn(source, came_from)
        known = None if is_group(destination) else self._port_of.get(destination)
        for port in self.ports if known is None else [known]:
            if port is not came_from:
                port.send(frame)

    def close(self) -> None:
        """Forget the frames that are still under way."""
        for port in self.ports:
            port.close()

    def _learn(self, mac: bytes, port: Port) -> None:
        # Newest last, so that made-up addresses of damaged frames push out one another.
        self._port_of.pop(mac, None)
        self._port_of[mac] = port
        if len(self._port_of) > _MOST_ADDRESSES:
            del self._port_of[next(iter(self._port_of))]
