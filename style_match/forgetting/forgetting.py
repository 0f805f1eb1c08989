"""One command of `style_match.forget`: whom it is about, the list, the removal, what is left to say."""

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from style_match.data.fingerprint import Fingerprints
from style_match.errors import UserError
from style_match.features.identity import owner_of
from style_match.features.removal import find_rows
from style_match.files import cache_root
from style_match.forgetting import person as persons
from style_match.forgetting.copies import mentions
from style_match.forgetting.journal import Journal, write_forgotten
from style_match.forgetting.person import Person, Row, Table
from style_match.forgetting.prompts import addresses, configs_below
from style_match.forgetting.rows import Lines
from style_match.forgetting.runs import Kept, kept_in, names_folder, of_this_data, trained_on
from style_match.forgetting.steps import Step, steps
from style_match.index.known import absent
from style_match.spelling import plain
from style_match.web.running import running_apps

DEFAULT_RUNS = "runs"


class Forgetting:
    """Finds the person when it is made; removes nothing before `remove`.

    Args:
        cfg: conf/forget.yaml.

    Raises:
        UserError: no such folder or profile, a table that cannot be read; another forgetting was interrupted here.
    """

    def __init__(self, cfg: DictConfig):
        self.cfg = cfg
        self.root = _folder(cfg.data.root, "data.root")
        self.image_root = self.root if cfg.data.image_root is None else _folder(cfg.data.image_root, "data.image_root")
        self.features = Path(cfg.features.root).expanduser() if cfg.features.root else cache_root() / "features"
        self.fingerprints = Fingerprints(cache_root() / "fingerprints.sqlite")
        self.runs = self._run_roots()
        self.configs = dict(configs_below(self.runs))
        self.journal = Journal(self.root)
        asked = _ids(cfg.profile)
        begun = self.journal.read()
        table = persons.read(self.root, self.image_root, self.fingerprints)
        if begun is None:
            place = f"the profiles of {self.root}"
            theirs, notes = persons.find(table, asked, near_copies=cfg.near_copies, place=place)
            self.person = self._describe(table, asked, theirs, notes)
            self.of_data = self._runs_of(table)
            self.lines = [(each.where, each.what, each.do(dry_run=True)) for each in self._steps]
        else:
            self.person, self.lines = begun
            if set(map(plain, self.person.asked)) != set(asked):
                raise UserError(
                    f"{self.root}: forgetting profile={_written(self.person.asked)} was interrupted. Finish it first: "
                    f"give that command again."
                )
            self.of_data = self._runs_of(table)

    def show(self) -> None:
        """Print what `remove` would do."""
        self._print("would be removed", self._left(but=[where for where, _, count in self.lines if count]))
        print("dry_run=true: nothing was removed")

    def remove(self) -> None:
        """Remove it all, a place at a time, and write forgotten.json.

        Raises:
            UserError: places from which the person could not be removed, all of them; the others are done.
        """
        trained, work = self._trained(), self._steps
        self.journal.write(self.person, self.lines)
        failed = []
        for step in work:
            try:
                step.do(dry_run=False)
            except UserError as error:
                failed.append(str(error))
        if failed:
            raise UserError(
                "\n".join(
                    [
                        *failed,
                        "All else is removed. Correct this, then give the same command again: it finishes the rest.",
                    ]
                )
            )
        left = self._left()
        lines = [line for line in self.lines if line[2]]
        path = write_forgotten(self.root, self.person, lines, trained=trained, left=left)
        self.journal.close()
        self._print("removed", left)
        print(f"written: {path}")

    @cached_property
    def _steps(self) -> list[Step]:
        stores = {self.root / "splits"}
        for config in self.configs.values():
            store = config.get("split", {}).get("store")
            if names_folder(config, self.root) and isinstance(store, str) and store:
                stores.add(Path(store).expanduser())
        places = steps(self.person, self.root, self.image_root, sorted(stores), self.features, self.fingerprints)
        of_runs = self._kept.files if self.cfg.runs_too else ()
        return [*places, *(Step(str(path), "files", partial(_unlink, path)) for path in of_runs)]

    @cached_property
    def _kept(self) -> Kept:
        return kept_in(self.of_data, self.configs, self.runs, Lines(self.person.profile_ids, self.person.images))

    def _runs_of(self, table: Table) -> list[Path]:
        hashes = {row.sha256 for row in table.rows if row.sha256 is not None}
        return of_this_data(self.root, {*hashes, *self.person.seen}, self.configs.items(), self.runs)

    def _describe(self, table: Table, asked: Sequence[str], theirs: Sequence[Row], notes: Sequence[str]) -> Person:
        person = persons.describe(table, asked, theirs, notes)
        own = [row for row in theirs if row.sha256 in person.sha256 or row.sha256 is None]
        return Person(**{**vars(person), "addresses": addresses(table, own, self.configs.values())})

    def _trained(self) -> list[str]:
        return [str(folder) for folder in trained_on(self.person.seen, self.runs)]

    def _left(self, but: Sequence[str] = ()) -> list[str]:
        """What is not removed, without a word that tells the person; not the places `but`."""
        lines = Lines(self.person.profile_ids, self.person.images)
        owners = {*self.person.sha256, *map(owner_of, self.person.stored_ids)}
        left = [
            f"{found.folder}: {found.unknown} rows of an older version do not tell whose they are. Those under the "
            "prompts of conf/prompt and of the runs were looked for; to be sure delete this folder, its rows are made "
            "anew"
            for found in find_rows(self.features, owners, self.person.addresses)
            if found.unknown
        ]
        if not self.cfg.runs_too:
            left += [f"{path}: holds the person; runs_too=true removes it" for path in self._kept.files]
        left += [f"{path}: pictures for a logger that may show the person" for path in self._kept.loggers]
        left += self._absent_indexes()
        found = mentions(self.person, self.root, leave_out=[*self.of_data, *(self.root / where for where in but)])
        names = [str(path.relative_to(self.root)) for path in found]
        names = ["a file whose name tells the person" if lines.in_text(name) else name for name in names]
        left += [f"{name} mentions the person: look at it yourself" for name in names]
        if (self.root / "prepared.json").is_file():
            left.append(
                "the source that prepared.json names: forget the person there too, if it has a profiles.csv; else "
                "delete the photo and its line of metadata.jsonl there (a labels.sqlite keeps the answer until it is "
                "deleted). Under the same id prepare does not bring it back here; under another id it would"
            )
        return left

    def _absent_indexes(self) -> list[str]:
        try:
            return [f"index {line}" for line in absent(self.root)]
        except UserError as error:
            return [str(error)]

    def _print(self, title: str, left: Sequence[str]) -> None:
        print(f"profile {', '.join(self.person.profile_ids)} of {self.root}")
        for note in self.person.notes:
            print(f"note: {note}")
        print(f"{title}:")
        for where, what, count in self.lines:
            if count:
                print(f"  {where}: {count} {what}")
        for app in running_apps(self.root):
            print(f"running app: {app} shows this folder; before its next answer it reads the folder again")
        trained = self._trained()
        print(f"trained or selected on them: {len(trained)} runs and matchers (listed, not removed; train them anew)")
        for folder in trained:
            print(f"  {folder}")
        for line in left:
            print(f"not removed: {line}")

    def _run_roots(self) -> list[Path]:
        named = [self.cfg.runs] if isinstance(self.cfg.runs, str) else list(self.cfg.runs or [])
        roots = []
        for name in named:
            path = Path(str(name)).expanduser()
            if path.is_dir():
                roots.append(path.resolve())
            elif name != DEFAULT_RUNS:
                raise UserError(f"runs={name}: there is no such folder.")
        if (self.root / DEFAULT_RUNS).is_dir():
            roots.append((self.root / DEFAULT_RUNS).resolve())
        return list(dict.fromkeys(roots))


def _ids(value: Any) -> list[str]:
    given = list(value) if isinstance(value, ListConfig | list) else [value]
    for each in given:
        if not isinstance(each, str) or not plain(each):  # 1_2 in a YAML would be somebody else's 12
            raise UserError(f"profile={each}: is no id. In a YAML, write an id in quotes.")
    return list(dict.fromkeys(map(plain, given)))


def _written(ids: Sequence[str]) -> str:
    return ids[0] if len(ids) == 1 else f"[{','.join(ids)}]"


def _folder(path: str, option: str) -> Path:
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise UserError(f"{option}={path}: there is no such folder.")
    return folder


def _unlink(path: Path, *, dry_run: bool) -> int:
    there = path.is_file()
    if there and not dry_run:
        path.unlink()
    return int(there)
