"""Qwen3-VL checkpoint folders: where they come from, which files they consist of, what is refused. Imports no torch."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from style_match.utils.errors import UserError

MODEL_TYPE = "qwen3_vl"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
TEMPLATES = ("chat_template.jinja", "chat_template.json", "processor_config.json", "tokenizer_config.json")
PROCESSING = (
    *("config.json", "processor_config.json", "preprocessor_config.json"),
    *("tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json"),
    *TEMPLATES,
)
DTYPES = ("auto", "fp32", "bf16", "fp16")

PACKAGE = "package:"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB_FILES = ["*.json", "*.jinja", "*.txt", "*.safetensors"]  # no pickles


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine.

    Attributes:
        folder: Local folder.
        source: The configured path: `package:...`, a folder or a hub id.
        revision: Resolved commit of a hub id; None for a folder.
    """

    folder: Path
    source: str
    revision: str | None


def resolve_dtype(dtype: str, device_type: str) -> str:
    """Return the precision of the backbone; `auto` is bf16 on a GPU and fp32 elsewhere.

    Raises:
        UserError: `dtype` is not one of `DTYPES`.
    """
    if dtype not in DTYPES:
        raise UserError(f"backbone.dtype={dtype} is unknown. Use one of {', '.join(DTYPES)}.")
    if dtype == "auto":
        return "bf16" if device_type == "cuda" else "fp32"
    return dtype


def is_local(path: str) -> bool:
    """Return whether a path needs no download: a package path, an existing folder, or not a hub id at all."""
    return path.startswith(PACKAGE) or Path(path).expanduser().exists() or not HUB_ID.fullmatch(path)


def resolve_checkpoint(path: str, revision: str | None, *, download: bool) -> Checkpoint:
    """Find a checkpoint: `package:FOLDER` of this package, a local folder, or a hub id `OWNER/NAME`.

    The local cache of the hub is tried before the network.

    Args:
        path: Where to look.
        revision: Branch, tag or commit of a hub id.
        download: Whether a hub id that is not cached may be downloaded.

    Raises:
        UserError: The checkpoint was not found.
    """
    if path.startswith(PACKAGE):
        folder = Path(__file__).resolve().parents[1] / path.removeprefix(PACKAGE)
        if not folder.is_dir():
            raise UserError(f"backbone.path={path}: this installation has no {folder}. Reinstall style_match.")
        return Checkpoint(folder, path, None)
    folder = Path(path).expanduser()
    if path and folder.is_dir():
        return Checkpoint(folder.resolve(), path, None)
    if folder.is_file():
        raise UserError(f"backbone.path={path} is a file; a checkpoint is a folder with config.json and weights.")
    if not HUB_ID.fullmatch(path):
        raise UserError(
            f"backbone.path={path}: there is no such folder, and it is not a hub id (OWNER/NAME). Correct the path, or "
            "use backbone=tiny without a path: it is part of this package."
        )
    return _from_hub(path, revision, download=download)


def _from_hub(hub_id: str, revision: str | None, *, download: bool) -> Checkpoint:
    from huggingface_hub import snapshot_download  # takes half a second to import, and only a hub id needs it

    reason = "not in the local cache of the hub"
    for local_files_only in (True, False) if download else (True,):
        try:
            folder = Path(
                snapshot_download(
                    hub_id, revision=revision, allow_patterns=HUB_FILES, local_files_only=local_files_only
                )
            )
            weight_files(folder)  # an interrupted download leaves a snapshot without weights
            return Checkpoint(folder, hub_id, folder.name)
        except Exception as error:  # network, disk, access, names: the library has no common base class
            if not local_files_only or isinstance(error, UserError):
                reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    option = f" --revision {revision}" if revision else ""
    raise UserError(
        f"backbone.path={hub_id} (revision {revision or 'main'}) could not be loaded: {reason.rstrip('.')}. Run "
        f"`hf download {hub_id}{option}` on a machine with network access, or set backbone.path=FOLDER to a local "
        "copy. backbone=tiny is part of this package and works offline."
    )


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the safetensors files of a checkpoint, and their index if there is one.

    Raises:
        UserError: There are no weights, a shard is missing, or the weights are pickles.
    """
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,)
    index = folder / WEIGHTS_INDEX
    if index.is_file():
        shards = tuple(folder / name for name in sorted(set(_read_json(index)["weight_map"].values())))
        if missing := [shard.name for shard in shards if not shard.is_file()]:
            raise UserError(f"{folder} lacks weight files listed in {index.name}: {', '.join(missing)}.")
        return (*shards, index)
    if pickled := sorted(path.name for pattern in PICKLED for path in folder.glob(pattern)):
        raise UserError(
            f"{folder} contains its weights only as {', '.join(pickled)}. These files are pickles, which can execute "
            "code when they are loaded, so they are refused. Save the checkpoint as safetensors."
        )
    raise UserError(f"{folder} contains no weights: neither {WEIGHTS} nor {WEIGHTS_INDEX}. Download it again.")


def processing_files(folder: Path) -> tuple[Path, ...]:
    """Return the other files that decide how the model is built and how photos and prompts become its inputs."""
    return tuple(folder / name for name in dict.fromkeys(PROCESSING) if (folder / name).is_file())


def read_chat_template(folder: Path) -> tuple[Path, str]:
    """Return the file with the chat template and its Jinja text.

    Raises:
        UserError: No file of `TEMPLATES` has one.
    """
    for path in (folder / name for name in TEMPLATES):
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8") if path.suffix == ".jinja" else _read_json(path).get("chat_template")
        if isinstance(text, list):  # several named templates
            text = {entry.get("name"): entry.get("template") for entry in text}.get("default")
        if isinstance(text, str) and text:
            return path, text
    raise UserError(f"{folder} has no chat template: expected in {', '.join(TEMPLATES[:2])} or {TEMPLATES[-1]}.")


def check_checkpoint(folder: Path) -> None:
    """Check a checkpoint folder before torch is imported or anything is loaded.

    Raises:
        UserError: The folder is not a complete Qwen3-VL checkpoint.
    """
    if not folder.is_dir():
        raise UserError(f"Checkpoint folder not found: {folder}. Set backbone.path.")
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{folder} has no config.json, so it is not a checkpoint folder in the format of the hub.")
    config = _read_json(path)
    if config.get("model_type") != MODEL_TYPE:
        raise UserError(
            f"{path} has the model_type {config.get('model_type')!r}; only {MODEL_TYPE!r} is supported. Set "
            "backbone.path to a Qwen3-VL checkpoint."
        )
    if config.get("quantization_config"):
        raise UserError(f"{path} has a quantization_config; quantized weights are not supported.")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise UserError(f"{folder} has no tokenizer: neither tokenizer.json nor vocab.json. Download it again.")
    if (folder / "adapter_config.json").exists():
        raise UserError(f"{folder} contains an adapter (adapter_config.json). Merge it into the weights first.")
    for weights in weight_files(folder):
        if weights.suffix == ".safetensors":
            _check_weights(weights)


def _check_weights(path: Path) -> None:
    try:
        with safe_open(path, "numpy"):  # reads the header and compares it with the size of the file
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged or cut short ({error}). Download it again.") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must contain a JSON object.")
    return content
