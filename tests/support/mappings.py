"""Which files this process has mapped into memory, as Linux lists them."""

from pathlib import Path

import pytest

needs_proc = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system does not list its mappings")


def mapped_ranges(path: Path) -> list[range]:
    """Return the address ranges at which this process has mapped a file."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    ends = [line.split()[0].split("-") for line in lines if line.endswith(str(path))]
    return [range(int(start, 16), int(stop, 16)) for start, stop in ends]
