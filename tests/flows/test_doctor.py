"""``ssb doctor``: a sound setup with a hub and a Prefect server, and many problems at once."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from flows.cli import doctor
from ssb_core.models import NANO
from ssb_core.store import Store
from tests.support.processes import SSB, quickstart, run_ssb

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """A hub with the embedded model as ``acme/nano``. It answers everything but requests for weights."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        files = sorted(p for p in NANO.iterdir() if p.is_file())
        if path.startswith("/api/models/acme/nano/tree/"):
            self.answer([{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": p.name} for p in files])
        elif path.startswith("/api/models/acme/nano"):
            siblings = [{"rfilename": p.name, "size": p.stat().st_size} for p in files]
            self.answer({"id": "acme/nano", "sha": COMMIT, "gated": False, "siblings": siblings})
        elif path.startswith(f"/acme/nano/resolve/{COMMIT}/") and not path.endswith(".safetensors"):
            self.send((NANO / path.rsplit("/", 1)[1]).read_bytes(), 200)
        else:
            self.send(b"", 404)

    def answer(self, body: object) -> None:
        self.send(json.dumps(body).encode(), 200)

    def send(self, body: bytes, status: int) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Length", str(len(body))),
            ("ETag", f'"{hash(self.path)}"'),
            ("X-Repo-Commit", COMMIT),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def lines(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The first line of every check by its name."""
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines() if line.startswith("  ")]
    return {row[1]: f"{row[0]} {row[2]}" for row in rows if row[0] in ("ok", "warning", "problem")}


def test_a_reachable_hub_model_and_server_are_in_order_and_nothing_is_downloaded(
    hub: str, served: dict[str, str], tmp_path: Path
) -> None:
    env = served | {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_canary"}
    done = run_ssb("doctor", "--preset", "quickstart", "--set", "model.source=acme/nano", env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("\neverything is in order\n")
    checks = lines(done)
    assert checks["model"].startswith("ok acme/nano at 01234567, will be downloaded: 3.")
    assert "context 1,024" in checks["use"] and checks["disk"].startswith("ok at most")
    assert checks["api"] == f"ok {served['PREFECT_API_URL']} answers"
    assert checks["version"].startswith("ok server 3.")
    assert "canary" not in done.stdout + done.stderr and "Traceback" not in done.stderr
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".lock"] == []


def test_every_problem_is_named_at_once_with_its_remedy(alone: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    about = tmp_path / "site" / "peft-0.1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: peft\nVersion: 0.1.0\n")
    env = alone | {
        "PYTHONPATH": f"{tmp_path / 'site'}:{alone['PYTHONPATH']}",
        "PREFECT_API_URL": "http://someone:secret@127.0.0.1:9/api",
        "HF_HUB_OFFLINE": "1",
    }
    changes = ["model.source=acme/none", "problems={source: none.jsonl}", "execution.device=mps"]
    command = [*SSB, *quickstart("doctor", changes, "--store", "taken/store")]
    limited = ["bash", "-c", 'ulimit -n 200; exec "$@"', "bash", *command]
    done = subprocess.run(limited, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 1, done.stdout + done.stderr
    statuses = {name: text.split()[0] for name, text in lines(done).items()}
    assert {name for name, status in statuses.items() if status == "problem"} == {
        "peft", "device", "to", "model", "store", "api",
    }  # fmt: skip
    assert statuses["open"] == statuses["disk"] == "warning"
    assert done.stdout.endswith("\n6 problems, 2 warnings\n")
    assert "-m pip install 'peft>=0.21'\n" in done.stdout
    assert "-> prefect server start, or use a temporary server: unset PREFECT_API_URL\n" in done.stdout
    assert "secret" not in done.stdout + done.stderr and done.stderr == ""
    assert {p.name for p in tmp_path.iterdir()} == {"taken", "site"}


def test_an_unusable_configuration_does_not_stop_the_other_checks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ssb_core.config import presets

    monkeypatch.setattr(doctor, "check_api", lambda: [])  # another test checks the API
    assert not doctor.run_checks(Store(tmp_path / "store"), lambda: presets.load_config("nope"))
    printed = capsys.readouterr().out
    assert "there is no preset 'nope'" in printed and "processor" in printed and printed.endswith("\n1 problem\n")


@pytest.mark.parametrize(
    ("server", "client", "status"),
    [("3.7.7", "3.7.7", "ok"), ("3.6.0", "3.7.7", "warning"), ("2.20.1", "3.7.7", "problem")],
)
def test_versions_of_server_and_client_are_compared(server: str, client: str, status: str) -> None:
    check = doctor.check_versions(server, client)
    assert check.status == status and bool(check.remedy) == (status != "ok")
