"""A Slurm of one node on this machine. Linux; the packages of Debian or Ubuntu.

Configuration, key, state, logs and sockets are in one folder, the ports are free ones, and all daemons run as the
calling user and end with the test. Partitions: `debug`; `grace`, where preempted jobs have time to end; `urgent`, which
preempts both.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "squeue", "sinfo")
GRACE_S = 5
START_S = 30  # within which the node must be idle
STOP_S = 20
PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])  # Debian has daemons in root's PATH only

CONF = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
# a container has neither cgroups nor systemd
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=1
KillWait=5
MinJobAge=86400
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{node} NodeAddr=127.0.0.1 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES PriorityTier=1
PartitionName=grace Nodes=ALL PriorityTier=1 GraceTime={grace_s}
PartitionName=urgent Nodes=ALL PriorityTier=2 PreemptMode=OFF
"""


def missing() -> str | None:
    """Why no node can be started on this machine, or None."""
    absent = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
    return f"Slurm is not installed ({', '.join(absent)} not found): run .ci/programs" if absent else None


@contextmanager
def one_node(folder: Path) -> Iterator[dict[str, str]]:
    """Start the node and yield the environment in which Slurm's commands find it.

    Args:
        folder: Holds all files of the node. At most 80 characters, because a socket is in it.
    """
    for part in ("state", "spool", "bin"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    _write_conf(folder)
    # without an accounting database Debian's `sacct` fails, and submitit would wait for a killed job forever
    shutil.copy(Path(__file__).with_name("sacct.py"), folder / "bin" / "sacct")
    path = f"{folder / 'bin'}{os.pathsep}{PATH}"
    environment = {**os.environ, "PATH": path, "SLURM_CONF": str(folder / "slurm.conf")}
    with ExitStack() as stack:
        # in reverse order: the jobs end, then the daemons, then all that is left
        stack.callback(_kill_rest, environment)
        munge = ["munged", "--foreground", "--force", f"--key-file={folder / 'munge.key'}"]
        munge += [f"--{name}={folder / f'munge.{name}'}" for name in ("socket", "pid-file", "seed-file", "log-file")]
        for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D"]):
            stack.enter_context(_daemon(command, folder, environment))
        _wait_for("the node", START_S, lambda: _output("sinfo", "--noheader", "-o", "%T", env=environment) == {"idle"})
        stack.callback(_end_jobs, environment)
        yield environment


def _write_conf(folder: Path) -> None:
    # newer versions load the plugin of v2, which cannot be used in a container
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    shown = subprocess.run(["slurmd", "-C"], capture_output=True, text=True, env={"PATH": PATH}, check=True)
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        ports = {"ctld_port": one.getsockname()[1], "slurmd_port": other.getsockname()[1]}
    host = socket.gethostname().partition(".")[0]
    facts = {"host": host, "user": getpass.getuser(), "folder": folder, "grace_s": GRACE_S}
    (folder / "slurm.conf").write_text(CONF.format(node=shown.stdout.splitlines()[0], **ports, **facts))
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))


@contextmanager
def _daemon(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run a daemon in another session, so that Ctrl-C does not reach it."""
    log = folder / f"{command[0]}.out"
    with open(log, "w") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        time.sleep(0.5)
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} does not start:\n{log.read_text()}")
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _output(*command: str, env: dict[str, str]) -> set[str]:
    return set(subprocess.run(command, env=env, capture_output=True, text=True).stdout.split())


def _wait_for(what: str, seconds: float, is_ready: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not is_ready():
        assert time.monotonic() < until, f"{what} is not ready after {seconds} s"
        time.sleep(0.2)


def _end_jobs(environment: dict[str, str]) -> None:
    subprocess.run(["scancel", f"--user={getpass.getuser()}"], env=environment, check=False)
    _wait_for("the end of the jobs", STOP_S, lambda: not _output("squeue", "--noheader", env=environment))


def _kill_rest(environment: dict[str, str]) -> None:
    """Kill every process that was started with this configuration."""
    mark = f"SLURM_CONF={environment['SLURM_CONF']}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0"):
                os.kill(int(path.parent.name), signal.SIGKILL)
        except OSError:
            continue  # ended meanwhile, or of another user
