"""What runs, exported matchers and recommendations hold of a person, and which of them were trained on the person."""

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from style_match.cli.run_config import SEEN
from style_match.curation.rows import PersonNames
from style_match.utils.errors import UserError
from style_match.utils.files import read_yaml

_TABLES = ("ranks.parquet", "answers.parquet", "tsne.parquet")
_TEXTS = ("rejected.csv", "report.html", "train.log", "evaluate.log")
_LOGGERS = ("wandb", "tensorboard")

Configs = Mapping[Path, Mapping[str, Any]]  # run folder -> its config


def read_configs(roots: Iterable[Path]) -> dict[Path, dict[str, Any]]:
    """Return the config of every run below `roots`; other files named config.yaml are skipped."""
    configs = {}
    for path in sorted(_files_below(roots, "config.yaml")):
        try:
            config = read_yaml(path)
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if isinstance(config, dict) and "data" in config:
            configs[path.parent] = config
    return configs


def option(config: Mapping[str, Any], group: str, name: str) -> Any:
    """Return an option of a group, or None where the config lacks it."""
    node = config.get(group)
    return node.get(name) if isinstance(node, dict) else None


def uses_dataset(config: Mapping[str, Any], root: Path) -> bool:
    """Whether a run reads this dataset folder."""
    folder = option(config, "data", "root")
    return isinstance(folder, str) and Path(folder).expanduser().resolve() == root.resolve()


def trained_on(seen_names: Collection[str], roots: Iterable[Path]) -> list[Path]:
    """Return the runs and matchers below `roots` that were trained or selected on one of the photos.

    Args:
        seen_names: sha256 (hex) of photos, or their `metadata_name`.
    """
    names = set(seen_names)
    return sorted(path.parent for path in _files_below(roots, SEEN) if names & set(path.read_text("utf-8").split("\n")))


def files_about(names: PersonNames, run_folders: Collection[Path], roots: Iterable[Path]) -> list[Path]:
    """Return the files that show a person or list an id, report pages first, which are found by means of the others.

    Args:
        names: of the person.
        run_folders: runs of the person's dataset folder; in other runs the same id may be somebody else.
        roots: folders with recommendations, which count if they mention the person, and with pages of
            `style_match.report`, whose thumbnails may show anybody.
    """
    files = {folder / name for folder in run_folders for name in (*_TABLES, *_TEXTS, "embeddings.safetensors")}
    files |= _files_below(roots, "recommendations.*")
    found = {path for path in files if path.is_file() and _is_about(path, names)}
    pages = {path for path in _files_below(roots, "report.html") if not (path.parent / "config.yaml").exists()}
    shown = {path for path in pages if names.in_file(path) or (found and has_photos(path))}
    return [*sorted(shown), *sorted(found)]


def logger_folders(run_folders: Iterable[Path], configs: Configs) -> list[Path]:
    """Return folders of loggers that were given pictures of photos."""
    with_images = [folder for folder in run_folders if option(configs.get(folder, {}), "logger", "log_images")]
    return [path for folder in with_images for name in _LOGGERS if (path := folder / name).is_dir()]


def has_photos(page: Path) -> bool:
    """Whether an HTML page embeds photos (JPEG); charts are PNG."""
    return b"data:image/jpeg" in page.read_bytes()


def _is_about(path: Path, names: PersonNames) -> bool:
    import pyarrow as pa
    from pyarrow import compute, parquet
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix == ".parquet":
            ids = pa.array(sorted(names.stored_ids))
            columns = [column for column in parquet.read_table(path).columns if pa.types.is_string(column.type)]
            return any(compute.any(compute.is_in(column, value_set=ids)).as_py() for column in columns)
        if path.suffix == ".safetensors":
            with safe_open(path, "np") as file:
                header = file.metadata() or {}
            return any(names.stored_ids & set(json.loads(text)) for key, text in header.items() if key.endswith("ids"))
        return names.in_file(path)
    except (OSError, pa.ArrowException, SafetensorError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}). Delete or repair it.") from error


def _files_below(roots: Iterable[Path], pattern: str) -> set[Path]:
    return {path.resolve() for root in roots for path in root.rglob(pattern) if path.is_file()}
