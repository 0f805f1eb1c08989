"""What names a feature: everything global that changes a vector, and the address of one row. Imports no torch.

The composition of a batch is not part of it, so vectors of other batches agree within 1e-5 in fp32, not bit for bit.
"""

import ast
import hashlib
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from style_match.backbone.checkpoint import check_checkpoint, processing_files, resolve_dtype, weight_files
from style_match.utils.errors import UserError

# Modules of this package that decide a vector: a change of their code, not of comments or docstrings, changes the key.
COMPUTATION = (
    "backbone.checkpoint",
    "backbone.processor",
    "backbone.qwen3_vl",
    "backbone.pooling",
    "backbone.extractor",
    "data.images",
    "data.augmentation",
)

PACKAGE = "package:"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB_FILES = ["*.json", "*.jinja", "*.txt", "*.safetensors"]  # no pickles
# Options that say where a model comes from and how fast it runs. Any other option of the group is part of the identity.
NOT_IDENTITY = frozenset({"name", "path", "revision", "device", "token_budget", "num_workers"})


class Hashes(Protocol):
    def sha256(self, path: Path) -> str: ...


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine.

    Attributes:
        folder: where it is.
        source: what was asked for: a package path, a folder or a hub id.
        revision: the commit of the hub that was resolved; None for a folder.
    """

    folder: Path
    source: str
    revision: str | None


def is_local(path: str) -> bool:
    """Whether nothing has to be fetched for it: a package path, a folder, or nothing that a hub knows."""
    return path.startswith(PACKAGE) or Path(path).expanduser().exists() or not HUB_ID.fullmatch(path)


def resolve_checkpoint(path: str, revision: str | None, *, download: bool) -> Checkpoint:
    """Find a checkpoint: `package:FOLDER` of this package, a folder, or a hub id `OWNER/NAME`.

    A hub id is first looked for in the local cache of the hub, whatever the hub's newest commit is.

    Args:
        path: what to find.
        revision: branch, tag or commit of a hub id.
        download: whether a hub id that is not in the cache may be fetched.

    Raises:
        UserError: it is not to be had; says how to get it and what works without a network.
    """
    if path.startswith(PACKAGE):
        folder = Path(__file__).resolve().parents[1] / path.removeprefix(PACKAGE)
        if not folder.is_dir():
            raise UserError(f"backbone.path={path}: this installation has no {folder}. Install style_match again.")
        return Checkpoint(folder, path, None)
    folder = Path(path).expanduser()
    if path and folder.is_dir():
        return Checkpoint(folder.resolve(), path, None)
    if folder.is_file():
        raise UserError(f"backbone.path={path} is a file; a checkpoint is a folder that holds config.json and weights.")
    if not HUB_ID.fullmatch(path):
        raise UserError(
            f"backbone.path={path}: there is no such folder, and it is no hub id (OWNER/NAME) either. Correct it, or "
            "write backbone=tiny without a path: it comes with this package."
        )
    return _from_hub(path, revision, download=download)


def identity(
    checkpoint: Checkpoint,
    backbone_cfg: Mapping[str, Any],
    poolings: Mapping[str, Any],
    device_class: str,
    fingerprints: Hashes,
) -> dict[str, Any]:
    """Everything global that changes a vector, readable and fit for JSON. Where the checkpoint lies is not part of it.

    Args:
        checkpoint: the checkpoint, whose files are hashed.
        backbone_cfg: a group of `conf/backbone`.
        poolings: name -> `source_of` the function, of the poolings that are kept.
        device_class: "cpu", "cuda", ...
        fingerprints: remembers the hashes of files that did not change.

    Raises:
        UserError: the folder is not a whole Qwen3-VL checkpoint.
    """
    check_checkpoint(checkpoint.folder)
    files = (*weight_files(checkpoint.folder), *processing_files(checkpoint.folder))
    options = {name: backbone_cfg[name] for name in sorted(backbone_cfg) if name not in NOT_IDENTITY}
    options["dtype"] = resolve_dtype(options["dtype"], device_class)
    libraries = ["torch", "transformers", "tokenizers", "pillow"]
    if options["image_backend"] == "torchvision":
        libraries.append("torchvision")
    return {
        "computation": computation(),
        # The links of the hub's cache are followed, so that revisions which share a file share its remembered hash.
        "files": {path.name: fingerprints.sha256(path.resolve()) for path in files},
        "options": options,
        "poolings": dict(sorted(poolings.items())),
        "device": device_class,
        "versions": {name: version(name) for name in libraries},
    }


def computation() -> str:
    """sha256 (hex) over the code of the modules `COMPUTATION`, read from their files; none of them is imported."""
    root = Path(__file__).resolve().parents[1]
    return _hash_of_code(root.joinpath(*name.split(".")).with_suffix(".py") for name in COMPUTATION)


def source_of(pooling: Callable, options: Any = None) -> dict[str, Any]:
    """What tells a pooling from others of its name: where it is defined, its code, what it was made with.

    The code is that of its module, and of every module of the same folder that this one uses.

    Raises:
        UserError: it is no function of a Python file, so that a change of it could not be seen.
    """
    name = f"{getattr(pooling, '__module__', None)}.{getattr(pooling, '__qualname__', type(pooling).__name__)}"
    try:
        if not inspect.isfunction(pooling):
            raise TypeError
        source = _hash_of_code(_files_of(pooling))
    except (OSError, TypeError, SyntaxError, ValueError) as error:
        raise UserError(f"pooling.function: {name} must be a function that is written in a Python file.") from error
    return {"function": name, "source": source, "options": options}


def _files_of(function: Callable) -> list[Path]:
    """The file of a function, then the others in or below its folder that its module uses, directly or not."""
    first = Path(inspect.getsourcefile(function) or "")
    if first.is_relative_to(Path(__file__).resolve().parents[1]):
        return [first]  # what this package's poolings use is part of `computation`
    files, modules = [first], [inspect.getmodule(function)]
    for module in modules:
        for value in list(vars(module).values()) if module else ():
            used = value if inspect.ismodule(value) else inspect.getmodule(value)
            file = getattr(used, "__file__", None)
            if file and Path(file).is_relative_to(first.parent) and Path(file) not in files:
                files.append(Path(file))
                modules.append(used)
    return [first, *sorted(files[1:])]


def _hash_of_code(files: Iterable[Path]) -> str:
    trees = [_without_texts(ast.parse(file.read_text(encoding="utf-8"))) for file in files]
    return hashlib.sha256(json.dumps(trees).encode()).hexdigest()


def _without_texts(node: Any) -> Any:
    """A syntax tree as plain values: no positions, comments or docstrings, nor fields that are empty."""
    if isinstance(node, list):
        return [_without_texts(each) for each in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        fields["body"] = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    kept = {name: value for name, value in fields.items() if value is not None and value != []}
    return [type(node).__name__, {name: _without_texts(value) for name, value in kept.items()}]


def row_address(image_sha256: str | None, decode_policy: str, prompt: str) -> str:
    """The address of one row: sha256 (hex) over image bytes, decode policy and rendered prompt.

    Without an image (`image_sha256` None) the decode policy does not count.
    """
    parts = [image_sha256, decode_policy if image_sha256 is not None else None, prompt]
    return hashlib.sha256(json.dumps(parts).encode("ascii")).hexdigest()


def owner_of(profile_id: str) -> str:
    """What names the owner of a row that is made of a profile's text alone: sha256 (hex) over its id.

    A row of a photo is owned by the sha256 of the photo's file.
    """
    return hashlib.sha256(json.dumps(["profile", profile_id]).encode("ascii")).hexdigest()


def view_address(address: str, view_policy: str) -> str:
    """The address of a view of a row's photo: sha256 (hex) over the row's own address and all that decides the view."""
    return hashlib.sha256(json.dumps([address, view_policy]).encode("ascii")).hexdigest()


def _from_hub(hub_id: str, revision: str | None, *, download: bool) -> Checkpoint:
    from huggingface_hub import snapshot_download  # half a second, and only a hub id needs it

    reason = "it is not in the local cache of the hub"
    for local_files_only in (True, False) if download else (True,):
        try:
            folder = Path(
                snapshot_download(
                    hub_id, revision=revision, allow_patterns=HUB_FILES, local_files_only=local_files_only
                )
            )
            weight_files(folder)  # a broken-off download leaves a snapshot without them
            return Checkpoint(folder, hub_id, folder.name)
        except Exception as error:  # network, disk, access, names: the library has no common class for them
            if not local_files_only or isinstance(error, UserError):
                reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    at = f" --revision {revision}" if revision else ""
    raise UserError(
        f"backbone.path={hub_id} (revision {revision or 'main'}) is not to be had: {reason.rstrip('.')}. "
        f"Fetch it where there is a network with `hf download {hub_id}{at}`, or give a folder that holds it as "
        "backbone.path=FOLDER. "
        "backbone=tiny comes with this package and works offline."
    )
