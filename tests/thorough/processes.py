"""Processes that a test has started."""

from pathlib import Path


def alive(group: int) -> list[int]:
    """Process ids of a process group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group_of = path.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
        if int(group_of) == group and state != "Z":
            found.append(int(path.parent.name))
    return found
