"""How much memory may still be used: the system's figure, within the control group's limit."""

from edge_sdk.telemetry.system import SystemFiles

_UNLIMITED = 2**60
"""Control groups of version 1 write a number near 2**63 where there is no limit."""


def free_memory_bytes(files: SystemFiles) -> int | None:
    """`MemAvailable`, or what the control group leaves where that is less; None without either."""
    found = [_available(files), _left_in_group(files)]
    return min((size for size in found if size is not None), default=None)


def _available(files: SystemFiles) -> int | None:
    for line in (files.text("proc/meminfo") or "").splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return _first_number(rest, unit=1024)
    return None


def _left_in_group(files: SystemFiles) -> int | None:
    """Limit less use of this process's group, file cache that can be dropped not counted as use."""
    for line in (files.text("proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if ".." in path.split("/"):
            continue
        if controllers == "":
            folder = f"sys/fs/cgroup{path.rstrip('/')}"
            names = ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            folder = f"sys/fs/cgroup/memory{path.rstrip('/')}"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        left = _left(files, folder, *names)
        if left is not None:
            return left
    return None


def _left(files: SystemFiles, folder: str, limit: str, usage: str, cache: str) -> int | None:
    most = files.number(f"{folder}/{limit}")
    used = files.number(f"{folder}/{usage}")
    if most is None or used is None or most >= _UNLIMITED:
        return None
    droppable = 0
    for line in (files.text(f"{folder}/memory.stat") or "").splitlines():
        name, _, rest = line.partition(" ")
        if name == cache:
            droppable = _first_number(rest) or 0
    return max(0, most - used + min(droppable, used))


def _first_number(text: str, *, unit: int = 1) -> int | None:
    words = text.split()
    return int(words[0]) * unit if words and words[0].isdecimal() and len(words[0]) < 20 else None
