"""What the cells of a sweep in one process share: dataset folder, prompts, rows and features, read once for all."""

from stat import S_ISDIR

from omegaconf import DictConfig, OmegaConf

from style_match.backbone.inputs import Inputs
from style_match.data.dataset import DatasetFolder
from style_match.data.fingerprints import stamp
from style_match.utils.files import cache_root

# Parts of `Inputs`, and the nodes of the config that decide them.
PARTS = (
    *("folder", "synthetic", "prompts", "rows"),
    *("pooling", "poolings", "checkpoint", "store", "dim", "backbone", "features"),
)
DECIDED_BY = ("data", "backbone", "prompt", "pooling", "features")
Files = dict[str, list[int]]

_last: list[tuple[str, Files, Inputs]] = []  # of the process's last run, where there was one


def inputs_of(cfg: DictConfig) -> Inputs:
    """The inputs of a run; of the last run's in this process those that would be the same, files unchanged.

    Raises:
        UserError: any fault of the dataset folder.
    """
    inputs = Inputs(cfg)
    decided = {name: OmegaConf.to_container(cfg[name], resolve=True) for name in DECIDED_BY}
    key = OmegaConf.to_yaml({**decided, "cache": str(cache_root())})
    before, files, last = _last.pop() if _last else (None, {}, inputs)  # nothing stays of what cannot be read
    if before == key and files == _files(last.folder):
        made = vars(last)
        vars(inputs).update({part: made[part] for part in PARTS if part in made})
    else:
        files = _files(inputs.folder)
    _last.append((key, files, inputs))
    return inputs


def _files(folder: DatasetFolder) -> Files:
    """Stamps of the tables and photos of a dataset folder."""
    found = {}
    for path in [*folder.root.iterdir(), *(photo.path for photo in folder.photos)]:
        try:
            about = path.stat()
        except OSError:  # removed meanwhile
            continue
        if not S_ISDIR(about.st_mode):
            found[str(path)] = stamp(about)
    return found
