"""Followers that stand apart: whatever ends one process ends all of them, with one message.

None of these processes imports torch or joins a process group, so that each costs less than half a second; real groups
are in tests/thorough/test_followers.py and, with what they compute, in tests/models/module/test_ddp.py.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from style_match.training import devices as module
from style_match.training.devices import followers
from style_match.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
WORK = """
import os, signal, time
from contextlib import contextmanager

from style_match.training import devices as followers
from style_match.utils.errors import UserError


@contextmanager
def no_group(*_, listening=None):
    if listening is not None:
        os.close(listening)
    yield


class Work:
    '''What a follower does, without a process group there.'''

    def __init__(self, what, *arguments):
        self.what, self.arguments = what, arguments

    def __setstate__(self, state):
        followers._process_group = no_group
        self.__dict__.update(state)

    def __call__(self, rank=0):
        assert rank > 0
        self.what(*self.arguments)


def mistake():
    raise UserError("sampler: give another one.")


def bug():
    raise ZeroDivisionError("a bug")


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def left():
    os._exit(7)


def prints(path):
    print("a follower prints")
    os.system("echo and so does what it starts >&2")
    path.touch()


def waits(path):
    path.with_suffix(".tmp").write_text(str(os.getpid()))
    path.with_suffix(".tmp").rename(path)
    time.sleep(600)


class Unpicklable:
    def __reduce__(self):
        raise TypeError("a lock")


class OnlyHere:
    '''Cannot be made in another process.'''

    def __init__(self):
        self.state = 1

    def __setstate__(self, state):
        raise ZeroDivisionError("cannot be made there")


class KilledThere(OnlyHere):
    def __setstate__(self, state):
        killed()
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A module of functions that a process can import, and no process group in this process."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "work_of_followers.py").write_text(WORK)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        import work_of_followers

        patch.setattr(module, "_process_group", work_of_followers.no_group)
        yield work_of_followers
    sys.modules.pop("work_of_followers")


def begin(work, num=1):
    return followers(work, num, backend="gloo", remedy=lambda: "Go on.")


def children():
    """Python processes that this one started and that have not ended."""
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def wait_until(is_so, seconds=30):
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


@contextmanager
def raises_without_a_child(error, match=None):
    """The block raises `error` (`match` sees its notes too) and leaves no process."""
    with pytest.raises(error, match=match) as raised:
        yield raised
    assert not children()


def test_one_process_alone_has_no_group(monkeypatch):
    monkeypatch.setattr(module, "_process_group", None)
    with begin(None, num=0):
        assert not children()


def test_followers_are_there_while_the_first_process_works_and_print_nothing(work, tmp_path, capfd):
    done = tmp_path / "done"
    with begin(work.Work(work.prints, done), num=2):
        wait_until(done.exists)
    assert not children()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ("mistake", UserError, r"^sampler: give another one\.$"),
        ("killed", UserError, r"^Process 2 of the 2 of this training was killed by SIGKILL, .* memory .* Go on\.$"),
        ("left", UserError, r"^Process 2 of the 2 of this training ended with code 7\. Go on\.$"),
        ("bug", RuntimeError, "^the group cannot be reached\n"),
    ],
)
def test_what_ends_a_follower_ends_all_with_its_reason(work, what, error, message):
    with raises_without_a_child(error, message) as raised, begin(work.Work(getattr(work, what))):
        wait_until(lambda: not children())
        raise RuntimeError("the group cannot be reached")  # as torch raises it
    notes = "".join(getattr(raised.value, "__notes__", []))
    assert ("Process 2 of 2 of this training:" in notes and "ZeroDivisionError: a bug" in notes) == (what == "bug")


def test_a_mistake_of_the_first_process_is_its_own(work):
    """All ranks meet the same mistake at once, and it is reported once."""
    with raises_without_a_child(UserError, "^of rank 0$"), begin(work.Work(work.mistake)):
        raise UserError("of rank 0")


def test_a_bug_of_the_first_process_notes_that_a_follower_was_killed(work):
    with raises_without_a_child(ValueError, "^of rank 0\n") as raised, begin(work.Work(work.killed)):
        wait_until(lambda: not children())
        raise ValueError("of rank 0")
    assert "was killed by SIGKILL" in raised.value.__notes__[0]


def test_an_interrupt_leaves_no_follower(work, tmp_path):
    pid = tmp_path / "pid"
    with raises_without_a_child(KeyboardInterrupt), begin(work.Work(work.waits, pid)):
        wait_until(pid.exists)
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [("OnlyHere", RuntimeError, "ended before it began"), ("KilledThere", UserError, "killed by SIGKILL")],
)
def test_a_follower_that_never_joins_is_not_waited_for(work, name, error, message):
    with raises_without_a_child(error, message) as raised, begin(getattr(work, name)()):
        raise AssertionError("the work began")
    notes = getattr(raised.value, "__notes__", [""])
    assert ("cannot be made there" in notes[0]) == (name == "OnlyHere")


def test_what_cannot_be_sent_is_a_mistake(work):
    mistake = r"trainer\.devices=2 .* cannot be sent: a lock\. Write trainer\.devices=1"
    with raises_without_a_child(UserError, mistake), begin(work.Unpicklable()):
        raise AssertionError("the work began")


@pytest.fixture
def apart(work, tmp_path):
    """`apart("waits", PATH)`: a command that waits for something else while its follower does this."""
    started = []

    def start(what, *arguments):
        script = (
            "import time\nfrom pathlib import PosixPath\nimport work_of_followers as w\n"
            "from style_match.training import devices as followers\n"
            "followers.GRACE_S, followers._process_group = 0.2, w.no_group\n"
            "if __name__ == '__main__':\n"
            f"    work = w.Work(w.{what}, *{arguments!r})\n"
            "    with followers.followers(work, 1, backend='gloo', remedy=lambda: 'Go on.'):\n"
            "        time.sleep(600)\n"
        )
        (tmp_path / "script.py").write_text(script)
        path = os.pathsep.join([str(ROOT), str(Path(work.__file__).parent)])
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / "script.py")],
            env={**os.environ, "PYTHONPATH": path},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("what", "code", "message"), [("mistake", 2, "sampler: give"), ("bug", 1, "ZeroDivisionError: a bug")]
)
def test_a_first_process_that_waits_is_ended_with_the_reason_of_the_other(apart, what, code, message):
    process = apart(what)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == code and message in printed


def alive(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_leaves_nobody(apart, tmp_path, victim):
    pid = tmp_path / "pid"
    process = apart("waits", pid)
    wait_until(pid.exists)
    follower = int(pid.read_text())
    assert alive(follower) and alive(process.pid)
    os.kill((process.pid, follower)[victim], signal.SIGKILL)
    _, printed = process.communicate(timeout=60)
    wait_until(lambda: not alive(follower))
    if victim == 0:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 2
        assert "Process 2 of the 2 of this training was killed by SIGKILL" in printed and "Go on." in printed
