"""`python -m style_match.label`: asks a labeler what a schema wants to know of each photo, and writes metadata.jsonl.

Every answer is kept in `labels.sqlite` in `out`, addressed by all that decides it (photo, prompt, schema, model,
options), and is never asked for again. metadata.jsonl is made from it: of each photo and schema the last answer, and
those of several schemas side by side, the last command winning where both have an attribute. An answer that is
superseded stays in the ledger and counts again when its command is given again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from style_match.cli import main
from style_match.synthetic.dataset import NOTE as SYNTHETIC
from style_match.synthetic.dataset import is_synthetic
from style_match.utils.errors import UserError
from style_match.utils.progress import bar, say

if TYPE_CHECKING:
    from style_match.data.schema import Schema
    from style_match.labeling.answers import Labeler, Request
    from style_match.labeling.audit import HumanLabels
    from style_match.labeling.ledger import Ledger
    from style_match.labeling.outputs import Failure

# options of `labeler` that are the step's, whoever labels; the others are the constructor's
COMMON = ("language", "max_side_px", "jpeg_quality", "concurrency", "max_cost_usd", "dry_run", "audit")


@dataclass(frozen=True)
class Photos:
    """Those that may be asked about, by image: hash of the bytes, and file; the others with the reason.

    Attributes:
        policies: decode policies of all photos, by image.
    """

    sha256: dict[str, str]
    paths: dict[str, Path]
    left_out: "list[Failure]"
    policies: dict[str, str]


def run(cfg: DictConfig) -> None:
    """Label the photos of `images` with `schema` by `labeler`, and write into `out`.

    Raises:
        UserError: bad photos, schema, profiles or audit; another's metadata.jsonl; too much money; the labeler says
            stop; at the end, more than `max_failed_share` of the photos without an answer. What was answered is kept.
    """
    from style_match.data.schema import Schema
    from style_match.labeling.audit import read_human_labels
    from style_match.labeling.ledger import Ledger
    from style_match.labeling.outputs import refuse_foreign

    choices = HydraConfig.get().runtime.choices
    schema = Schema.from_config(cfg.schema, file=f"schema/{choices['schema']}.yaml")
    images = Path(cfg.images).expanduser()
    out = Path(cfg.out).expanduser() if cfg.out else images
    photos = _find(cfg, images, out)
    audit = cfg.labeler.audit
    shown = cfg.max_faults_shown
    human = (
        read_human_labels(Path(audit).expanduser(), schema, photos.sha256, max_faults_shown=shown) if audit else None
    )
    labeler = _make_labeler(cfg, schema, out)
    requests = _make_requests(cfg, schema, photos, labeler)
    is_drawn = choices["labeler"] == "demo" or is_synthetic(images)
    title = "synthetic data" if is_drawn else f"labeler={choices['labeler']}"
    with Ledger(out) as ledger:
        if cfg.labeler.dry_run:
            _show_one(labeler, requests[0], ledger, out)
            return
        gone = refuse_foreign(out, images, ledger) - set(photos.sha256)
        lines, failed = _label(cfg, labeler, requests, ledger, photos, out)
        if is_synthetic(images) or (choices["labeler"] == "demo" and lines):
            ledger.note(SYNTHETIC, "true")
    if gone:
        say(f"{len(gone)} photos of the former metadata.jsonl are not asked about any more; it has no line of them now")
    _conclude(schema, lines, failed, len(photos.sha256), title)
    print(f"\n{out / 'metadata.jsonl'}\n{out / 'failed.csv'}")
    if human is not None:
        _audit(cfg, human, lines, schema, out, title)
    if len(failed) > cfg.max_failed_share * len(photos.sha256):
        raise UserError(
            f"{len(failed)} of {len(photos.sha256)} photos have no answer, more than max_failed_share="
            f"{cfg.max_failed_share:g}: {out / 'failed.csv'} says why. The same command asks for them again."
        )


def _find(cfg: DictConfig, images: Path, out: Path) -> Photos:
    """The photos, those left out that nobody may be asked about or that cannot be read."""
    from style_match.data.fingerprints import Fingerprints
    from style_match.data.images import said_faults
    from style_match.labeling.audit import FOLDER, PAGE
    from style_match.labeling.outputs import DRY_RUN, OWN_FILES, Failure, is_dry_run, said_failures
    from style_match.labeling.photos import check_photos, find_photos, said_of, said_system, without_consent
    from style_match.utils.files import cache_root

    profiles = Path(cfg.profiles).expanduser() if cfg.profiles else None
    own = [folder / name for folder in (images, out) for name in OWN_FILES]
    own += [path for folder in (images, out) if is_dry_run(path := folder / DRY_RUN)]
    own += [folder / FOLDER for folder in (images, out) if (folder / FOLDER / PAGE).exists()]
    found = find_photos(
        images, profiles, skip=own, max_faults_shown=cfg.max_faults_shown, levels_up=cfg.profiles_levels
    )
    with bar("checking photos", "photos", show=cfg.progress) as advance:
        checked = check_photos(
            found.photos,
            Fingerprints(cache_root() / "fingerprints.sqlite"),
            max_source_pixels=cfg.max_source_pixels,
            num_workers=cfg.num_workers,
            progress=advance,
        )
    refused = without_consent(found.table, found.photos, checked.identity, max_faults_shown=cfg.max_faults_shown)
    bad = {image: fault for image, fault in checked.bad.items() if image not in refused}
    if bad and cfg.on_bad_image == "error":
        title = f"{len(bad)} of {len(found.photos)} photos cannot be used (mend or remove them, or leave them out with "
        rows = [f"{found.photos[image]}: {fault}" for image, fault in bad.items()]
        raise UserError("\n  ".join([f"{title}on_bad_image=exclude):", *rows]))
    left_out = [Failure(image, "no consent", why, 0) for image, why in refused.items()]
    left_out += [Failure(image, "unreadable", fault, 0) for image, fault in bad.items()]
    kept = {image: photo for image, photo in checked.sha256.items() if image not in refused and image not in bad}
    if note := said_faults(checked.without_profile):
        say(note)
    if unknown := said_of(found.table):
        say(unknown)
    if found.num_system:
        say(said_system(found.num_system))
    others = f"; {found.num_other} other files are passed over" if found.num_other else ""
    say(f"photos: {len(found.photos)}, {len(set(checked.sha256.values()))} different{others}")
    for line in said_failures(left_out):
        say(f"left out, {line}")
    if not kept:
        raise UserError(f"images={images}: no photo is left to label, of {len(found.photos)}.")
    return Photos(kept, {image: found.photos[image] for image in kept}, left_out, checked.policies)


def _make_labeler(cfg: DictConfig, schema: "Schema", out: Path) -> "Labeler":
    from style_match.labeling.answers import Task

    options = OmegaConf.to_container(cfg.labeler, resolve=True)
    assert isinstance(options, dict)
    make = instantiate({name: value for name, value in options.items() if name not in COMMON}, _convert_="all")
    common = cfg.labeler
    task = Task(
        schema=schema,
        language=common.language,
        out=out,
        concurrency=common.concurrency,
        max_faults_shown=cfg.max_faults_shown,
        show=cfg.progress,
    )
    return make(task=task)


def _make_requests(cfg: DictConfig, schema: "Schema", photos: Photos, labeler: "Labeler") -> "list[Request]":
    """One for all photos of the same bytes, in the order of the photos."""
    from style_match.labeling.answers import Request
    from style_match.labeling.photos import Encoding

    common = cfg.labeler
    encoding = Encoding(common.max_side_px, common.jpeg_quality, cfg.max_source_pixels)
    instructions, text = schema.instructions(common.language), schema.text(common.language)
    identity = labeler.identity()
    images_of: dict[str, list[str]] = {}
    for image, photo in photos.sha256.items():
        images_of.setdefault(photo, []).append(image)
    return [
        Request(
            images=tuple(images),
            photo=photos.paths[images[0]],
            sha256=photo,
            instructions=instructions,
            text=text,
            schema=schema,
            encoding=encoding,
            labeler=identity,
            decode_policy=photos.policies[images[0]],
        )
        for photo, images in images_of.items()
    ]


def _show_one(labeler: "Labeler", request: "Request", ledger: "Ledger", out: Path) -> None:
    from style_match.labeling.outputs import write_dry_run

    path = write_dry_run(out, ledger, request.jpeg())
    print(json.dumps(labeler.preview(request), indent=2, ensure_ascii=False))
    say(f"dry run: nothing was sent. {path} is what would be sent of {request.image}.")


def _label(
    cfg: DictConfig,
    labeler: "Labeler",
    requests: "Sequence[Request]",
    ledger: "Ledger",
    photos: Photos,
    out: Path,
) -> "tuple[dict[str, dict[str, Any]], list[Failure]]":
    """Ask for what is not stored, and write the files, whatever ends it: the lines and the photos without an answer."""
    from style_match.labeling.answers import Status
    from style_match.labeling.ledger import LedgerRecord
    from style_match.labeling.outputs import said_after, said_before

    stored = ledger.stored(request.key for request in requests)
    answered = {key for key, one in stored.items() if one.answer.status is Status.ANSWERED}
    to_ask = [request for request in requests if request.key not in answered]
    say(f"answers: {len(answered)} of {len(requests)} stored already, {len(stored) - len(answered)} failed before")
    at_work = labeler.at_work(to_ask)
    num_new = len(to_ask) - len(at_work)
    if lost := ledger.take_in_flight(at_work=at_work):
        say(f"{lost} requests were in flight when an earlier run ended: those that stay unanswered are asked again")
    estimate = labeler.estimate(to_ask) if to_ask else None
    of_new = estimate and estimate.part(num_new, len(to_ask))
    say(said_before(num_new, of_new, num_at_work=len(at_work)))
    most = cfg.labeler.max_cost_usd
    record = LedgerRecord(ledger, to_ask, estimate=estimate, max_cost_usd=most, at_work=at_work)
    ledger.renew(answered)
    try:
        if to_ask:
            with bar("labelling", "photos", show=cfg.progress) as advance:
                labeler.label(to_ask, record, advance)
    finally:
        written = _write(requests, ledger, photos, out)
        say(said_after(record, paid=estimate is not None))
    return written


def _write(
    requests: "Sequence[Request]", ledger: "Ledger", photos: Photos, out: Path
) -> "tuple[dict[str, dict[str, Any]], list[Failure]]":
    from style_match.labeling.answers import Status
    from style_match.labeling.outputs import Failure, write_failed, write_metadata

    stored = ledger.stored(request.key for request in requests)
    failed = []
    for request in requests:
        one = stored.get(request.key)
        if one is None or one.answer.status is not Status.ANSWERED:
            why = ("unanswered", "the run ended before", 0)
            if one is not None:
                why = (one.answer.status.value, one.answer.detail, one.attempts)
            failed += [Failure(image, *why) for image in request.images]
    lines = write_metadata(out, ledger, photos.sha256)
    write_failed(out, [*photos.left_out, *failed])
    return lines, failed


def _conclude(
    schema: "Schema",
    lines: Mapping[str, Mapping[str, Any]],
    failed: "Sequence[Failure]",
    num_photos: int,
    title: str,
) -> None:
    """Counts by class to stdout, what failed to stderr."""
    from style_match.data.schema import shortened
    from style_match.labeling.outputs import MAX_NAMED, counts, said_failures, telling

    print(counts(schema, lines, num_photos, title))
    for line in said_failures(failed):
        say(f"no answer, {line}")
    if kept := [one.image for one in failed if one.image in lines]:
        say(f"{len(kept)} of these keep what earlier commands were answered ({shortened(kept, most=MAX_NAMED)})")
    if told := telling(schema, lines):
        say(
            f"{len(told)} photos have texts that tell their class, which prompt=image_metadata refuses "
            f"({shortened(told, most=MAX_NAMED)}): reword them in a copy of metadata.jsonl, or use prompt=image"
        )


def _audit(
    cfg: DictConfig,
    human: "HumanLabels",
    lines: Mapping[str, Mapping[str, Any]],
    schema: "Schema",
    out: Path,
    title: str,
) -> None:
    from style_match.labeling.audit import compare, markdown, write_audit

    options = cfg.audit
    intervals = dict(confidence=options.confidence, num_resamples=options.num_resamples, seed=options.seed)
    if human.passed_over:
        say(f"audit: columns that are no attribute with classes are passed over: {', '.join(human.passed_over)}")
    found = compare(human, lines, schema, **intervals)
    paths = write_audit(out, found, title=title, confidence=options.confidence, dpi=options.dpi)
    print("\n" + markdown(found, title, options.confidence))
    print("\n".join(map(str, paths)))


if __name__ == "__main__":
    main.main("label", run)
