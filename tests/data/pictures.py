"""Pictures to decode, for the tests of images."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

BOUND = 1_000_000


def picture(width: int = 48, height: int = 32) -> Image.Image:
    """Four plain quarters, so that lossy formats keep the colours and every turn shows."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (200, 40, 40)
    pixels[: height // 2, width // 2 :] = (40, 180, 60)
    pixels[height // 2 :, : width // 2] = (50, 60, 190)
    pixels[height // 2 :, width // 2 :] = (230, 220, 90)
    return Image.fromarray(pixels)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def largest_difference(one: Image.Image, other: Image.Image) -> int:
    assert one.mode == other.mode == "RGB"
    assert one.size == other.size
    return int(np.abs(np.asarray(one, int) - np.asarray(other, int)).max())


def quarters(image: Image.Image) -> np.ndarray:
    """Mean colour in the middle of each quarter, away from the edges that lossy formats smear."""
    width, height = image.size
    pixels = np.asarray(image, float)
    rows, columns = np.split(pixels, 2), [0, width // 2]
    found = [half[height // 8 : -height // 8, x + width // 8 : x + 3 * width // 8] for half in rows for x in columns]
    return np.array([part.mean(axis=(0, 1)) for part in found])


def png(width: int, height: int, bits: int, color: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG written by hand: what Pillow itself cannot write, or would not."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
