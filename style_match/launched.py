"""Which one this process is, where a launcher started several of a command side by side."""

import os
from dataclasses import dataclass

from style_match.errors import UserError

# Launcher -> its variables of rank, number of processes and rank on this machine. Slurm gives a batch script, and jobs
# of one task, a rank and SLURM_NTASKS too; SLURM_STEP_NUM_TASKS tells how many processes srun really started.
VARIABLES = {
    "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "srun": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
}


@dataclass(frozen=True)
class Launched:
    """`rank` among the `num` processes of all machines, `local_rank` among those of this machine, both from 0."""

    by: str
    rank: int
    num: int
    local_rank: int


def launched() -> Launched | None:
    """What the environment says; None where this process is the only one.

    Raises:
        UserError: the variables of a launcher contradict each other.
    """
    for by, names in VARIABLES.items():
        values = [os.environ.get(name) for name in names]
        if None in values:
            continue
        said = ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
        try:
            rank, num, local_rank = (int(value or "") for value in values)
        except ValueError:
            raise UserError(f"{said}: these are no numbers. Unset them, or start the command by {by}.") from None
        if not 0 <= rank < num or local_rank < 0:
            raise UserError(f"{said}: the rank is none of the processes. Unset them, or start the command by {by}.")
        if num > 1:
            return Launched(by, rank, num, local_rank)
    return None


def refuse_several(step: str) -> None:
    """For steps that are one process.

    Raises:
        UserError: a launcher started several.
    """
    if started := launched():
        raise UserError(
            f"{started.by} started {started.num} processes of style_match.{step}, which is one process: start one. "
            "Only style_match.embed divides its work among several; style_match.train starts its own with "
            "trainer.devices=N."
        )
