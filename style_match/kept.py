"""What the cells of a sweep in one process share: dataset folder, prompts, rows and features, read once for all."""

from stat import S_ISDIR

from omegaconf import DictConfig, OmegaConf

from style_match.data.folder import DatasetFolder
from style_match.drawing import cache_root
from style_match.inputs import Inputs

# Parts of `Inputs`, and the nodes of the config that decide them.
PARTS = (
    *("folder", "synthetic", "prompts", "rows"),
    *("pooling", "poolings", "checkpoint", "store", "dim", "backbone", "features"),
)
Files = dict[str, tuple[int, int]]
DECIDED_BY = ("data", "backbone", "prompt", "pooling", "features")

_last: list[tuple[str, Files, Inputs]] = []  # of the process's last run, where there was one


def inputs_of(cfg: DictConfig) -> Inputs:
    """The inputs of a run; of the last run's in this process those that would be the same, files unchanged.

    Raises:
        UserError: any fault of the dataset folder.
    """
    inputs = Inputs(cfg)
    decided = {name: OmegaConf.to_container(cfg[name], resolve=True) for name in DECIDED_BY}
    key = OmegaConf.to_yaml({**decided, "cache": str(cache_root())})
    if _last and _last[0][0] == key and _last[0][1] == _files(_last[0][2].folder):
        made = vars(_last[0][2])
        vars(inputs).update({part: made[part] for part in PARTS if part in made})
    _last.clear()
    _last.append((key, _files(inputs.folder), inputs))
    return inputs


def _files(folder: DatasetFolder) -> Files:
    """Size and time of the tables and photos of a dataset folder."""
    found = {}
    for path in [*folder.root.iterdir(), *(photo.path for photo in folder.photos)]:
        try:
            about = path.stat()
        except OSError:  # removed meanwhile
            continue
        if not S_ISDIR(about.st_mode):
            found[str(path)] = (about.st_size, about.st_mtime_ns)
    return found
