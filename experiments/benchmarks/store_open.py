"""`python store_open.py store|plain FOLDER ASKED`: opens a store in a new process and prints its time and memory.

The store is open when it has answered which of the addresses in the file ASKED it holds. Nothing else is imported here,
so that the memory is that of torch and of the store.
"""

import json
import sys
import time
from pathlib import Path


def memory_mb(name: str) -> float:
    """Return a line of /proc/self/status in MB: VmRSS, resident now, or VmHWM, the peak."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024 / 1e6


def main() -> None:
    began = time.perf_counter()
    import torch  # noqa: F401 - a training process has it

    from style_match.backbone.feature_store import FeatureStore

    imported, imports_mb = time.perf_counter(), memory_mb("VmRSS")
    way, folder, asked = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]).read_text().split()
    start = time.perf_counter()
    if way == "store":
        store = FeatureStore(folder, {"benchmark": "store"}, shard_rows=1)  # nothing is written
        held = len(asked) - len(store.missing(asked))
    else:
        place = {address: row for row, address in enumerate((folder / "ids.txt").read_text().split())}
        held = sum(address in place for address in asked)
    open_s = time.perf_counter() - start
    found = {"held": held, "open_s": open_s, "imports_s": imported - began, "imports_mb": imports_mb}
    print(json.dumps(found | {"highest_mb": memory_mb("VmHWM")}))


if __name__ == "__main__":
    main()
