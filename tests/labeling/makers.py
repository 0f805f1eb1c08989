"""Small photos, schemas, requests, answers."""

import io
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf
from PIL import Image

from style_match.cli import main
from style_match.data.fingerprints import PhotoFacts
from style_match.data.schema import Schema
from style_match.labeling.answers import Request
from style_match.labeling.photos import Encoding

ENCODING = Encoding(max_side_px=64, jpeg_quality=85, max_source_pixels=10**6)


def picture(seed: int, size: tuple[int, int] = (24, 16), **options) -> bytes:
    """A JPEG of coloured noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="JPEG", **options)
    return content.getvalue()


def make_schema(file: str = "style", **changes) -> Schema:
    """A schema of conf, with other options."""
    node = OmegaConf.to_container(OmegaConf.load(main.conf_dir() / "schema" / f"{file}.yaml"))
    return Schema({**node, **changes}, file=f"schema/{file}.yaml")


def make_request(sha256: str, schema: Schema, **changes) -> Request:
    """About a photo that is known by its hash alone."""
    given = dict(
        images=(f"{sha256}.jpg",),
        photo=Path(f"{sha256}.jpg"),
        facts=PhotoFacts(sha256, 24, 16, ok=True, fault=""),
        instructions=schema.instructions("en"),
        text=schema.text("en"),
        schema=schema,
        encoding=ENCODING,
        labeler={"model": "m"},
    )
    return Request(**{**given, **changes})


def style_values(number: int = 0) -> dict[str, str]:
    """An answer to the style schema."""
    schema = make_schema()
    named = {name: schema.class_names(name)[number % len(schema.class_names(name))] for name in schema.nominal}
    return {**named, "physical_features": "short hair", "caption": f"a red coat, number {number}"}
