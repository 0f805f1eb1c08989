"""The labeling step: asks a labeler about each photo, stores every answer, and writes metadata.jsonl.

Answers are stored in `labels.sqlite` of `out` under a key of everything that decides them (photo, prompt, schema,
model, options), and are never requested again. metadata.jsonl merges the last answer of each schema for each photo;
where two schemas have the same attribute, the latest command wins.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from style_match.data.fingerprints import Fingerprints, PhotoFacts
from style_match.data.images import colour_fault_note
from style_match.data.schema import Schema, shortened
from style_match.labeling import audit, outputs
from style_match.labeling.answers import Labeler, Request, Status, Task
from style_match.labeling.ledger import Ledger
from style_match.labeling.outputs import Failure
from style_match.labeling.photos import (
    Encoding,
    check_photos,
    consent_note,
    find_photos,
    system_folders_note,
    without_consent,
)
from style_match.labeling.recorder import Recorder
from style_match.labeling.sent_batches import SentBatches
from style_match.synthetic.dataset import NOTE as SYNTHETIC
from style_match.synthetic.dataset import is_synthetic
from style_match.utils.errors import UserError
from style_match.utils.files import cache_root
from style_match.utils.progress import bar, say

# options of `labeler` that belong to the step; the others are arguments of the labeler's constructor
STEP_OPTIONS = ("language", "max_side_px", "jpeg_quality", "concurrency", "max_cost_usd", "dry_run", "audit")

Photos = dict[str, tuple[Path, PhotoFacts]]  # image, as in metadata.jsonl -> file and facts
Lines = dict[str, dict[str, Any]]  # image -> attributes, as in metadata.jsonl


def label(cfg: DictConfig) -> None:
    """Label the photos of `images` with `schema` by `labeler`, and write the results into `out`.

    Raises:
        UserError: A fault in photos, schema, profiles or audit; a metadata.jsonl of another origin; the cost limit; an
            error that ends the run; or, at the end, more than `max_failed_share` of the photos without an answer.
            Answers that arrived are stored.
    """
    choices = HydraConfig.get().runtime.choices
    schema = Schema.from_config(cfg.schema, file=f"schema/{choices['schema']}.yaml")
    images = Path(cfg.images).expanduser()
    out = Path(cfg.out).expanduser() if cfg.out else images
    photos, left_out = _find(cfg, images, out)
    human = None
    if path := cfg.labeler.audit:
        human = audit.read_human_labels(Path(path).expanduser(), schema, photos, max_faults_shown=cfg.max_faults_shown)
    labeler = _make_labeler(cfg, schema, out)
    requests = _make_requests(cfg, schema, photos, labeler)
    is_drawn = choices["labeler"] == "demo" or is_synthetic(images)
    title = "synthetic data" if is_drawn else f"labeler={choices['labeler']}"
    with Ledger(out) as ledger:
        if cfg.labeler.dry_run:
            path = outputs.write_dry_run(out, ledger, requests[0].jpeg())
            print(json.dumps(labeler.preview(requests[0]), indent=2, ensure_ascii=False))
            say(f"dry run: nothing was sent. {path} shows what would be sent of {requests[0].image}.")
            return
        removed = outputs.refuse_foreign(out, images, ledger) - set(photos)
        lines, failed = _label(cfg, labeler, requests, ledger, photos, left_out, out)
        if is_synthetic(images) or (choices["labeler"] == "demo" and lines):
            ledger.note(SYNTHETIC, "true")
    if removed:
        say(f"{len(removed)} photos of the previous metadata.jsonl are not labelled any more; their lines are removed")
    _report(schema, lines, failed, len(photos), title)
    print(f"\n{out / outputs.FILE_NAME}\n{out / outputs.FAILED}")
    if human is not None:
        print(audit.run(human, lines, schema, out, title=title, **cfg.audit))
    if len(failed) > cfg.max_failed_share * len(photos):
        raise UserError(
            f"{len(failed)} of {len(photos)} photos have no answer, more than max_failed_share="
            f"{cfg.max_failed_share:g}. {out / outputs.FAILED} lists the reasons; the same command asks for them again."
        )


def _find(cfg: DictConfig, images: Path, out: Path) -> tuple[Photos, list[Failure]]:
    """Find and check the photos; returns those to label, and those without consent or that cannot be read."""
    found = find_photos(
        images,
        Path(cfg.profiles).expanduser() if cfg.profiles else None,
        skip=[path for folder in (images, out) for path in (*outputs.own_files(folder), *audit.own_files(folder))],
        max_faults_shown=cfg.max_faults_shown,
        levels_up=cfg.profiles_levels,
    )
    with bar("checking photos", "photos", show=cfg.progress) as progress:
        facts = check_photos(
            found.photos,
            Fingerprints(cache_root() / "fingerprints.sqlite"),
            max_source_pixels=cfg.max_source_pixels,
            num_workers=cfg.num_workers,
            progress=progress,
        )
    pixels = {image: each.pixels or each.sha256 for image, each in facts.items()}
    refused = without_consent(found.table, found.photos, pixels, max_faults_shown=cfg.max_faults_shown)
    bad = {
        image: each.fault.replace("data.max_source_pixels", "max_source_pixels")
        for image, each in facts.items()
        if not each.ok and image not in refused
    }
    if bad and cfg.on_bad_image == "error":
        title = f"{len(bad)} of {len(found.photos)} photos cannot be used. Repair or remove them, or set "
        rows = [f"{found.photos[image]}: {fault}" for image, fault in bad.items()]
        raise UserError("\n  ".join([f"{title}on_bad_image=exclude:", *rows]))
    left_out = [Failure(image, "no consent", reason, 0) for image, reason in refused.items()]
    left_out += [Failure(image, "unreadable", fault, 0) for image, fault in bad.items()]
    num_different = len({each.sha256 for each in facts.values()})
    others = f"; {found.num_other} other files are ignored" if found.num_other else ""
    notes = [
        colour_fault_note([image for image, each in facts.items() if each.colour_fault]),
        consent_note(found.table),
        system_folders_note(found.num_system) if found.num_system else None,
        f"photos: {len(found.photos)}, {num_different} different{others}",
        *(f"left out, {line}" for line in outputs.by_status(left_out)),
    ]
    for note in filter(None, notes):
        say(note)
    excluded = {failure.image for failure in left_out}
    photos = {image: (path, facts[image]) for image, path in found.photos.items() if image not in excluded}
    if not photos:
        raise UserError(f"images={images}: none of the {len(found.photos)} photos can be labelled.")
    return photos, left_out


def _make_labeler(cfg: DictConfig, schema: Schema, out: Path) -> Labeler:
    options = OmegaConf.to_container(cfg.labeler, resolve=True)
    assert isinstance(options, dict)
    task = Task(
        schema=schema,
        language=cfg.labeler.language,
        out=out,
        concurrency=cfg.labeler.concurrency,
        max_faults_shown=cfg.max_faults_shown,
        show=cfg.progress,
    )
    own = {name: value for name, value in options.items() if name not in STEP_OPTIONS}
    return instantiate(own, _convert_="all")(task=task)


def _make_requests(cfg: DictConfig, schema: Schema, photos: Photos, labeler: Labeler) -> list[Request]:
    """Make one request for all photos with the same bytes, in the order of the photos."""
    options = cfg.labeler
    encoding = Encoding(options.max_side_px, options.jpeg_quality, cfg.max_source_pixels)
    instructions, text = schema.instructions(options.language), schema.text(options.language)
    identity = labeler.identity()
    images_of: dict[str, list[str]] = {}
    for image, (_, facts) in photos.items():
        images_of.setdefault(facts.sha256, []).append(image)
    return [
        Request(
            images=tuple(images),
            photo=photos[images[0]][0],
            facts=photos[images[0]][1],
            instructions=instructions,
            text=text,
            schema=schema,
            encoding=encoding,
            labeler=identity,
        )
        for images in images_of.values()
    ]


def _label(
    cfg: DictConfig,
    labeler: Labeler,
    requests: Sequence[Request],
    ledger: Ledger,
    photos: Photos,
    left_out: Sequence[Failure],
    out: Path,
) -> tuple[Lines, list[Failure]]:
    """Ask for answers that are not stored, and write the files even if the run is ended by an error."""
    stored = ledger.stored(request.key for request in requests)
    answered = {key for key, (answer, _) in stored.items() if answer.status is Status.ANSWERED}
    todo = [request for request in requests if request.key not in answered]
    say(f"answers: {len(answered)} of {len(requests)} are stored, {len(stored) - len(answered)} failed before")
    pending = SentBatches(out).pending({request.key for request in todo})
    new = [request for request in todo if request.key not in pending]
    estimate = labeler.estimate(new or todo) if todo else None
    say(outputs.describe_plan(len(new), estimate, num_pending=len(pending)))
    recorder = Recorder(ledger, num_requests=len(new), estimate=estimate, max_cost_usd=cfg.labeler.max_cost_usd)
    ledger.renew(answered)
    try:
        if todo:
            with bar("labeling", "photos", show=cfg.progress) as progress:
                labeler.label(todo, recorder, progress)
    finally:
        stored = ledger.stored(request.key for request in requests)
        failed = []
        for request in requests:
            answer, attempts = stored.get(request.key, (None, 0))
            if answer is None:
                failed += [Failure(image, "unanswered", "the run ended before", 0) for image in request.images]
            elif answer.status is not Status.ANSWERED:
                failed += [Failure(image, answer.status.value, answer.detail, attempts) for image in request.images]
        lines = outputs.write_metadata(out, ledger, {image: facts.sha256 for image, (_, facts) in photos.items()})
        outputs.write_failed(out, [*left_out, *failed])
        say(outputs.describe_result(recorder, paid=estimate is not None))
    return lines, failed


def _report(
    schema: Schema, lines: Mapping[str, Mapping[str, Any]], failed: Sequence[Failure], num_photos: int, title: str
) -> None:
    """Print counts of classes to stdout and failures to stderr."""
    print(outputs.counts(schema, lines, num_photos, title))
    for line in outputs.by_status(failed):
        say(f"no answer, {line}")
    if earlier := [failure.image for failure in failed if failure.image in lines]:
        say(f"{len(earlier)} of these keep answers of earlier commands ({shortened(earlier, most=outputs.MAX_NAMED)})")
    if leaking := outputs.leaking(schema, lines):
        say(
            f"{len(leaking)} photos have texts that name their class, which prompt=image_metadata refuses "
            f"({shortened(leaking, most=outputs.MAX_NAMED)}): edit a copy of metadata.jsonl, or use prompt=image"
        )
