"""What the cells of a sweep in one process share: dataset folder, prompts, rows and features, read once for all."""

from omegaconf import DictConfig, OmegaConf

from style_match.drawing import cache_root
from style_match.inputs import Inputs

# Parts of `Inputs`, and the nodes of the config that decide them.
PARTS = (
    *("folder", "synthetic", "prompts", "rows"),
    *("pooling", "poolings", "checkpoint", "store", "dim", "backbone", "features"),
)
DECIDED_BY = ("data", "backbone", "prompt", "pooling", "features")

_last: list[tuple[str, Inputs]] = []  # of the process's last run, where there was one


def inputs_of(cfg: DictConfig) -> Inputs:
    """The inputs of a run; of the last run's in this process those that would be the same, as they were read then."""
    inputs = Inputs(cfg)
    decided = {name: OmegaConf.to_container(cfg[name], resolve=True) for name in DECIDED_BY}
    key = OmegaConf.to_yaml({**decided, "cache": str(cache_root())})
    if _last and _last[0][0] == key:
        made = vars(_last[0][1])
        vars(inputs).update({part: made[part] for part in PARTS if part in made})
    _last[:] = [(key, inputs)]
    return inputs
