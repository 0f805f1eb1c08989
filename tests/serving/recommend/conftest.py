"""Profiles with drawn embeddings, as a matcher would give them."""

import numpy as np
import pytest

from style_match.serving.profiles import ProfileEmbeddings


def drawn(num: int, *, seed: int = 0, sides: bool = True, dim: int = 6) -> ProfileEmbeddings:
    """`num` profiles; every second is on the left, p002 and p004 are one person, p003 and p005 have one vector."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(num, dim)).astype(np.float32)
    if num > 5:
        rows[5] = rows[3]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    people = np.arange(num)
    if num > 4:
        people[4] = people[2]
    names = tuple(f"p{row:03d}" for row in range(num))
    return ProfileEmbeddings(
        profile_ids=names,
        embeddings=rows,
        columns=tuple({"age": str(20 + row % 7), "city": ["Seoul", "부산", ""][row % 3]} for row in range(num)),
        people=people,
        sides=np.arange(num) % 2 if sides else np.full(num, -1),
        matcher="0" * 64,
        photos=tuple((f"{name}.jpg",) for name in names),
        person_of_photo={},
        side_names=("female", "male") if sides else None,
    )


@pytest.fixture
def profiles():
    return drawn
