"""Reads the files that W&B writes offline."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def records(file: Path) -> Iterator[Any]:
    """The records of a `.wandb` file: a log in LevelDB's format after 7 bytes, one protobuf message a record."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, message = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if (left := 32768 - place % 32768) < 7:  # too little is left of the block for a header
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        message += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # complete, or the last part
            yield Record.FromString(message)
            message = b""
