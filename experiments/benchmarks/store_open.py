"""`python store_open.py store|plain FOLDER ASKED`: opens the rows in a process of its own and prints what it took.

Opened is what has answered which of the addresses in the file ASKED it holds; a training process has torch loaded then.
"""

import json
import sys
import time
from pathlib import Path

import memory


def main() -> None:
    began = time.perf_counter()
    import torch  # noqa: F401
    from store_plain import PlainRows

    from style_match.backbone.feature_store import FeatureStore

    imported, imports_mb = time.perf_counter(), memory.resident() / 1e6
    way, folder, asked = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]).read_text().split()
    start = time.perf_counter()
    if way == "store":
        store = FeatureStore(folder, {"benchmark": "store"}, shard_rows=1)  # nothing is written
        held = len(asked) - len(store.missing(asked))
    else:
        plain = PlainRows(folder)
        held = sum(address in plain.place for address in asked)
    open_s = time.perf_counter() - start
    figures = {"held": held, "open_s": open_s, "imports_s": imported - began, "imports_mb": imports_mb}
    print(json.dumps(figures | {"highest_mb": memory.highest() / 1e6}))


if __name__ == "__main__":
    main()
