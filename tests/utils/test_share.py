"""Shares are disjoint, together everything, nearly equal, and agreed on by all processes."""

import hashlib
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from style_match.utils.distributed import Share, read_share, share_of_process
from style_match.utils.errors import UserError

ADDRESSES = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)


def shares(num: int) -> list[Share]:
    return [Share(number, num) for number in range(1, num + 1)]


@given(st.sets(ADDRESSES), st.integers(1, 40))
def test_every_row_is_in_one_share(addresses, num):
    for address in addresses:
        assert sum(share.holds(address) for share in shares(num)) == 1


@given(st.integers(0, 2**32), st.integers(1, 16))
def test_shares_are_nearly_equal(seed, num):
    rows = [hashlib.sha256(f"{seed} {number}".encode()).hexdigest() for number in range(2000)]
    mean = len(rows) / num
    for share in shares(num):
        assert abs(sum(map(share.holds, rows)) - mean) <= 7 * sqrt(mean)


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_share_is_read_as_it_is_written(number, num):
    if number <= num:
        assert read_share(f"{number}/{num}") == Share(number, num)
        assert str(Share(number, num)) == f"{number}/{num}"
    else:
        assert read_share(f"{number}/{num}") is None


@pytest.mark.parametrize(
    "written", ["0/4", "5/4", "a/b", "1/0", "1", "1/", "/4", "-1/4", "1/4/4", " 1/4", 0.25, True, [1]]
)
def test_what_is_no_share(written):
    assert read_share(written) is None


def test_the_share_of_a_process(monkeypatch):
    assert share_of_process(None) is None
    assert share_of_process("2/3") == Share(2, 3)
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    share = share_of_process(None)
    assert (share.number, share.num) == (2, 4) and share.place == "torchrun, process 2 of 4"
    with pytest.raises(UserError, match=r"share=2/3: torchrun started 4 processes.* Leave share out"):
        share_of_process("2/3")
