"""Which devices a head is trained on, and what Lightning is told of the processes there."""

import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.accelerators import MPSAccelerator
from lightning.pytorch.strategies import DDPStrategy
from omegaconf import DictConfig
from torch import nn

from style_match.errors import UserError


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
    """DDP in a process group that is joined already (`style_match.followers`)."""

    def _configure_launcher(self) -> None:
        self._launcher = None  # Lightning's own would choose the number of threads anew
