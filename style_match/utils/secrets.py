"""Messages without values of the environment that a config reads by `${oc.env:NAME}`. Imports nothing heavy."""

import os
import re
from typing import Any

from omegaconf import OmegaConf
from omegaconf.resolvers import oc

SHORT = 4  # characters; a shorter value is hidden only as a separate word
_read: set[str] = set()  # names of variables that configs of this process read


def _env(name: str, *default: Any) -> Any:
    _read.add(name)
    return oc.env(name, *default)


def watch_environment() -> None:
    """Note from now on which variables `${oc.env:NAME}` reads."""
    OmegaConf.register_new_resolver("oc.env", _env, replace=True)


watch_environment()


def hide(text: str) -> str:
    """Return a message with `${oc.env:NAME}` in place of each value of the environment that a config read."""
    values = {name: value for name in _read if (value := os.environ.get(name))}
    for name in sorted(values, key=lambda name: len(values[name]), reverse=True):
        value = re.escape(values[name])
        found = value if len(values[name]) >= SHORT else rf"(?<!\w){value}(?!\w)"
        text = f"${{oc.env:{name}}}".join(re.split(found, text))
    return text
