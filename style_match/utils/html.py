"""Pages and cards, from the templates beside the code that fills them."""

from pathlib import Path
from typing import Any


def fill(template: Path, /, **facts: Any) -> str:
    """Return the text of a Jinja template; what goes into HTML is escaped, and a missing fact is an error.

    A page extends `base.html.jinja`, which is beside this file.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=".html." in template.name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template.name).render(facts)
