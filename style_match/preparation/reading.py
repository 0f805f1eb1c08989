"""The source with everything that belongs to it, as the config says, all faults together."""

from pathlib import Path

from omegaconf import DictConfig

from style_match import progress
from style_match.data.faults import Faults
from style_match.errors import UserError
from style_match.preparation import dataset, labels
from style_match.preparation.kinds import read_source
from style_match.preparation.source import Columns

SAID = {
    "tables": "photos, with their table where there is one",
    "classes": "one folder for each class",
    "parquet": "Parquet rows with images",
    "huggingface": "a dataset of the `datasets` library",
}


def read(cfg: DictConfig, root: Path) -> tuple[str, labels.Labelled, str]:
    """(task, the source with its labels, text of couples.csv).

    Raises:
        UserError: all faults of the source together.
    """
    faults = Faults(root, cfg.max_faults_shown)
    columns = Columns(cfg.columns.profile_id, cfg.columns.image, cfg.columns.label or cfg.label, cfg.label)
    image_root = Path(cfg.image_root).expanduser().absolute() if cfg.image_root else None
    source = read_source(root, kind=cfg.kind, columns=columns, image_root=image_root, ids=cfg.ids, faults=faults)
    if cfg.kind == "auto":
        progress.say(f"kind={source.kind}: {root} is read as {SAID[source.kind]}")
    if not source.photos:
        if not len(faults):
            faults.add("has no rows")
        faults.raise_if_any()
    base = root if root.is_dir() else root.parent
    table = dataset.find_couples(base, Path(cfg.couples).expanduser().absolute() if cfg.couples else None)
    task = cfg.task if cfg.task != "auto" else "couple" if table else "style"
    if cfg.task == "auto":
        progress.say(f"task={task}: {'couples are there' if table else 'there are no couples'}")
    if task == "couple" and table is None:
        raise UserError(f"task=couple: {base} has no couples.csv; give couples=FILE, or task=style")
    metadata = Path(cfg.metadata).expanduser().absolute() if cfg.metadata else None
    attributes = list(dict.fromkeys([cfg.label, *cfg.attributes, *cfg.leave_out]))
    labelled = labels.join(source, metadata, attributes, columns, faults)
    photos = labelled.source.photos
    allowed = {name: classes for name in attributes if (classes := classes_of(cfg, name))}
    labels.check_classes(labelled, allowed, faults)
    if task == "style":
        labels.check_writing(photos, cfg.label, faults)
    text = ""
    if task == "couple" and table is not None:
        text, _ = dataset.couples_csv(table.parent, labelled.source, faults)
    faults.raise_if_any()
    return task, labelled, text


def classes_of(cfg: DictConfig, attribute: str) -> list[str]:
    """The classes that are allowed, [] where any are."""
    if attribute == cfg.label and cfg.classes is not None:
        return list(cfg.classes)
    schema = cfg.get("schema")
    if not schema:
        return []
    from style_match.schema import Schema

    return list(Schema.from_config(schema, f"schema/{schema.name}.yaml").class_names(attribute))
