"""Rows divided among several processes or machines that write into one feature store. Imports no torch."""

import re
from dataclasses import dataclass

from style_match.errors import UserError
from style_match.launched import launched

_SHARE = re.compile(r"([1-9]\d*)/([1-9]\d*)")
_DIGITS = 16  # hex digits of an address that decide: 64 bits of a sha256


@dataclass(frozen=True)
class Share:
    """The `number`th, from 1, of `num` shares; `place` says where that was taken from, if not from an option.

    Which share a row is in depends on its address alone: all processes agree, whatever rows the store holds already
    and whenever they start.
    """

    number: int
    num: int
    place: str = ""

    def holds(self, address: str) -> bool:
        """Whether the row of this address (hex sha256) is in the share."""
        return int(address[:_DIGITS], 16) % self.num == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.num}"


def read_share(written: object) -> Share | None:
    """The share that is written so, such as `1/4`; None where it is none."""
    found = _SHARE.fullmatch(str(written))
    share = Share(int(found[1]), int(found[2])) if found else None
    return share if share and share.number <= share.num else None


def share_of_process(asked: str | None) -> Share | None:
    """The share that this process computes: the one asked for, else its part of what a launcher started; None for all.

    Raises:
        UserError: a launcher started several processes, and all of them are asked for one share.
    """
    started = launched()
    if started is None:
        return None if asked is None else read_share(asked)
    if asked is not None:
        raise UserError(
            f"share={asked}: {started.by} started {started.num} processes, and each would compute this share. Leave "
            "share out: each then takes its own."
        )
    return Share(started.rank + 1, started.num, f"{started.by}, process {started.rank + 1} of {started.num}")
