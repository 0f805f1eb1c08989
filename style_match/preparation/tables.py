"""A source with a table of profiles: profiles.csv or .parquet that names image files."""

from pathlib import Path, PurePosixPath

from style_match.data.faults import Faults
from style_match.data.image_path import ImagePaths, is_absent
from style_match.data.profiles import LEFT_OUT
from style_match.data.table import read_table
from style_match.preparation.source import Columns, Source, SourcePhoto, check_ids, to_split


def read_tables(root: Path, columns: Columns, image_root: Path | None, faults: Faults) -> Source:
    """The rows of the table; images are relative to `image_root`, or to the folder."""
    table = read_table(root, "profiles", ((columns.profile_id, columns.image),), faults)
    if table is None:
        return Source(root, "tables", (), ())
    name = table.path.name
    columns.check(table.header, name, faults)
    base = image_root or root
    images = ImagePaths(base, (root, base), root)
    photos, absent = [], []
    for row, record in table.records():
        profile_id, image = record[columns.profile_id], record[columns.image]
        path, fault = images.find(image) if image else (None, "the cell is missing; fill it in or remove the row")
        cells = columns.renamed(record)
        if path is None and not cells.get(LEFT_OUT):  # what is left out already need not be there
            absent.append((table.place(row), fault.replace("data.image_root", "image_root")))
        if "split" in cells:
            cells["split"] = to_split(cells["split"])
        image = str(PurePosixPath(image))
        photos.append(SourcePhoto(profile_id, image, name, row, cells, path=path, unit=table.unit))
    if len(absent) == len(photos) > 2 and all(is_absent(fault) for _, fault in absent):
        what = (
            f"none of the {len(photos)} images exists below {base}; set image_root to the folder they are relative to"
        )
        faults.add(what, file=name, column=columns.image)
    else:
        for place, fault in absent:
            faults.add(fault, file=name, place=place, column=columns.image)
    check_ids(photos, faults, remedy="the row stands there twice; remove one", several=True)
    header = tuple(columns.renamed(dict.fromkeys(table.header, "")))
    return Source(root, "tables", tuple(photos), header)
