"""A checkpoint folder: its files, its config and what it lacks."""

import json
import struct
from pathlib import Path
from typing import Any

from style_match.utils.errors import UserError

MODEL_TYPE = "qwen3_vl"


WEIGHTS = "model.safetensors"


WEIGHTS_INDEX = "model.safetensors.index.json"


PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


PROCESSORS = ("processor_config.json", "preprocessor_config.json")


TEMPLATES = ("chat_template.jinja", "chat_template.json", "processor_config.json", "tokenizer_config.json")


TOKENIZER = ("tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json")


DTYPES = ("auto", "fp32", "bf16", "fp16")


def resolve_dtype(dtype: str, device_type: str) -> str:
    """The precision the backbone runs in: `auto` is bf16 on a GPU and fp32 elsewhere.

    Raises:
        UserError: `dtype` is none of `DTYPES`.
    """
    if dtype not in DTYPES:
        raise UserError(f"backbone.dtype={dtype} is not known; take one of {', '.join(DTYPES)}.")
    if dtype == "auto":
        return "bf16" if device_type == "cuda" else "fp32"
    return dtype


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files that would be loaded, in the order of their names, with the index where there is one.

    Raises:
        UserError: there are none, an indexed one is missing, or the folder holds pickled weights only.
    """
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,)
    index = folder / WEIGHTS_INDEX
    if index.is_file():
        weight_map = _read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
            raise UserError(f"{index} has no weight_map from tensors to files. Fetch the checkpoint again.")
        shards = tuple(folder / name for name in sorted(set(weight_map.values())))
        missing = [shard.name for shard in shards if not shard.is_file()]
        if missing:
            raise UserError(f"{folder} lacks weight files that {index.name} lists: {', '.join(missing)}.")
        return (*shards, index)
    pickled = sorted(path.name for pattern in PICKLED for path in folder.glob(pattern))
    if pickled:
        raise UserError(
            f"{folder} holds its weights as {', '.join(pickled)} only. Such files are pickles, which can run any code "
            "when they are read; they are never loaded. Save the checkpoint as safetensors."
        )
    raise UserError(f"{folder} holds no weights: neither {WEIGHTS} nor {WEIGHTS_INDEX}. Fetch the checkpoint again.")


def processing_files(folder: Path) -> tuple[Path, ...]:
    """Every other file that says how the model is built and how photos and prompts become its inputs."""
    names = dict.fromkeys(("config.json", *PROCESSORS, *TOKENIZER, *TEMPLATES))
    return tuple(folder / name for name in names if (folder / name).is_file())


def read_chat_template(folder: Path) -> tuple[Path, str]:
    """The file that holds the chat template and its Jinja text; the first of `TEMPLATES` that has one.

    Raises:
        UserError: no file has one.
    """
    for name in TEMPLATES:
        path = folder / name
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8") if path.suffix == ".jinja" else _read_json(path).get("chat_template")
        if isinstance(text, list):  # several named templates
            text = {entry.get("name"): entry.get("template") for entry in text}.get("default")
        if isinstance(text, str) and text:
            return path, text
    raise UserError(f"{folder} has no chat template: it would be in {', '.join(TEMPLATES[:2])} or {TEMPLATES[-1]}.")


def check_checkpoint(folder: Path) -> None:
    """Check a folder before anything is loaded.

    Raises:
        UserError: the folder is no Qwen3-VL checkpoint, or all that it lacks or contradicts, together.
    """
    if not folder.is_dir():
        raise UserError(f"There is no checkpoint folder {folder}. Set backbone.path to one.")
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} has no config.json, so it is not a checkpoint folder in the format of the hub.")
    config = _read_json(folder / "config.json")
    if config.get("model_type") != MODEL_TYPE:
        raise UserError(
            f"{folder / 'config.json'} names the architecture {config.get('model_type')!r}; only {MODEL_TYPE!r} is "
            "supported. Set backbone.path to a Qwen3-VL checkpoint."
        )
    faults = [*_config_faults(folder, config), *_missing_files(folder)]
    for check in (lambda: _check_weights(folder, config), lambda: read_chat_template(folder)):
        try:
            check()
        except UserError as error:
            faults.append(str(error))
    if faults:
        raise UserError("\n".join(faults))


def _config_faults(folder: Path, config: dict[str, Any]) -> list[str]:
    path = folder / "config.json"
    text, vision = config.get("text_config"), config.get("vision_config")
    if not isinstance(text, dict) or not isinstance(vision, dict):
        return [f"{path} lacks text_config or vision_config."]
    faults = []
    hidden, out = text.get("hidden_size"), vision.get("out_hidden_size")
    if hidden is not None and out is not None and hidden != out:  # what is not written has the library's default
        faults.append(
            f"{path} contradicts itself: text_config.hidden_size is {hidden}, but vision_config.out_hidden_size is "
            f"{out}; they must be equal."
        )
    if config.get("quantization_config"):
        faults.append(f"{path} has a quantization_config; quantised weights are not supported.")
    if config.get("transformers_weights"):
        faults.append(f"{path} names its weights in transformers_weights, which is not supported; call them {WEIGHTS}.")
    return faults


def _missing_files(folder: Path) -> list[str]:
    faults = []
    if not (folder / "tokenizer.json").is_file() and not all(
        (folder / name).is_file() for name in ("vocab.json", "merges.txt")
    ):
        faults.append(f"{folder} has no tokenizer: neither tokenizer.json nor vocab.json with merges.txt.")
    if not any((folder / name).is_file() for name in PROCESSORS):
        faults.append(f"{folder} has no image processor: neither {' nor '.join(PROCESSORS)}.")
    if (folder / "adapter_config.json").exists():
        faults.append(f"{folder} holds an adapter (adapter_config.json); merge it into the weights first.")
    return faults


def _check_weights(folder: Path, config: dict[str, Any]) -> None:
    text = config.get("text_config") or {}
    expected = [text.get("vocab_size"), text.get("hidden_size")]
    for path in weight_files(folder):
        if path.suffix != ".safetensors":
            continue
        for name, tensor in _safetensors_header(path).items():
            known = zip(tensor["shape"], expected, strict=False)
            if name.endswith("embed_tokens.weight") and any(size != said for size, said in known if said is not None):
                raise UserError(
                    f"{path}: {name} has the shape {tensor['shape']}, but config.json says {expected} "
                    "(vocab_size, hidden_size of text_config): weights and config are of different models."
                )


def _safetensors_header(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size:
                raise ValueError("the header is longer than the file")
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            end = 8 + length + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
        except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is not a safetensors file ({error}). Fetch it again.") from error
    if size < end:
        raise UserError(f"{path} is cut short: {size} of {end} bytes. Fetch it again.")
    return header


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object.")
    return content
