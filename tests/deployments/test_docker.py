"""deployments/Dockerfile and compose.yaml, read as Docker reads them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.deployment_files import (
    FILES,
    ROOT,
    instructions,
    pinned,
    read,
)

COMPOSE = read("compose.yaml")


class TestCompose:
    services = COMPOSE["services"]

    def test_it_fits_the_compose_specification(self, tmp_path: Path) -> None:
        def problems(file: Path) -> str:
            command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
            return subprocess.run(command, capture_output=True, text=True).stdout

        broken = tmp_path / "compose.yaml"
        broken.write_text((FILES / "compose.yaml").read_text().replace("capabilities: [gpu]", "capabilities: gpu"))
        assert "ok -- validation done" in problems(FILES / "compose.yaml")
        assert "capabilities: 'gpu' is not of type 'array'" in problems(broken)

    def test_services_start_in_order(self) -> None:
        waits = {n: {d: c["condition"] for d, c in s.get("depends_on", {}).items()} for n, s in self.services.items()}
        ready = {"setup": "service_completed_successfully"}
        assert waits == {
            "database": {},
            "server": {"database": "service_healthy"},
            "setup": {"server": "service_healthy"},
            "gpu-worker": ready,
            "cpu-worker": ready,
        }
        assert all("healthcheck" in s for n, s in self.services.items() if n != "setup")

    def test_the_server_keeps_slots_migrates_its_database_and_sends_no_analytics(self) -> None:
        environment = self.services["server"]["environment"]
        storage = environment["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"]
        assert storage == "prefect.server.concurrency.lease_storage.filesystem"
        assert f"{environment['PREFECT_HOME']}" in [v.split(":")[1] for v in self.services["server"]["volumes"]]
        assert environment["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] == "true"
        assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
        assert self.services["server"]["image"] == f"prefecthq/prefect:{pinned('prefect')}-python3.11"
        assert self.services["server"]["ports"] == ["${SSB_LISTEN:-127.0.0.1:4200}:4200"]

    def test_one_worker_sees_the_gpu(self) -> None:
        [device] = self.services["gpu-worker"]["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu"]}
        assert "deploy" not in self.services["cpu-worker"]
        assert self.services["cpu-worker"]["environment"]["CUDA_VISIBLE_DEVICES"] == ""
        for name in ("gpu", "cpu"):
            worker = self.services[f"{name}-worker"]
            assert f"--pool {name} --type process --limit 1" in worker["command"]
            assert worker["volumes"] == [f"${{SSB_HOME:-home}}:{worker['environment']['SSB_HOME']}"]
            assert worker["shm_size"] == "8gb"

    def test_secrets_come_from_a_file_that_git_ignores(self) -> None:
        text = (FILES / "compose.yaml").read_text(encoding="utf-8")
        used = set(re.findall(r"\$\{(\w+)", text))
        offered = set(re.findall(r"^#?(\w+)=", (FILES / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
        assert used == offered
        secret = re.findall(r"(\w*(?:PASSWORD|AUTH_STRING|TOKEN|KEY)): (.*)", text)
        assert len(secret) == 5 and all(value.startswith("${") for _, value in secret)
        assert ".env" in (ROOT / ".gitignore").read_text().splitlines()

    @pytest.mark.skipif(
        not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode,
        reason="docker compose is not installed",
    )
    def test_docker_compose_reads_it(self, tmp_path: Path) -> None:
        settings = tmp_path / "env"
        settings.write_text("PREFECT_API_AUTH_STRING=me:x\nPOSTGRES_PASSWORD=y\n")
        command = ["docker", "compose", "--file", FILES / "compose.yaml", "--env-file", settings, "config", "--quiet"]
        subprocess.run(command, check=True)


class TestDockerfile:
    def test_the_linter_finds_nothing(self) -> None:
        linter = Path(sys.executable).parent / "hadolint"
        done = subprocess.run(
            [shutil.which("hadolint") or linter, FILES / "Dockerfile"], capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (0, "")

    def test_it_runs_without_privileges_and_downloads_packages_only(self) -> None:
        assert instructions("USER") == ["1000"]
        assert instructions("ADD") == [] and "curl" not in instructions("RUN")[0]
        assert not re.search(r"^(?:ARG|ENV).*(?:TOKEN|KEY|PASSWORD)", (FILES / "Dockerfile").read_text(), re.MULTILINE)
        assert "SSB_HOME=/ssb" in instructions("ENV")[-1] and instructions("VOLUME") == ["/ssb"]

    def test_every_installed_version_is_constrained(self) -> None:
        installs = [line for line in instructions("RUN") if "pip install" in line]
        assert len(installs) == 2 and all("--constraint" in line or "--no-deps" in line for line in installs)

    def test_every_file_that_it_copies_exists_and_is_not_ignored(self) -> None:
        sources = [source for line in instructions("COPY") for source in line.split()[:-1]]
        assert {"ssb_core", "tasks", "flows", "deployments", "pyproject.toml"} < set(sources)
        assert [s for s in sources if not (ROOT / s).exists()] == []
        allowed = (FILES / "Dockerfile.dockerignore").read_text().splitlines()
        assert allowed[1] == "*" and [s for s in sources if f"!{s}" not in allowed] == []
        assert "deployments/.env" in allowed
