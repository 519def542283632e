"""Settings of the allocator are taken in a process of their own: they cannot be taken back."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
from edge_sdk.engines.allocation import return_freed_memory, keep_heap_small
print(keep_heap_small(), return_freed_memory())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_glibc_takes_both_settings() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True"]
