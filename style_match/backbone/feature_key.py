"""Identity of features: the key of a store (everything global that changes a vector) and the address of one row.

Imports no torch. The composition of a batch is not part of the key, so vectors computed in different batches agree
within 1e-5 in fp32, not bit for bit.
"""

import ast
import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from style_match.backbone.checkpoint import Checkpoint, check_checkpoint, processing_files, resolve_dtype, weight_files
from style_match.utils.errors import UserError

# Modules whose code decides a vector: a change other than in comments and docstrings changes the key.
COMPUTATION = (
    "backbone.processor",
    "backbone.qwen3_vl",
    "backbone.pooling",
    "backbone.extractor",
    "data.images",
    "data.augmentation",
)
# Options that say where a model is and how fast it runs. Every other option of conf/backbone is part of the key.
NOT_IDENTITY = frozenset({"name", "path", "revision", "device", "token_budget", "num_workers"})


class Hashes(Protocol):
    """Returns the sha256 (hex) of a file, possibly from a cache."""

    def sha256(self, path: Path) -> str: ...


def identity(
    checkpoint: Checkpoint,
    backbone_cfg: Mapping[str, Any],
    poolings: Mapping[str, Any],
    device_class: str,
    fingerprints: Hashes,
) -> dict[str, Any]:
    """Return everything global that changes a vector, as JSON values. The location of the checkpoint does not.

    Args:
        checkpoint: The checkpoint, whose files are hashed.
        backbone_cfg: A group of `conf/backbone`.
        poolings: Name -> `source_of` the function, for each stored pooling.
        device_class: "cpu", "cuda", ...
        fingerprints: Hashes of files.

    Raises:
        UserError: The folder is not a complete Qwen3-VL checkpoint.
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
        # Links of the hub's cache are resolved, so that revisions with a common file share its cached hash.
        "files": {path.name: fingerprints.sha256(path.resolve()) for path in files},
        "options": options,
        "poolings": dict(sorted(poolings.items())),
        "device": device_class,
        "versions": {name: version(name) for name in libraries},
    }


def computation() -> str:
    """Return the sha256 (hex) over the code of the modules `COMPUTATION`, without importing them."""
    root = Path(__file__).resolve().parents[1]
    return _hash_of_code(root.joinpath(*name.split(".")).with_suffix(".py") for name in COMPUTATION)


def source_of(pooling: Callable, options: Any = None) -> dict[str, Any]:
    """Return what identifies a pooling: its qualified name, a hash of its code, and the options it was made with.

    The code is that of its module and of every module in the same folder that this one uses.

    Raises:
        UserError: It is not a function in a Python file, so changes of it could not be detected.
    """
    name = f"{getattr(pooling, '__module__', None)}.{getattr(pooling, '__qualname__', type(pooling).__name__)}"
    try:
        if not inspect.isfunction(pooling):
            raise TypeError
        source = _hash_of_code(_files_of(pooling))
    except (OSError, TypeError, SyntaxError, ValueError) as error:
        raise UserError(f"pooling.function: {name} must be a function defined in a Python file.") from error
    return {"function": name, "source": source, "options": options}


def _files_of(function: Callable) -> list[Path]:
    """Return the file of a function and the files in or below its folder that its module uses, directly or not."""
    first = Path(inspect.getsourcefile(function) or "")
    if first.is_relative_to(Path(__file__).resolve().parents[1]):
        return [first]  # everything else in this package is covered by `computation`
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
    return hashlib.sha256("\n".join(map(_code, files)).encode()).hexdigest()


def _code(file: Path) -> str:
    """Return the code of a file in a normal form, without comments and docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        match node:
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef() if ast.get_docstring(node):
                node.body = node.body[1:]
    return ast.unparse(tree)


def row_address(image_sha256: str | None, decode_policy: str, prompt: str) -> str:
    """Return the address of a row: sha256 (hex) over image bytes, decode policy and rendered prompt.

    Without an image (`image_sha256` None) the decode policy is ignored.
    """
    parts = [image_sha256, decode_policy if image_sha256 is not None else None, prompt]
    return hashlib.sha256(json.dumps(parts).encode("ascii")).hexdigest()


def view_address(address: str, view_policy: str) -> str:
    """Return the address of an augmented view: sha256 (hex) over the row's own address and the view's parameters."""
    return hashlib.sha256(json.dumps([address, view_policy]).encode("ascii")).hexdigest()


def owner_of(profile_id: str) -> str:
    """Return the owner of a row computed from a profile's text only: sha256 (hex) over the profile id.

    The owner of a row with a photo is the sha256 of the photo's file.
    """
    return hashlib.sha256(json.dumps(["profile", profile_id]).encode("ascii")).hexdigest()
