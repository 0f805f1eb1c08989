"""A file that one process at a time may hold."""

from pathlib import Path
from typing import IO


def hold(path: Path) -> IO[str] | None:
    """The file, made where it is not there, locked until it is closed or the process ends, however it ends.

    None where another process holds it. Raises OSError where it cannot be made or locked.
    """
    import fcntl

    file = open(path, "a")  # noqa: SIM115 - open as long as it is held
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except BaseException:
        file.close()
        raise
    return file
