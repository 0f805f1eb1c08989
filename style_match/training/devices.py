"""The other processes of a training on several devices, which do the same work as this one under ranks of their own.

The process of the command is rank 0 and alone writes, logs and prints. A follower says only why it failed, and ends
with its parent, however that ends. Nothing heavy is imported here: a follower watches its parent before it imports
torch.
"""

import os
import pickle
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from threading import Event, Thread
from typing import Any

import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.accelerators import MPSAccelerator
from lightning.pytorch.strategies import DDPStrategy
from omegaconf import DictConfig
from torch import nn

from style_match.utils import progress
from style_match.utils.errors import UserError
from style_match.utils.processes import end_with_parent, spawning

# Which devices a head is trained on, and what Lightning is told of the processes there.


def takes_steps(head: nn.Module) -> bool:
    """Whether a head has weights that gradient steps train; one without is computed at once, in one process."""
    return any(parameter.requires_grad for parameter in head.parameters())


def num_processes(cfg: DictConfig, head: nn.Module) -> int:
    """How many processes train the head together.

    Raises:
        UserError: this machine has fewer such devices.
    """
    if not takes_steps(head):
        return 1
    asked, devices = cfg.trainer.accelerator, cfg.trainer.devices
    kind = device_kind(asked)
    num = _num_gpus().get(kind)
    if num is not None and devices > num:
        fewer = f"trainer.devices={num}" + (" or less, or " if num > 1 else " or ") if num else ""
        raise UserError(
            f"trainer.devices={devices}, trainer.accelerator={asked}: this machine has {num or 'no'} "
            f"{'GPU' if num == 1 else 'GPUs'}. Write {fewer}trainer.accelerator=cpu."
        )
    return devices


def device_kind(accelerator: str) -> str:
    """cpu, cuda or mps: what Lightning takes for `trainer.accelerator`."""
    if accelerator not in ("auto", "gpu"):
        return accelerator
    found = [kind for kind, num in _num_gpus().items() if num]
    return found[0] if found else "cpu" if accelerator == "auto" else "cuda"


def _num_gpus() -> dict[str, int]:
    return {"mps": int(MPSAccelerator.is_available()), "cuda": torch.cuda.device_count()}


def backend(accelerator: str) -> str:
    """By which library of torch.distributed processes on these devices meet."""
    return "nccl" if device_kind(accelerator) == "cuda" else "gloo"


class OwnProcesses(LightningEnvironment):
    """The processes of this command, which are there already; `rank` is this one's.

    Left alone, Lightning takes a job of Slurm, torchrun or MPI around the command for its own: it judges the number of
    tasks, answers the job's signals, and logs nothing where such a job calls this process another one than its first.
    """

    def __init__(self, rank: int):
        super().__init__()
        self.rank = rank
        self.set_global_rank(rank)

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def local_rank(self) -> int:
        return self.rank

    def node_rank(self) -> int:
        return 0

    def teardown(self) -> None:
        """Leave the environment as it is."""


class SharedSteps(DDPStrategy):
    """DDP in a process group that is joined already (`style_match.training.devices`)."""

    def _configure_launcher(self) -> None:
        self._launcher = None  # Lightning's own would choose the number of threads anew


HOST = "127.0.0.1"
GRACE_S = 10.0  # how long a process may go on after another one of the training is gone


@dataclass(frozen=True)
class Failure:
    """Why a follower ends: a mistake of the user (`said` is the message), or a bug (its traceback)."""

    said: str
    is_mistake: bool


@contextmanager
def followers(work: Callable[..., Any], num: int, *, backend: str, remedy: Callable[[], str]) -> Iterator[None]:
    """While the caller works as rank 0, `num` processes do `work(rank=R)`, R from 1 to `num`, all in one process group.

    Args:
        work: can be pickled; meets the caller in collectives.
        num: 0 for no process and no group.
        backend: of torch.distributed, "gloo" or "nccl".
        remedy: what to do where a follower was killed.

    Raises:
        UserError: a follower met a mistake or was killed, or `work` cannot be sent to another process. Any other
            failure of a follower is noted in the exception that it causes here.
    """
    if not num:
        yield
        return
    with socket.create_server((HOST, 0)) as meeting:
        port = meeting.getsockname()[1]
        team = _Team(num, remedy)
        try:
            team.start(_pickled(work, num + 1), port, backend)
            with _process_group(0, num + 1, port, backend, listening=meeting.detach()):
                yield
            team.end(GRACE_S)
        except Exception as error:
            cause = team.cause(error)
            if cause is error:
                raise
            raise cause from None
        finally:
            team.end(0)


