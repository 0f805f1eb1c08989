"""Values of the environment that a config names by `${oc.env:NAME}`: messages show the name. Imports nothing heavy."""

import os
import re
from typing import Any

from omegaconf import OmegaConf
from omegaconf.resolvers import oc

SHORT = 4  # characters; a shorter value is hidden only where it is a word of its own
_asked: set[str] = set()  # names of variables


def _env(name: str, *default: Any) -> Any:
    _asked.add(name)
    return oc.env(name, *default)


OmegaConf.register_new_resolver("oc.env", _env, replace=True)


def hide(text: str) -> str:
    """A message with `${oc.env:NAME}` for each value of the environment that a config of this process asked for."""
    values = {name: value for name in _asked if (value := os.environ.get(name))}
    for name in sorted(values, key=lambda name: len(values[name]), reverse=True):
        value = re.escape(values[name])
        found = value if len(values[name]) >= SHORT else rf"(?<!\w){value}(?!\w)"
        text = f"${{oc.env:{name}}}".join(re.split(found, text))
    return text
