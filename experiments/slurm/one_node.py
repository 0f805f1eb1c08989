"""A Slurm of one node, this machine, for as long as a command runs. Linux; the packages of Debian or Ubuntu.

    python experiments/slurm/one_node.py COMMAND...

Nothing is set up outside a folder that is removed afterwards, and no daemon outlives the command: configuration, key,
state, logs and sockets are in the folder, the ports are free ones, and all daemons run as the user who calls.
Partitions: `debug`; `grace`, whose jobs have time to end when they are preempted; `urgent`, which preempts both.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "squeue", "sinfo")
INSTALL = "apt-get install -y --no-install-recommends slurm-wlm munge"
GRACE_S = 5
START_S = 30  # within which the node must be idle
STOP_S = 20
# Debian keeps daemons where only root's PATH looks
PATH = os.pathsep.join([str(Path(__file__).resolve().parent / "bin"), os.environ["PATH"], "/usr/sbin", "/sbin"])

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
# a container has neither cgroups of its own nor systemd
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
    """Why no node can be set up here, with the remedy; None where one can."""
    absent = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
    if not absent:
        return None
    root = "" if os.geteuid() == 0 else "sudo "
    return f"Slurm is not installed ({', '.join(absent)} not found): {root}{INSTALL}"


@contextmanager
def one_node(folder: Path) -> Iterator[dict[str, str]]:
    """Start the node; yields the environment in which Slurm's commands speak to it.

    Args:
        folder: for all its files; made, and left behind with the logs. At most 80 characters, for a socket is in it.
    Raises:
        SystemExit: packages lack, or a daemon does not start.
    """
    if why := missing():
        raise SystemExit(why)
    folder = folder.absolute()
    for part in ("state", "spool"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    _write_conf(folder)
    environment = {**os.environ, "PATH": PATH, "SLURM_CONF": str(folder / "slurm.conf")}
    with ExitStack() as stack:
        # backwards: first the jobs end, then the daemons, then what they have left
        stack.callback(_kill_rest, environment)
        munge = ["munged", "--foreground", "--force", f"--key-file={folder / 'munge.key'}"]
        munge += [f"--{name}={folder / f'munge.{name}'}" for name in ("socket", "pid-file")]
        munge += [f"--seed-file={folder / 'munge.seed'}", f"--log-file={folder / 'munge.log'}"]
        for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D"]):
            stack.enter_context(_daemon(command, folder, environment))
        _wait_for("the node", START_S, lambda: _says("sinfo", "--noheader", "-o", "%T", env=environment) == {"idle"})
        stack.callback(_end_jobs, environment)
        yield environment


def _write_conf(folder: Path) -> None:
    # that of v2, which newer versions load although nothing here needs it, cannot be used in a container
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
    """A daemon in a session of its own, so that Ctrl-C reaches it last."""
    log = folder / f"{command[0]}.out"
    with open(log, "w") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        time.sleep(0.5)
        if process.poll() is not None:
            raise SystemExit(f"{command[0]} does not start:\n{log.read_text()}")
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _says(*command: str, env: dict[str, str]) -> set[str]:
    return set(subprocess.run(command, env=env, capture_output=True, text=True).stdout.split())


def _wait_for(what: str, seconds: float, is_so) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > until:
            raise SystemExit(f"{what} is not ready after {seconds} s.")
        time.sleep(0.2)


def _end_jobs(environment: dict[str, str]) -> None:
    subprocess.run(["scancel", f"--user={getpass.getuser()}"], env=environment, check=False)
    _wait_for("the end of the jobs", STOP_S, lambda: not _says("squeue", "--noheader", env=environment))


def _kill_rest(environment: dict[str, str]) -> None:
    """Whatever still runs with this configuration, but for this process and those that it was started by."""
    mark = f"SLURM_CONF={environment['SLURM_CONF']}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0"):
                os.kill(int(path.parent.name), signal.SIGKILL)
        except OSError:
            continue  # ended meanwhile, or somebody else's


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    own = tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True)
    with own as folder, one_node(Path(folder)) as environment:
        return subprocess.run(sys.argv[1:], env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
