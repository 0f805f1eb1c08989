"""What submitit says of the jobs of a sweep on a cluster, in words of this package.

Its errors are known by their name and text: submitit is an extra, and is imported by its launcher alone.
"""

import re

from style_match.errors import UserError

_SBATCH = re.compile(r"sbatch: error: (.+)")
_LOST = re.compile(r"Job (?P<job>\S+) .*with path (?P<path>.+)_result\.pkl\s.*\(state: (?P<state>\S+)\)")


def mistake(error: Exception) -> UserError | None:
    """What the user can mend, with the remedy; None where `error` tells of no such."""
    if 'Could not detect "srun"' in str(error):
        return UserError(
            "hydra/launcher=submitit_slurm: Slurm's commands are not on this machine (no srun). Start the sweep on a "
            "login node, or take hydra/launcher=joblib."
        )
    if refused := _SBATCH.findall(_said(error)):
        return UserError(f"Slurm refused the jobs: {'; '.join(refused)}. Change hydra.launcher to what it admits.")
    if "timed-out" in _said(error):
        return UserError(
            "its time was up (hydra.launcher.timeout_min). The same command goes on from its last checkpoint; with "
            "hydra.launcher.max_num_timeout=10 Slurm does that by itself, ten times."
        )
    return None


def lost_job(error: Exception) -> str | None:
    """What to say of a job that ended without an answer; None where `error` tells of no such."""
    lost = _LOST.search(_said(error))
    return lost and (
        f"Job {lost['job']} ended without an answer (state {lost['state']}): it was killed or cancelled, or its node "
        f"went down. Its log is {lost['path']}_log.err. Other jobs of the sweep may still be at work: wait for them "
        "(squeue, scancel) before the same command goes on."
    )


def _said(error: Exception) -> str:
    return str(error) if type(error).__name__ in ("UncompletedJobError", "FailedJobError") else ""
