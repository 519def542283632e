"""Bytes of HTTP bodies by round and device, until they are recorded."""

from collections import defaultdict

from server_ref.store.records import Traffic


class TrafficCounter:
    """Counts in memory; whoever writes to the database next takes the counts along."""

    def __init__(self) -> None:
        self._counts: defaultdict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0])

    def add(self, number: int, device: str, *, up: int, down: int) -> None:
        """Count one exchange of `device` in round `number`."""
        count = self._counts[number, device]
        count[0] += up
        count[1] += down

    def drain(self) -> list[Traffic]:
        """Everything counted since the last time."""
        counts = [Traffic(number, device, *n) for (number, device), n in self._counts.items()]
        self._counts.clear()
        return counts

    def put_back(self, counts: list[Traffic]) -> None:
        """Count again what could not be recorded."""
        for one in counts:
            self.add(one.round, one.device, up=one.bytes_up, down=one.bytes_down)

    def pending_by_device(self) -> dict[str, tuple[int, int]]:
        """Bytes up and down of every device that are not recorded yet."""
        found: dict[str, tuple[int, int]] = {}
        for (_, device), (up, down) in self._counts.items():
            before = found.get(device, (0, 0))
            found[device] = (before[0] + up, before[1] + down)
        return found

    def pending_up(self, number: int, device: str) -> int:
        """Bytes up of one device in one round that are not recorded yet."""
        return self._counts[number, device][0] if (number, device) in self._counts else 0

    def pending(self, number: int) -> tuple[int, int]:
        """Bytes up and down of a round that are not recorded yet."""
        counts = [n for (one, _), n in self._counts.items() if one == number]
        return sum(up for up, _ in counts), sum(down for _, down in counts)
