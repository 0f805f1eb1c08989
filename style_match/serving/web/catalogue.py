"""Answers of the web page: the profiles of a dataset folder by the matcher and by the frozen backbone."""

import hashlib
import io
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from PIL.Image import Image

from style_match.data.images import decode_stream, thumbnail
from style_match.evaluation.tsne import project, sample
from style_match.models.embed import embed
from style_match.models.head.identity import Identity
from style_match.serving.index.base import Answers, Index
from style_match.serving.matcher import MatcherInputs, StyleMatcher, embed_profiles
from style_match.serving.matcher_folder import MatcherFolder
from style_match.serving.profiles import ProfileEmbeddings, dataset_root
from style_match.serving.recommend import NOBODY, Candidates, Query, make_query, nearest
from style_match.serving.steps import load_matcher, open_index
from style_match.serving.text import PATHS, TextSearch
from style_match.serving.web.live import Live, without_paths
from style_match.serving.where import as_columns, kind_of
from style_match.utils.errors import UserError
from style_match.utils.progress import say
from style_match.utils.text import folded

DATA_OPTIONS = ("image_root", "on_bad_image", "max_source_pixels", "num_workers")
NO_VALUE = "none"  # group of the map for profiles without a value
MAX_LISTED = 24  # profiles that are listed to choose from
MAX_VALUES = 30  # columns with more different values can be filtered, but have no menu and no colours
MAX_POINTS, PERPLEXITY, MAP_SEED = 2000, 30.0, 0  # profiles on the map, t-SNE, which profiles are drawn