class _Team:
    """The followers as rank 0 sees them; everything is by rank."""

    def __init__(self, num: int, remedy: Callable[[], str]):
        self.size, self.remedy = num + 1, remedy
        self.processes: dict[int, Any] = {}
        self.reports: dict[int, connection.Connection] = {}
        self.failures: dict[int, Failure] = {}
        self.codes: dict[int, int] = {}  # with which those ended that have ended
        self.over = Event()  # rank 0 has come out of its work
        self.guard = Thread(target=self._guard, daemon=True)

    def start(self, work: bytes, port: int, backend: str) -> None:
        """Returns when all are about to join the process group; RuntimeError where one never will."""
        with spawning() as context:  # a fork would inherit the threads of torch
            for rank in range(1, self.size):
                self.reports[rank], told = context.Pipe()
                self.processes[rank] = context.Process(target=_follow, args=(rank, self.size, port, backend, told))
                # Ctrl-C reaches every process of a terminal, and is rank 0's to answer
                before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
                try:
                    self.processes[rank].start()
                finally:
                    signal.pthread_sigmask(signal.SIG_SETMASK, before)
                told.close()
        self.guard.start()
        for report in self.reports.values():
            report.send_bytes(work)  # and not as an argument, which a process would keep beside what it makes of it
        for rank in self.reports:
            if not self._hear(rank):
                raise RuntimeError("another process of this training ended before it began")

    def _hear(self, rank: int) -> bool:
        """Take what a follower says next; False where it will never join."""
        try:
            said = self.reports[rank].recv()
        except (EOFError, ConnectionError):
            return False
        if isinstance(said, Failure):
            self.failures[rank] = said
        return said is None

    def cause(self, error: Exception) -> Exception:
        """What to raise for an error of rank 0, which may tell no more than that a follower is gone."""
        self.over.set()
        if isinstance(error, UserError):
            return error
        self.guard.join(GRACE_S)
        self._hear_all()
        if mistakes := [failure.said for failure in self.failures.values() if failure.is_mistake]:
            return UserError(mistakes[0])
        lost = self._lost()
        if lost and isinstance(error, RuntimeError):  # as torch's are where the others cannot be reached
            return UserError(lost)
        if lost:
            error.add_note(lost)
        for rank, failure in self.failures.items():
            error.add_note(f"Process {rank + 1} of {self.size} of this training:\n{failure.said}")
        return error

    def _hear_all(self) -> None:
        """Take what followers that ended have said."""
        for rank, report in self.reports.items():
            while report.poll() and self._hear(rank):
                pass

    def _lost(self) -> str | None:
        """What to say of a follower that was killed."""
        for rank, code in self.codes.items():
            if code and rank not in self.failures:
                how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
                memory = ", as the system does where memory runs out" if code == -signal.SIGKILL else ""
                return f"Process {rank + 1} of the {self.size} of this training {how}{memory}. {self.remedy()}"
        return None

    def _guard(self) -> None:
        """End rank 0 too where it does not notice that a follower is gone, as in a collective of GPUs."""
        waiting = {process.sentinel: rank for rank, process in self.processes.items()}
        while waiting:
            for sentinel in connection.wait(list(waiting)):
                rank = waiting.pop(sentinel)
                self.processes[rank].join()
                self.codes[rank] = self.processes[rank].exitcode
                if self.codes[rank] and not self.over.wait(GRACE_S):
                    self._hear_all()
                    failure = self.failures.get(rank)
                    progress.say(failure.said if failure else self._lost() or "")
                    os._exit(2 if failure is None or failure.is_mistake else 1)

    def end(self, grace_s: float) -> None:
        """Have no follower left, in `grace_s` seconds."""
        self.over.set()
        if self.guard.ident:
            self.guard.join(grace_s)
        for process in self.processes.values():
            if process.pid and process.exitcode is None:
                process.kill()
        if self.guard.ident:
            self.guard.join()


def _follow(rank: int, size: int, port: int, backend: str, told: connection.Connection) -> None:
    """What a follower does: rank 0, which sends the work, is told None when it is ready, and why where it fails."""
    end_with_parent()
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"):  # rank 0 answers them, and takes this one with it
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    with open(os.devnull, "w") as silence:
        for stream in (1, 2):
            os.dup2(silence.fileno(), stream)
    with ExitStack() as group:
        try:
            do = pickle.loads(told.recv_bytes())
            told.send(None)
            group.enter_context(_process_group(rank, size, port, backend))
            do(rank=rank)
        except BaseException as error:  # told before the group ends, which may wait for the others
            is_mistake = isinstance(error, UserError)
            told.send(Failure(str(error) if is_mistake else traceback.format_exc(), is_mistake))
            sys.exit(1)


@contextmanager
def _process_group(rank: int, size: int, port: int, backend: str, listening: int | None = None) -> Iterator[None]:
    """Joined with the others over `port` of this machine, which rank 0 listens to with the socket `listening`."""
    import torch
    from torch import distributed

    with suppress(OSError):  # by itself gloo asks how this machine is called, and may not find it by that name
        socket.if_nametoindex("lo")
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = distributed.TCPStore(
        HOST, port, size, is_master=rank == 0, wait_for_workers=False, master_listen_fd=listening
    )
    device = torch.device("cuda", rank) if backend == "nccl" else None
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, device_id=device)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _pickled(work: Callable[..., Any], size: int) -> bytes:
    try:
        return pickle.dumps(work)
    except Exception as error:  # a class can raise anything here
        raise UserError(
            f"trainer.devices={size} sends head, loss and data to other processes, and a part cannot be sent: {error}. "
            "Write trainer.devices=1, or define its classes and functions at the top of a module."
        ) from error
