"""Secrets are read from the environment and appear in no message."""

from __future__ import annotations

import pytest

from ssb_core.config.secrets import hide_passwords, hub_token, redact, server_key, without_password
from ssb_core.errors import ConfigError

CANARY = "hf_canaryOfTheToken"


def test_errors_of_libraries_are_stripped_of_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.setenv("HF_TOKEN", f" {CANARY}\n")
    assert hub_token() == CANARY
    assert redact(f"Illegal header value b'Bearer {CANARY}'") == "Illegal header value b'Bearer <HF_TOKEN>'"
    monkeypatch.setenv("HF_TOKEN", "two\nlines")
    assert "lines" not in redact("Illegal header value b'Bearer two\\nlines'")
    monkeypatch.delenv("HF_TOKEN")
    assert hub_token() is False and redact("as it is") == "as it is"


def test_a_server_key_that_no_header_can_hold_is_refused_unquoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSB_SERVER_KEY", f"{CANARY}\n")
    assert server_key() == CANARY and redact(f"bad key {CANARY}") == "bad key <SSB_SERVER_KEY>"
    monkeypatch.setenv("SSB_SERVER_KEY", f"{CANARY}\n{CANARY}")
    with pytest.raises(ConfigError, match="SSB_SERVER_KEY contains characters") as refused:
        server_key()
    assert CANARY not in str(refused.value)


def test_an_address_is_shown_without_its_password() -> None:
    assert without_password("http://u:p@host:4200/api?key=s") == "http://host:4200/api"
    assert hide_passwords("got 'https://user:pw@host/v1'") == "got 'https://...@host/v1'"
