"""Hub models: every reason why a model cannot be had has its remedy, and the token stays in the environment.

A server on this machine answers as the hub does. The client is the real one, in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ROOT

CANARY = "hf_canaryCanaryCanary"
BLOCKED = "hf_canaryWithoutAccess"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CACHED = "fedcba9876543210fedcba9876543210fedcba98"


FILES = {
    "pickled": ["pytorch_model.bin"],
    "adapted": ["pytorch_model.bin", "adapter_model.safetensors", "onnx/model.safetensors"],
    "sharded": ["model.safetensors.index.json", "model-00001-of-00001.safetensors"],
}


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does. The name of a model says what is wrong with it."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if "/resolve/" in self.path:
            self.answer(403) if "/broken/" in self.path else self.answer(404, code="EntryNotFound")
            return
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        _, _, _, owner, name, *rest = self.path.split("/")
        if token == "hf_canaryExpired":
            self.answer(401, message="Invalid credentials in Authorization header")
        elif rest == ["auth-check"]:
            self.answer(200) if token == CANARY else self.answer(403 if token else 401, code="GatedRepo")
        elif name == "missing":
            self.answer(404, code="RepoNotFound") if token else self.answer(
                401, message="Invalid username or password."
            )
        elif rest == ["revision", "nowhere"]:
            self.answer(404, code="RevisionNotFound")
        elif name == "broken":
            self.answer(500)
        else:
            names = ["config.json", *FILES.get(name, ["model.safetensors"])]
            files = [{"rfilename": n} for n in names]
            gated = "manual" if name == "gated" else False
            self.answer(200, {"id": f"{owner}/{name}", "sha": COMMIT, "gated": gated, "siblings": files})

    def answer(self, status: int, body: object = None, code: str | None = None, message: str | None = None) -> None:
        text = json.dumps(body or {}).encode()
        self.send_response(status)
        headers = {"X-Error-Code": code, "X-Error-Message": message, "Content-Length": str(len(text))}
        if "/resolve/" in self.path:  # the commit that has the file or has it not
            headers["X-Repo-Commit"] = CACHED
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


CODE = """
import json, logging, sys
from pathlib import Path
logging.basicConfig(level=logging.DEBUG)
from ssb_core import config, models
from ssb_core.errors import ConfigError
results = {}
for source, revision in json.loads(sys.argv[1]):
    try:
        results[source] = models.resolve(config.ModelConfig(source=source, revision=revision), Path("store")).identity
    except ConfigError as e:
        results[source] = str(e)
print(json.dumps(results))
"""


ENDS = """
import json, sys
from types import SimpleNamespace
from ssb_core import config, models
from ssb_core.errors import ConfigError
results = {}
for source, revision in json.loads(sys.argv[1]):
    model = models.ResolvedModel(source=source, revision=revision, identity="", dtype="float32")
    try:
        results[source] = models.end_of_turn(model, SimpleNamespace(eos_token_id=None, chat_template=None))
    except ConfigError as e:
        results[source] = str(e)
print(json.dumps(results))
"""


LOAD = """
import json, sys
from ssb_core import config, models
from ssb_core.errors import ConfigError
results = {}
for source, revision in json.loads(sys.argv[1]):
    model = models.ResolvedModel(source=source, revision=revision, identity="", dtype="float32")
    try:
        results[source] = str(models.load_model(model, "cpu"))
    except ConfigError as e:
        results[source] = str(e)
