"""Models on the Hugging Face hub: the commit of a revision, and plain words for why a model cannot be had."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from ..config.secrets import hub_token
from ..errors import ConfigError

TIMEOUT = 10.0  # seconds
SINGLE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"


@lru_cache(maxsize=8)
def commit(source: str, revision: str | None) -> str:
    """The commit of a revision, from the hub, or from the local cache if the hub does not give it.

    There is one request to the hub per process, so that a branch that moves does not change a run midway.

    Raises:
        ConfigError: neither has the model, or the model has no safetensors weights.
    """
    from huggingface_hub.errors import HFValidationError

    try:
        return _online(source, revision)
    except ConfigError:
        raise
    except HFValidationError:
        raise ConfigError(
            f"model.source: {source!r} is not a directory, nor a name the hub could know\n"
            "  remedy: give a hub id (OWNER/NAME), an existing directory, a .gguf file or 'nano'"
        ) from None
    except Exception as error:  # the hub's client raises dozens of unrelated types; the cache decides
        commit = cached_commit(source, revision)
        if commit is None:
            raise ConfigError(_explain(source, revision, error)) from None
        return commit


def _online(source: str, revision: str | None) -> str:
    from huggingface_hub import HfApi

    api = HfApi(token=hub_token())
    info = api.model_info(source, revision=revision, timeout=TIMEOUT)
    if info.gated:  # everybody can read its description, but not its files
        api.auth_check(source)
    if {SINGLE_FILE, INDEX}.isdisjoint(file.rfilename for file in info.siblings or ()):
        raise ConfigError(
            f"model.source: {source} has no safetensors weights on the hub, neither {SINGLE_FILE} nor {INDEX}\n"
            "  remedy: convert it with save_pretrained and give the directory, or choose another model"
        )
    return str(info.sha)


def cached_commit(source: str, revision: str | None) -> str | None:
    """The commit in the local cache, or None if its configuration or any of its weights are missing there."""
    import huggingface_hub

    config = huggingface_hub.try_to_load_from_cache(source, "config.json", revision=revision)
    if not isinstance(config, str) or not _has_weights(Path(config).parent):
        return None
    return Path(config).parent.name


def _has_weights(snapshot: Path) -> bool:
    """Whether a snapshot has all weights: the single file, or every file that their index names."""
    index = snapshot / INDEX
    if not index.is_file():
        return (snapshot / SINGLE_FILE).is_file()
    return all((snapshot / name).is_file() for name in json.loads(index.read_text())["weight_map"].values())


def lacks(source: str, revision: str | None, name: str) -> bool:
    """Whether a model is known to have no file `name`, from its directory or from the hub's answer in the cache."""
    import huggingface_hub
    from huggingface_hub.file_download import _CACHED_NO_EXIST

    if Path(source).is_dir():
        return not (Path(source) / name).is_file()
    return huggingface_hub.try_to_load_from_cache(source, name, revision=revision) is _CACHED_NO_EXIST


def _explain(source: str, revision: str | None, error: Exception) -> str:
    why, remedy = _cause(source, revision, error)
    return (
        f"model.source: {source!r} is not a directory, not in the local hub cache with its weights, and {why}\n"
        f"  remedy: {remedy}"
    )


def _cause(source: str, revision: str | None, error: Exception) -> tuple[str, str]:
    """The reason why the hub did not give a model, and the remedy. It does not quote the error, which may have
    secrets."""
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        page = f"https://huggingface.co/{source}"
        if hub_token():
            return "it is gated and the token has no access to it", f"ask for access on {page} with the token's account"
        return "it is gated and there is no token", f"ask for access on {page}, then set HF_TOKEN to a token with it"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the hub has no revision {revision!r} of it", "correct model.revision"
    refused = status in (401, 403)
    if isinstance(error, errors.RepositoryNotFoundError) or (refused and not hub_token()):
        seen = "that the token may see" if hub_token() else "of that name (private ones show with a token only)"
        return f"the hub has no model {seen}", "check the name; for a private model set HF_TOKEN to a token with access"
    if refused:
        return (
            f"the hub refused the token (status {status})",
            "set HF_TOKEN to a valid token that may read, or unset it",
        )
    elsewhere = f"run `hf download {source}` where it can, and bring the cache (HF_HOME), or give a directory"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE forbids to ask the hub", f"unset HF_HUB_OFFLINE, or {elsewhere}"
    if status is not None:
        return f"the hub answered with status {status}", f"try again later, or {elsewhere}"
    return f"the hub could not be reached ({type(error).__name__})", f"check the network, or {elsewhere}"
