"""Which matchers were trained on somebody, and what runs keep of them."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from style_match.errors import UserError
from style_match.forgetting.copies import has_pictures
from style_match.forgetting.rows import Lines

SEEN = "seen.txt"
_TABLES = ("ranks.parquet", "answers.parquet", "tsne.parquet")
_TEXTS = ("rejected.csv", "report.html")
_LOGGERS = ("wandb", "tensorboard")


@dataclass(frozen=True)
class Kept:
    """Files of runs, or pages about them, that hold somebody; `loggers` are folders with pictures of photos."""

    files: tuple[Path, ...]
    loggers: tuple[Path, ...]


def trained_on(hashes: Collection[str], roots: Iterable[Path]) -> list[Path]:
    """Folders below the roots, of runs and of exported matchers, that were trained or selected on one of the photos.

    Args:
        hashes: sha256 (hex) of photos, or `metadata_name`s: what seen.txt lists.
    """
    wanted = set(hashes)
    return sorted(path.parent for path in _below(roots, SEEN) if wanted & set(path.read_text("utf-8").split("\n")))


def of_this_data(
    root: Path, hashes: Collection[str], configs: Iterable[tuple[Path, Mapping[str, Any]]], roots: Iterable[Path]
) -> list[Path]:
    """Run folders whose config names the dataset folder, or that were trained on one of its photos.

    Args:
        hashes: of all photos of the folder.
        configs: folder and config of each run.
    """
    named = {folder for folder, config in configs if names_folder(config, root)}
    return sorted(named | set(trained_on(hashes, roots)))


def names_folder(config: Mapping[str, Any], root: Path) -> bool:
    """Whether the config of a run reads this dataset folder."""
    data = config.get("data")
    place = data.get("root") if isinstance(data, dict) else None
    return isinstance(place, str) and Path(place).expanduser().resolve() == root.resolve()


def kept_in(
    folders: Iterable[Path], configs: Mapping[Path, Mapping[str, Any]], roots: Iterable[Path], lines: Lines
) -> Kept:
    """What the runs of this data keep: embeddings, ranks and answers by id, pages, pictures for loggers.

    Args:
        folders: the runs of this data.
        roots: also below them recommendations that mention the person, and pages of style_match.report that do or that
            show photos.
    """
    files, loggers = set(), []
    for folder in folders:
        files |= {
            folder / name for name in _TABLES if (folder / name).is_file() and _in_table(folder / name, lines.ids)
        }
        files |= {folder / name for name in _TEXTS if (folder / name).is_file() and lines.in_file(folder / name)}
        path = folder / "embeddings.safetensors"
        files |= {path} if path.is_file() and _in_header(path, lines.ids) else set()
        if configs.get(folder, {}).get("logger", {}).get("log_images"):
            loggers += [folder / name for name in _LOGGERS if (folder / name).is_dir()]
    for path in _below(roots, "recommendations.*"):
        holds = _in_table(path, lines.ids) if path.suffix == ".parquet" else lines.in_file(path)
        files |= {path} if holds else set()
    if files or loggers:
        pages = _below(roots, "report.html")
        # a report's thumbnails cannot be told from each other, and its charts mention no id
        files |= {path for path in pages if path.parent not in folders and (has_pictures(path) or lines.in_file(path))}
    return Kept(tuple(sorted(files)), tuple(loggers))


def _in_table(path: Path, ids: Collection[str]) -> bool:
    import pyarrow as pa
    from pyarrow import compute, parquet

    try:
        table = parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is not a readable Parquet file ({error}): delete it, or mend it, first.") from error
    texts = [table[name] for name in table.column_names if pa.types.is_string(table[name].type)]
    return any(compute.any(compute.is_in(column, value_set=pa.array(sorted(ids)))).as_py() for column in texts)


def _in_header(path: Path, ids: Collection[str]) -> bool:
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            about = json.loads(file.read(length)).get("__metadata__", {})
            return any(set(ids) & set(json.loads(value)) for name, value in about.items() if name.endswith("ids"))
        except (ValueError, OverflowError, AttributeError, TypeError) as error:
            raise UserError(f"{path} is no readable safetensors file ({error}): delete it first.") from error


def _below(roots: Iterable[Path], name: str) -> set[Path]:
    return {path.resolve() for root in roots for path in root.rglob(name) if path.is_file()}
