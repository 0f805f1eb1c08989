"""One photo with what is asked about it, addressed by everything that decides the answer."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from style_match.data.image import DECODE_POLICY
from style_match.errors import UserError
from style_match.labeler.encode import Encoding, encode
from style_match.schema import Schema


@dataclass(frozen=True)
class Request:
    """Photos of the same bytes are one request.

    Attributes:
        images: the photos' names in metadata.jsonl; never sent.
        photo: the file of the first.
        sha256: of the file's bytes.
        instructions, text: what the model is told; the schema's words in the chosen language.
        labeler: `Labeler.identity()`.
        decode_policy: of the photo.
    """

    images: tuple[str, ...]
    photo: Path
    sha256: str
    instructions: str
    text: str
    schema: Schema
    encoding: Encoding
    labeler: Mapping[str, Any]
    decode_policy: str = DECODE_POLICY

    @property
    def image(self) -> str:
        """The first photo's name, for messages."""
        return self.images[0]

    @cached_property
    def key(self) -> str:
        """64 hex digits; addresses the stored answer."""
        words = [
            self.instructions,
            self.text,
            self.schema.json_schema,
            self.encoding.identity(self.decode_policy),
            dict(self.labeler),
        ]
        return hashlib.sha256(f"{self.sha256} {json.dumps(words, sort_keys=True)}".encode()).hexdigest()

    def jpeg(self) -> bytes:
        """What of the photo is sent: see `encode`.

        Raises:
            UserError: the file cannot be read any more, or holds another photo by now.
        """
        try:
            content = self.photo.read_bytes()
        except OSError as error:
            raise UserError(f"{self.photo}: cannot be read ({error.strerror}); run again") from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise UserError(f"{self.photo}: was changed meanwhile; run again, when nothing writes to it")
        return encode(content, self.encoding)