class Catalogue:
    """Answers of the page as plain values for JSON. Several threads may call it at the same time.

    Args:
        matcher: The matcher.
        inputs: Inputs of the dataset folder, from `StyleMatcher.folder_inputs`.
        trained, frozen: Its profiles, embedded by the matcher and by the backbone only.
        index: Index of `trained`; `frozen` is searched exactly, in memory.
        find_by_text: `TextSearch.find`; None if there is no text search.
        search_note: What text search searches, or why there is none.
        k, max_upload_mb: As in conf/app.yaml.
    """

    def __init__(
        self,
        matcher: StyleMatcher,
        inputs: MatcherInputs,
        trained: ProfileEmbeddings,
        frozen: ProfileEmbeddings,
        *,
        index: Index,
        find_by_text: Callable[..., Answers] | None,
        search_note: str,
        k: int,
        max_upload_mb: float,
    ):
        self.matcher, self.inputs = matcher, inputs
        self.find_by_text, self.search_note = find_by_text, search_note
        self.indexes: dict[str, Index] = {"trained": index, "frozen": frozen.exact_index}
        self.models = {"trained": trained, "frozen": frozen}
        self.profiles, self.k, self.max_upload_mb = trained, k, max_upload_mb
        self.max_source_pixels = inputs.cfg.data.max_source_pixels
        self._computing = threading.Lock()  # the backbone and t-SNE use all cores
        self._decoding = threading.Lock()  # a large photo takes a gigabyte while it is decoded

    def about(self) -> dict[str, Any]:
        """Return what the page needs before its first request."""
        folder = self.matcher.folder
        most = len(self.profiles) - 1
        if self.profiles.side_names is not None:
            most = min(int((self.profiles.sides == side).sum()) for side in (0, 1))
        return {
            "version": self.version,
            "text": f"{len(self.profiles)} profiles of {self.inputs.folder.root.name}, matched by {folder.name}",
            "synthetic": self.inputs.synthetic,
            "columns": self.columns,
            "colours": self.colours,
            "sides": list(folder.sides or ()),
            "k": max(1, min(self.k, most)),
            "max_upload_mb": self.max_upload_mb,
            "upload_note": self._no_upload(),
            "search_note": "" if self.find_by_text else self.search_note,
        }

    @cached_property
    def version(self) -> str:
        """Digest of the profiles and their order; the page's numbers of profiles are valid under one version."""
        return hashlib.sha256(json.dumps([self.profiles.profile_ids, self.profiles.photos]).encode()).hexdigest()[:16]

    @cached_property
    def columns(self) -> list[dict[str, Any]]:
        """The columns with their kind and, if there are few, their values."""
        return [
            {"name": name, "kind": kind_of(cells), "values": self._few([cell.strip() for cell in cells])}
            for name, cells in as_columns(self.profiles.columns).items()
        ]

    @cached_property
    def colours(self) -> list[str]:
        """Columns and attributes with few enough values for the colours of the map."""
        return [name for name, cells in as_columns(self._attributes).items() if self._few(cells)]

    def find(self, part: str) -> dict[str, Any]:
        """Return profiles whose id contains `part`, in the order of the table."""
        part = folded(part)
        numbers = [number for number, one in enumerate(self.profiles.profile_ids) if part in folded(one)]
        return {"profiles": [self._named(number) for number in numbers[:MAX_LISTED]], "total": len(numbers)}

    def match_profile(self, number: int, *, k: int, where: str | None) -> dict[str, Any]:
        """Return the best matches of a profile, by each model."""
        if not 0 <= number < len(self.profiles):
            raise UserError(f"There is no profile number {number}.")
        profile_id = self.profiles.profile_ids[number]
        queries = {
            model: make_query(profile_id, profiles, self.matcher.folder, self.matcher.encode, side=None, metadata=None)
            for model, profiles in self.models.items()
        }
        return {"query": self._card(number), **self._matches(queries, k, where)}

    def match_photo(self, content: bytes, side: str | None, *, k: int, where: str | None) -> dict[str, Any]:
        """Return the best matches of a photo, by each model. The photo is decoded in memory and not stored."""
        if note := self._no_upload():
            raise UserError(note)
        names = self.matcher.folder.sides
        if names is not None and side not in names:
            raise UserError(f"Choose the side of the photo: {names[0]} or {names[1]}.")
        number = names.index(side) if names is not None and side is not None else -1
        with self._computing:
            with self._decoding:
                stream = io.BytesIO(content)
                picture = decode_stream(stream, "your photo", max_source_pixels=self.max_source_pixels)
            embeddings = self._embedded(picture, side)
        person = self.profiles.person_of_photo.get(hashlib.sha256(content).hexdigest(), NOBODY)
        queries = {model: Query("your photo", embedding, person, number) for model, embedding in embeddings.items()}
        return self._matches(queries, k, where)

    def search(self, text: str, *, k: int, where: str | None) -> dict[str, Any]:
        """Return the profiles that fit a text best."""
        if self.find_by_text is None:
            raise UserError(self.search_note)
        if not text.strip():
            raise UserError("Write some words to search for.")
        with self._computing:
            found = self.find_by_text(text, k=k, where=where)
        return {"hits": self._cards(found, {}), "how": self.search_note}

    def map(self, colour: str, where: str | None) -> dict[str, Any]:
        """Return the t-SNE of the profiles by each model, in groups by a column or attribute.

        Profiles that `where` leaves out keep their places.
        """
        cells = [about.get(colour, "") for about in self._attributes]
        allowed = Candidates(self.profiles, where).filtered
        with self._computing:
            places = self._places
        numbers = self._drawn.tolist()
        groups: dict[str, list[int]] = {}
        for point, number in enumerate(numbers):
            if allowed[number]:
                groups.setdefault(cells[number] or NO_VALUE, []).append(point)
        num_shown, num_profiles = sum(map(len, groups.values())), len(self.profiles)
        shown = f"{num_shown} of {num_profiles} profiles" if num_shown < num_profiles else f"{num_shown} profiles"
        at_random = ", drawn at random" if len(numbers) < num_profiles else ""
        return {
            **{model: points.T.round(3).tolist() for model, points in places.items()},
            "numbers": numbers,
            "ids": [self.profiles.profile_ids[number] for number in numbers],
            "colours": [cells[number] for number in numbers],
            "groups": [{"name": name, "points": points} for name, points in sorted(groups.items())],
            "note": f"{shown}{at_random}. t-SNE: near means similar; distances between groups mean little.",
        }

    def thumbnail(self, number: int, photo: int, side_px: int) -> bytes:
        """Return a photo of a profile as JPEG; profiles and their photos are numbered from 0."""
        if not (0 <= number < len(self.profiles) and 0 <= photo < len(self.profiles.photos[number])):
            raise UserError(f"There is no photo {photo} of a profile number {number}.")
        with self._decoding:
            return thumbnail(self.profiles.photos[number][photo], side_px, max_source_pixels=self.max_source_pixels)

    def _matches(self, queries: Mapping[str, Query], k: int, where: str | None) -> dict[str, Any]:
        found = {}
        for model, profiles in self.models.items():
            candidates = Candidates(profiles, where)
            query = queries[model]
            candidates.refuse_too_many(query, k)
            known = profiles.known(query.person)
            found[model] = self._cards(nearest([query], candidates, k=k, index=self.indexes[model])[0], known)
        return found

    def _embedded(self, picture: Image, side: str | None) -> dict[str, np.ndarray]:
        """Model -> (E,) embedding of one photo, with one forward pass of the backbone."""
        features, sides = self.inputs.photo_features(picture, None, side=side)
        heads = {"trained": self.matcher.head, "frozen": Identity(in_dim=self.inputs.dim)}
        return {name: embed(head, features, torch.arange(1), sides)[0].numpy() for name, head in heads.items()}

    @cached_property
    def _drawn(self) -> np.ndarray:
        """(P,) numbers of the profiles on the map."""
        return sample(np.arange(len(self.profiles))[:, None], MAX_POINTS, MAP_SEED).ravel()

    @cached_property
    def _places(self) -> dict[str, np.ndarray]:
        """Model -> (P, 2) places on the map."""
        return {
            model: project(profiles.embeddings[self._drawn].astype(np.float64), PERPLEXITY)
            for model, profiles in self.models.items()
        }

    def _no_upload(self) -> str:
        """Why no photo can be uploaded; empty if photos can."""
        prompt = self.inputs.cfg.prompt
        if prompt.image and not prompt.metadata:
            return ""
        return f"No upload: this matcher reads metadata (prompt={prompt.name}), which a photo does not have."

    def _few(self, cells: Sequence[str]) -> list[str] | None:
        """Return the different values, if there are several but not too many."""
        values = sorted(set(cells) - {""})
        return values if 1 < len(values) <= MAX_VALUES else None

    @cached_property
    def _attributes(self) -> list[dict[str, str]]:
        """(N,) columns of each profile and metadata of its first photo."""
        return [
            {**{name: cell.strip() for name, cell in cells.items()}, **self._metadata(number)}
            for number, cells in enumerate(self.profiles.columns)
        ]

    def _metadata(self, number: int) -> dict[str, str]:
        first = self.inputs.folder.photos_of(self.profiles.profile_ids[number])[0]
        found = self.inputs.folder.metadata.get(first.image, {})
        return {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for name, value in found.items()
            if value not in (None, "")
        }

    def _cards(self, found: Answers, known: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return what the page shows of answers; `known` has a note on each known partner of the query."""
        return [
            {**self._card(self.profiles.row_of[one]), "score": score, "known": known.get(one, "")}
            for one, score in found
        ]

    def _card(self, number: int) -> dict[str, Any]:
        return {**self._named(number), "columns": self.profiles.columns[number], "metadata": self._metadata(number)}

    def _named(self, number: int) -> dict[str, Any]:
        num_photos = len(self.profiles.photos[number])
        return {"number": number, "id": self.profiles.profile_ids[number], "num_photos": num_photos}


# From the config of `style_match.app` to the catalogue


def open_live(cfg: DictConfig, folder: MatcherFolder) -> Live:
    """Return what conf/app.yaml describes; the catalogue is made at the first request."""
    matcher = load_matcher(cfg, folder)
    root = dataset_root(matcher.folder, cfg.data.root, show=cfg.progress, num_workers=cfg.data.num_workers)
    return Live(root, partial(open_catalogue, cfg, matcher, root), hidden=(root, matcher.folder.path))


def open_catalogue(cfg: DictConfig, matcher: StyleMatcher, root: Path) -> Catalogue:
    """Embed the profiles of a dataset folder, update the index, and return the catalogue."""
    data = {name: cfg.data[name] for name in DATA_OPTIONS}
    inputs = matcher.folder_inputs(root, features_root=cfg.features.root, show_progress=cfg.progress, **data)
    trained = embed_profiles(inputs, matcher.head)
    index = open_index(cfg, inputs, trained)
    find_by_text: Callable[..., Answers] | None = None
    try:
        search = TextSearch(matcher, inputs, trained, cfg.path)
        find_by_text, search_note = search.find, f"Searched: {PATHS[search.path]}."
    except UserError as error:
        say(f"No text search: {error}")
        search_note = without_paths(f"No text search: {error}", (root, matcher.folder.path))
    return Catalogue(
        matcher,
        inputs,
        trained,
        embed_profiles(inputs, Identity(in_dim=inputs.dim)),
        index=index,
        find_by_text=find_by_text,
        search_note=search_note,
        k=cfg.app.k,
        max_upload_mb=cfg.app.max_upload_mb,
    )
