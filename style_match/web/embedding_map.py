"""Places of profiles in the plane, by either model."""

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from style_match.matcher.vectors import Vectors

NONE = "none"  # group of those of whom an attribute is not known


class EmbeddingMap:
    """t-SNE of the profiles, computed when it is first asked for.

    Args:
        models: name -> the same profiles in the same order, by each model.
        options: the node `app.map` of conf/app.yaml.
        lock: held while it computes.
    """

    def __init__(self, models: "Mapping[str, Vectors]", options: Mapping[str, Any], lock: threading.Lock):
        self.models, self.options, self.lock = models, options, lock

    def __call__(self, cells: Sequence[str], allowed: np.ndarray) -> dict[str, Any]:
        """The points as plain values for JSON.

        Args:
            cells: (N,) each profile's value of the attribute that colours.
            allowed: (N,) bool: who is shown; the others keep their places for when they are.
        """
        profiles = next(iter(self.models.values()))
        numbers = self.drawn.tolist()
        groups: dict[str, list[int]] = {}
        for point, number in enumerate(numbers):
            if allowed[number]:
                groups.setdefault(cells[number] or NONE, []).append(point)
        shown = sum(map(len, groups.values()))
        of = f"{shown} of {len(profiles)} profiles" if shown < len(profiles) else f"{shown} profiles"
        at_random = ", drawn at random" if len(numbers) < len(profiles) else ""
        return {
            **{model: places.T.round(3).tolist() for model, places in self.places.items()},
            "numbers": numbers,
            "ids": [profiles.profile_ids[number] for number in numbers],
            "colours": [cells[number] for number in numbers],
            "groups": [{"name": name, "points": points} for name, points in sorted(groups.items())],
            "note": f"{of}{at_random}. t-SNE: near means alike, distances between groups say little.",
        }

    @cached_property
    def drawn(self) -> np.ndarray:
        """(n,) the numbers of the profiles that have a place."""
        from style_match.picture.tsne import sample

        everybody = np.arange(len(next(iter(self.models.values()))))[:, None]
        return sample(everybody, self.options["max_points"], self.options["seed"]).ravel()

    @property
    def places(self) -> dict[str, np.ndarray]:
        """Model -> (n, 2)."""
        with self.lock:
            return self._computed

    @cached_property
    def _computed(self) -> dict[str, np.ndarray]:
        from style_match.picture.tsne import project

        return {
            model: project(vectors.embeddings[self.drawn].astype(np.float64), self.options["perplexity"])
            for model, vectors in self.models.items()
        }
