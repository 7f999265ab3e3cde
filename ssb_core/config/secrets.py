"""Secrets: where they come from, and how they are kept out of every message.

Secrets come from the environment only: a token for the Hugging Face hub (HF_TOKEN or HUGGING_FACE_HUB_TOKEN) and the
key of a completions server (SSB_SERVER_KEY). No configuration, record, log or message contains one. A token that
`hf auth login` left in a file is not used.
"""

from __future__ import annotations

import os
import re
from typing import Literal
from urllib.parse import urlsplit

from ..errors import ConfigError

HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
SERVER_KEY = "SSB_SERVER_KEY"


def hub_token() -> str | Literal[False]:
    """The hub token of the environment. False if there is none, which makes hub clients send none."""
    values = (os.environ.get(name, "").strip() for name in HUB_TOKENS)
    return next((value for value in values if value), False)


def server_key() -> str:
    """The server key of the environment, or an empty string.

    Raises:
        ConfigError: the key cannot be sent in an HTTP header.
    """
    key = os.environ.get(SERVER_KEY, "").strip()
    if not (key.isascii() and key.isprintable()):  # HTTP clients would quote such a key in their error
        raise ConfigError(
            f"the environment variable {SERVER_KEY} contains characters that no key has\n  remedy: set it again"
        )
    return key


def redact(text: str) -> str:
    """Replace every secret of the environment in `text` by its variable's name, e.g. ``<HF_TOKEN>``.

    Errors of libraries need this: some HTTP clients quote a header that they cannot send.
    """
    for name in (*HUB_TOKENS, SERVER_KEY):
        for value in {os.environ.get(name, ""), os.environ.get(name, "").strip()} - {""}:
            text = text.replace(value, f"<{name}>").replace(repr(value)[1:-1], f"<{name}>")
    return text


def hide_passwords(text: str) -> str:
    """Replace the user and password of every URL in `text` by three dots: ``https://...@host``."""
    return re.sub("//[^/@]*@", "//...@", text)


def without_password(url: str) -> str:
    """A URL that may be shown: without user, password, query and fragment."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
