"""Processes that work together: none is left behind, and whatever ends one ends all with one message."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from style_match.training.devices import followers
from style_match.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
WORK = """
import os, signal, sys, time

def meet(rank=0):
    import torch
    from torch import distributed

    rows = torch.tensor([float(rank)])
    distributed.all_reduce(rows)
    return float(rows), distributed.get_rank(), distributed.get_world_size()

def meet_then(what, folder, rank=0):
    meet(rank)
    if rank == 1:
        what()
    (folder / f"{rank}.pid").write_text(str(os.getpid()))
    while True:
        meet(rank)

def mistake():
    from style_match.utils.errors import UserError
    raise UserError("sampler: give another one.")

def bug():
    raise ZeroDivisionError("a bug")

def killed():
    os.kill(os.getpid(), signal.SIGKILL)

def nothing():
    pass

class Unpicklable:
    def __reduce__(self):
        raise TypeError("a lock")

class OnlyHere:
    def __setstate__(self, state):
        raise ZeroDivisionError("cannot be made there")

    def __call__(self, rank=0):
        raise AssertionError("nobody is there")

class KilledThere(OnlyHere):
    def __setstate__(self, state):
        killed()
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A module of functions that a process can import."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "shared_work.py").write_text(WORK)
    sys.path.insert(0, str(folder))
    import shared_work

    yield shared_work
    sys.path.remove(str(folder))


def together(work, num=1):
    with followers(work, num, backend="gloo", remedy=lambda: "Go on."):
        return work()


def alive(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def children():
    """Python processes that this one started and that have not ended."""
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [pid for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_one_process_alone_has_no_group():
    with followers(None, 0, backend="gloo", remedy=lambda: ""):
        import torch

        assert not torch.distributed.is_initialized()


def test_all_meet_and_can_meet_again(work):
    assert together(work.meet, 2) == (3.0, 0, 3)
    assert together(work.meet) == (1.0, 0, 2)  # as the next cell of a sweep
    assert not children()


@pytest.mark.parametrize(
    ("what", "error", "said"),
    [
        ("mistake", UserError, r"^sampler: give another one\.$"),
        ("killed", UserError, r"^Process 2 of the 2 of this training was killed by SIGKILL, .* memory .* Go on\.$"),
        ("bug", RuntimeError, "."),
    ],
)
def test_what_ends_a_follower_ends_all_with_its_reason(work, tmp_path, what, error, said):
    began = time.monotonic()
    with pytest.raises(error, match=said) as raised:
        together(partial(work.meet_then, getattr(work, what), tmp_path))
    assert time.monotonic() - began < 120  # gloo itself would wait for 30 minutes
    if what == "bug":
        assert "ZeroDivisionError: a bug" in raised.value.__notes__[0]
    assert not children()


@pytest.mark.parametrize(("name", "error"), [("OnlyHere", RuntimeError), ("KilledThere", UserError)])
def test_a_follower_that_never_joins_is_not_waited_for(work, name, error):
    made = getattr(work, name)()
    made.state = 1
    with pytest.raises(error) as raised:
        together(made)
    notes = getattr(raised.value, "__notes__", [""])
    assert "cannot be made there" in notes[0] or "killed by SIGKILL" in str(raised.value)
    assert not children()


def test_what_cannot_be_sent_is_a_mistake(work):
    with pytest.raises(UserError, match=r"trainer\.devices=2 .* cannot be sent: a lock\. Write trainer\.devices=1"):
        together(work.Unpicklable())


def apart(work, folder, what, *, blind):
    """A command of two processes, the second of which does `what`; `blind`: the first one waits for something else."""
    waits = "time.sleep(600)" if blind else "work()"
    script = (
        "import time\nfrom functools import partial\nfrom pathlib import Path\nimport shared_work as w\n"
        "from style_match.training import devices as followers\n"
        "followers.GRACE_S = 1.0\n"
        "if __name__ == '__main__':\n"
        f"    work = partial(w.meet_then, w.{what}, Path({str(folder)!r}))\n"
        "    with followers.followers(work, 1, backend='gloo', remedy=lambda: 'Go on.'):\n"
        f"        {'w.meet(); ' if blind else ''}{waits}\n"
    )
    (folder / "script.py").write_text(script)
    path = os.pathsep.join([str(ROOT), str(Path(work.__file__).parent)])
    return subprocess.Popen(
        [sys.executable, str(folder / "script.py")],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(("what", "code", "said"), [("mistake", 2, "sampler: give"), ("bug", 1, "ZeroDivisionError")])
def test_a_first_process_that_waits_is_ended_with_the_reason_of_the_other(work, tmp_path, what, code, said):
    process = apart(work, tmp_path, what, blind=True)
    _, told = process.communicate(timeout=120)
    assert process.returncode == code and said in told


@pytest.mark.parametrize("blind", [False, True])
def test_a_killed_process_leaves_nobody(work, tmp_path, blind):
    """Whichever is killed, the other one ends too."""
    for victim in (0, 1):
        for old in tmp_path.glob("*.pid"):
            old.unlink()
        process = apart(work, tmp_path, "nothing", blind=blind)
        until = time.monotonic() + 120
        while not (tmp_path / "1.pid").exists() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.2)
        follower = int((tmp_path / "1.pid").read_text())
        assert alive(follower) and alive(process.pid)
        os.kill((process.pid, follower)[victim], signal.SIGKILL)
        _, said = process.communicate(timeout=60)
        while alive(follower) and time.monotonic() < until:
            time.sleep(0.05)
        assert not alive(follower)
        if victim == 0:
            assert process.returncode == -signal.SIGKILL
        else:
            assert "Process 2 of the 2 of this training was killed by SIGKILL" in said and "Go on." in said
            assert process.returncode == (2 if blind else 1)
