"""The connection to the server: where photos may go, with which key, and how both are named in messages."""

import ipaddress
import logging
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from style_match.errors import UserError
from style_match.safe_text import safe

if TYPE_CHECKING:
    from openai import AsyncOpenAI

# What the official client tells of the machine in each request; none of it is needed for an answer.
_TELLING = ("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version", "Async")
_CUSTOM_HEADERS = "OPENAI_CUSTOM_HEADERS"  # of the environment: the official client would send them to any server
_OWN = "api.openai.com"  # the provider's own host; those of its regions stand in front of it
_KEY_LIKE = re.compile(r"\b(sk|sess|org|proj)-[\w*.-]{4,}")


class Address:
    """`labeler.base_url`.

    Attributes:
        name: host and port; of the provider's own the host alone.
        is_own: whether it is the provider's.
        is_here: whether it is this machine.

    Raises:
        UserError: it is no address, or would send photos of people readable for everybody on the way.
    """

    def __init__(self, base_url: str, *, allow_http: bool) -> None:
        try:
            parts = urlsplit(base_url)
            port = parts.port
        except ValueError:  # not shown: what is broken may be a password
            raise UserError(
                "labeler.base_url is no address, its host or port is broken; write https://HOST:PORT/v1"
            ) from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"labeler.base_url={shown(base_url)} is no address; write https://HOST/v1")
        self.url, self.shown, host = base_url, shown(base_url), parts.hostname
        self.is_own, self.is_here = host == _OWN or host.endswith(f".{_OWN}"), _is_here(host)
        self.name = host if self.is_own else f"{host}:{port or (443 if parts.scheme == 'https' else 80)}"
        if parts.scheme == "http" and not self.is_here and not allow_http:
            raise UserError(
                f"labeler.base_url={self.shown}: photos would go over the network unencrypted. Write https, or, where "
                "the network is yours, labeler.allow_http=true too."
            )


def shown(base_url: str) -> str:
    """An address without what may be secret in it: user, password, query."""
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def read_key(variable: str | None) -> str:
    """The key from the environment; a word where the server asks for none.

    Raises:
        UserError: the variable is not set, or holds what cannot be a key.
    """
    if variable is None:
        return "none"
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UserError(f"No key: set the environment variable {variable} (labeler.key_env names it).")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(f"{variable} holds signs that no key has; set it again.")
    return key


def without_secrets(text: str, key: str) -> str:
    """What a server said, fit for a message or a file."""
    return " ".join(without_key(safe(text), key).split())[:300]


def without_key(text: str, key: str) -> str:
    """A text without the key, and without what looks like one."""
    return _KEY_LIKE.sub("(key)", text.replace(key, "(key)") if key != "none" else text)


def connect(address: Address, key: str, *, timeout_s: float, connect_timeout_s: float) -> "AsyncOpenAI":
    """The official client, which repeats nothing by itself and goes nowhere else when told to.

    Of the environment it takes no headers at all, organisation and project for the provider alone, and no proxy on the
    way to this machine.
    """
    from openai import AsyncOpenAI, Omit, Timeout

    from style_match.labeler.http import Client

    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it would print each address, with what is secret in it
    silent: Any = {"User-Agent": "style_match"} | {f"X-Stainless-{name}": Omit() for name in _TELLING}
    headers = os.environ.pop(_CUSTOM_HEADERS, None)  # it has no option against them
    try:
        client = AsyncOpenAI(
            api_key=key,
            admin_api_key="",
            base_url=address.url,
            max_retries=0,
            timeout=Timeout(timeout_s, connect=connect_timeout_s),
            default_headers=silent,
            http_client=Client(answer_s=timeout_s, follow_redirects=False, trust_env=not address.is_here),
        )
    finally:
        if headers is not None:
            os.environ[_CUSTOM_HEADERS] = headers
    if not address.is_own:
        client.organization = client.project = None
    return client


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
