"""One mistake, as data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One mistake.

    Attributes:
        name: a word for it.
        mistake: what the user did.
        words: the command line after `python -m style_match.STEP`.
        says: words that the answer must contain; none where it simply works.
        breaks: what is done to the world before.
        code: of the exit; 0 where it is no mistake but looks like one.
        step: train, embed or evaluate.
        has_run: whether a trained run lies in FOLDER/run.
        early: whether it is answered before torch is imported.
        environment: variables besides those of every case.
        busy: a folder in which another process is at work.
        file_kb: no file may become larger (blocks of 1,024 bytes), as if the disk were full; None: no such bound.
        lacks: a package that Python does not find.
        own_process: whether only a process of its own gives this answer.
        remedies: what the answer proposes, each of which is enough: a change of the world, or more words.
    """

    name: str
    mistake: str
    words: str
    says: tuple[str, ...]
    breaks: Callable[[Path], object] = lambda folder: None
    code: int = 2
    step: str = "train"
    has_run: bool = False
    early: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    busy: str | None = None
    file_kb: int | None = None
    lacks: str | None = None
    own_process: bool = False
    remedies: tuple[Callable[[Path], object] | str, ...] = ()