print(json.dumps(results))
"""


def ask(revisions: dict[str, str | None], home: Path, code: str = CODE, **env: str) -> dict[str, Any]:
    """The identity or error of each model (name: revision), from a process with that environment and DEBUG logs."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "TRANSFORMERS"))}
    env = kept | {"PYTHONPATH": str(ROOT), "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"} | env
    command = [sys.executable, "-c", code, json.dumps(list(revisions.items()))]
    done = subprocess.run(command, env=env, cwd=home, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "canary" not in done.stdout + done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def cache(home: Path, name: str, *weights: str) -> Path:
    """A model with these files of weights in the local cache, as the hub's client keeps it."""
    folder = home / "hub" / f"models--acme--{name}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(CACHED)
    (folder / "snapshots" / CACHED).mkdir(parents=True)
    for file in ("config.json", *weights):
        (folder / "snapshots" / CACHED / file).touch()
    return folder / "snapshots" / CACHED


def test_without_a_token_every_refusal_has_its_remedy(hub: str, tmp_path: Path) -> None:
    revisions = {
        "acme/open": None,
        "acme/missing": None,
        "acme/gated": None,
        "acme/revised": "nowhere",
        "acme/pickled": None,
        "acme/adapted": None,
        "acme/sharded": None,
        "acme/broken": None,
    }
    results = ask(revisions, tmp_path, HF_ENDPOINT=hub)
    assert "the hub has no model of that name (private ones show with a token only)" in results["acme/missing"]
    assert "it is gated and there is no token" in results["acme/gated"]
    assert "ask for access on https://huggingface.co/acme/gated, then set HF_TOKEN" in results["acme/gated"]
    assert "no revision 'nowhere'" in results["acme/revised"] and "model.revision" in results["acme/revised"]
    for name in ("acme/pickled", "acme/adapted"):
        assert "no safetensors weights on the hub, neither model.safetensors nor" in results[name]
    assert "the hub answered with status 500" in results["acme/broken"]
    assert results.pop("acme/open") == f"acme/open@{COMMIT}" and results.pop("acme/sharded") == f"acme/sharded@{COMMIT}"
    assert all("\n  remedy: " in text for text in results.values())


@pytest.mark.parametrize("variable", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_a_token_from_the_environment_opens_a_gated_model(hub: str, tmp_path: Path, variable: str) -> None:
    revisions: dict[str, str | None] = {"acme/gated": None, "acme/missing": None}
    results = ask(revisions, tmp_path, HF_ENDPOINT=hub, **{variable: CANARY})
    assert results["acme/gated"] == f"acme/gated@{COMMIT}"
    assert "no model that the token may see" in results["acme/missing"]


def test_a_token_without_access_or_out_of_date_is_not_taken_for_none(hub: str, tmp_path: Path) -> None:
    results = ask({"acme/gated": None}, tmp_path, HF_ENDPOINT=hub, HF_TOKEN=BLOCKED)["acme/gated"]
    assert "gated and the token has no access" in results and "with the token's account" in results
    results = ask({"acme/open": None}, tmp_path, HF_ENDPOINT=hub, HF_TOKEN="hf_canaryExpired")["acme/open"]
    assert "the hub refused the token (status 401)" in results and "set HF_TOKEN to a valid token" in results


def test_a_token_in_a_file_is_not_used(hub: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(CANARY)
    assert "there is no token" in ask({"acme/gated": None}, tmp_path, HF_ENDPOINT=hub)["acme/gated"]


def test_without_a_network_the_cache_decides(tmp_path: Path) -> None:
    cache(tmp_path, "here", "model.safetensors")
    cache(tmp_path, "half")
    shards = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    cache(tmp_path, "unindexed", *shards[:1])
    for name, n in (("sharded", 2), ("unfinished", 1)):
        index = cache(tmp_path, name, *shards[:n]) / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": {"a": shards[0], "b": shards[1], "c": shards[1]}}))
    names = ("here", "half", "unindexed", "sharded", "unfinished", "not/there")
    revisions: dict[str, str | None] = dict.fromkeys([*(f"acme/{name}" for name in names), "./nowhere"])
    down = ask(revisions, tmp_path, HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN=CANARY)
    offline = ask(revisions, tmp_path, HF_HUB_OFFLINE="1", HF_TOKEN=CANARY)
    for results in (down, offline):
        assert results["acme/here"] == f"acme/here@{CACHED}" and results["acme/sharded"] == f"acme/sharded@{CACHED}"
        for name in ("acme/half", "acme/unindexed", "acme/unfinished"):
            assert "not in the local hub cache with its weights" in results[name]
        assert "run `hf download acme/half`" in results["acme/half"]
        assert "'./nowhere' is not a directory" in results["./nowhere"]
        assert "'acme/not/there' is not a directory" in results["acme/not/there"]
    assert "the hub could not be reached (ConnectError)" in down["acme/half"]
    assert "HF_HUB_OFFLINE forbids" in offline["acme/half"] and "unset HF_HUB_OFFLINE" in offline["acme/half"]


def test_a_gated_model_in_the_cache_needs_no_token(hub: str, tmp_path: Path) -> None:
    cache(tmp_path, "gated", "model.safetensors")
    assert ask({"acme/gated": None}, tmp_path, HF_ENDPOINT=hub)["acme/gated"] == f"acme/gated@{CACHED}"


def test_only_a_missing_file_is_taken_for_no_generation_settings(hub: str, tmp_path: Path) -> None:
    for name in ("plain", "broken"):
        (cache(tmp_path, name) / "config.json").write_text('{"model_type": "llama", "eos_token_id": 7}')
    plain: dict[str, str | None] = {"acme/plain": CACHED}
    down = {"HF_HUB_OFFLINE": "1"}
    unknown = ask(plain, tmp_path, ENDS, **down)["acme/plain"]
    assert "its generation_config.json cannot be read" in unknown and "\n  remedy: try again when the hub" in unknown
    results = ask(plain | {"acme/broken": CACHED}, tmp_path, ENDS, HF_ENDPOINT=hub)
    assert results["acme/plain"] == [7] and "cannot be read" in results["acme/broken"]
    assert ask(plain, tmp_path, ENDS, **down)["acme/plain"] == [7]  # as the hub answered before


def test_pickled_weights_that_a_models_files_name_are_not_loaded(tmp_path: Path) -> None:
    for name, more in (("indexed", "{}"), ("named", '{"transformers_weights": "adapter_model.bin"}')):
        snapshot = cache(tmp_path, name, "pytorch_model.bin", "adapter_model.bin")
        (snapshot / "config.json").write_text(json.dumps({"model_type": "llama"} | json.loads(more)))
        (snapshot / "model.safetensors.index.json").write_text('{"weight_map": {"a": "pytorch_model.bin"}}')
    results = ask({"acme/indexed": CACHED, "acme/named": CACHED}, tmp_path, LOAD, HF_HUB_OFFLINE="1")
    assert "names 'pytorch_model.bin'; only safetensors beside it are read\n  remedy: " in results["acme/indexed"]
    assert "transformers_weights is 'adapter_model.bin'), which is not supported" in results["acme/named"]


@pytest.mark.parametrize("value", [CANARY, ""])
def test_data_sets_are_asked_for_with_the_token_of_the_environment_only(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    from ssb_core import problems
    from ssb_core.config import ProblemsConfig

    def rows(*_: object, token: object, **__: object) -> list[dict[str, str]]:
        assert token == (value or False)
        return [{"question": "1+1?", "answer": "2"}]

    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.setenv("HF_TOKEN", value)
    monkeypatch.setattr(datasets, "load_dataset", rows)
    assert len(problems.load_problems(ProblemsConfig(source=f"acme/set{len(value)}"))) == 1
