"""What stands in deployments/ is read here by what will read it: Prefect, its workers, Docker, Kubernetes, compose."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kubernetes_validate
import pytest
import yaml
from docker.models.containers import _create_container_args
from prefect.cli.deploy._config import _load_deploy_configs_and_actions
from prefect.cli.deploy._schedules import _construct_schedules
from prefect.client.schemas.actions import WorkPoolCreate, WorkQueueCreate
from prefect.client.schemas.objects import TERMINAL_STATES, ConcurrencyLimitConfig, Flow, FlowRun
from prefect.events.schemas.automations import AutomationCore
from prefect.server.events.jinja_filters import all_filters
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.server.schemas.core import FlowRun as ServerFlowRun
from prefect.server.schemas.states import Failed
from prefect.server.utilities.user_templates import register_user_template_filters, render_user_template_sync
from prefect.types._datetime import now
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import is_valid, validate
from prefect_docker.worker import DockerWorker, DockerWorkerJobConfiguration
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration
from rich.console import Console

from flows.ssb import ssb
from ssb_core.config import RunConfig, presets

ROOT = Path(__file__).parents[2]
FILES = ROOT / "deployments"
VERSION = metadata.version("ssb")
KUBERNETES = "1.33"


def read(name: str) -> Any:
    return yaml.safe_load((FILES / name).read_text(encoding="utf-8"))


DEPLOYMENTS, ACTIONS = _load_deploy_configs_and_actions(FILES / "prefect.yaml", console=Console(stderr=True))
BY_NAME = {d["name"]: d for d in DEPLOYMENTS}
POOLS = {pool["name"]: pool for pool in read("pools.yaml")["pools"]}
AUTOMATIONS = {a["name"]: a for a in read("automations.yaml")["automations"]}
NOTIFICATIONS = {a["name"]: a for a in read("notifications.yaml")["automations"]}
COMPOSE = read("compose.yaml")

every_deployment = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["name"])


class TestPrefectYaml:
    def test_prefect_reads_every_deployment(self) -> None:
        stages = ["rollouts", "select", "teach", "distill", "evaluate"]
        assert list(BY_NAME) == ["full", "quickstart", *stages, "baselines"]
        assert ACTIONS["pull"] == [{"flows.server.home.enter_home": {}}]
        assert not ACTIONS["build"] and not ACTIONS["push"]
        assert read("prefect.yaml")["prefect-version"] == pinned("prefect")

    @every_deployment
    def test_what_they_share(self, deployment: dict[str, Any]) -> None:
        assert deployment["entrypoint"] == f"{ssb.fn.__module__}.{ssb.fn.__name__}"
        assert deployment["version"] == VERSION
        assert deployment["enforce_parameter_schema"] is True
        assert "ssb" in deployment["tags"] and deployment["work_pool"]["name"] in deployment["tags"]
        assert len(deployment["description"]) > 100
        if deployment["work_pool"]["name"] == "cpu":
            limit = ConcurrencyLimitConfig.model_validate(deployment["concurrency_limit"])
            assert (limit.limit, limit.collision_strategy.value) == (1, "ENQUEUE")
        else:  # its lease would end a run whose server is away: there the pool's limit holds
            assert "concurrency_limit" not in deployment
        assert deployment["work_pool"]["work_queue_name"] in POOLS[deployment["work_pool"]["name"]]["queues"]

    @every_deployment
    def test_the_preset_is_the_one_that_ships(self, deployment: dict[str, Any]) -> None:
        given = RunConfig.model_validate(deployment["parameters"]["config"])
        expected = presets.load_config(deployment["parameters"]["preset"])
        if deployment["name"] == "baselines":
            assert given.baselines == ("grpo", "sft", "rft", "ssb-no-wrong")
            given = given.model_copy(update={"baselines": ()})
        assert given == expected

    @every_deployment
    def test_parameters_fit_the_flow_before_anything_is_scheduled(self, deployment: dict[str, Any]) -> None:
        schema = parameter_schema(ssb).model_dump_for_openapi()
        assert validate(deployment["parameters"], schema) == []
        spoiled = json.loads(json.dumps(deployment["parameters"]))
        spoiled["config"]["rollouts"]["samples"] = "four"
        assert not is_valid(spoiled, schema)
        ssb.validate_parameters({"config": None} | deployment["parameters"])

    def test_each_stage_has_its_part(self) -> None:
        parts = {n: (d["parameters"].get("from_stage"), d["parameters"].get("to_stage")) for n, d in BY_NAME.items()}
        assert parts == {
            "full": (None, None),
            "quickstart": (None, None),
            "rollouts": (None, "rollouts"),
            "select": ("select", "select"),
            "teach": (None, "teach"),
            "distill": (None, "distill"),
            "evaluate": (None, "evaluate"),
            "baselines": (None, None),
        }
        assert [n for n, d in BY_NAME.items() if d["work_pool"]["name"] == "cpu"] == ["quickstart", "select"]

    def test_the_example_schedule_is_switched_off(self) -> None:
        scheduled = [d for d in DEPLOYMENTS if d.get("schedules")]
        assert [d["name"] for d in scheduled] == ["quickstart"]
        [schedule] = _construct_schedules(scheduled[0], {}, console=Console(), is_interactive=lambda: False)
        assert (schedule["active"], schedule["schedule"].cron, schedule["slug"]) == (False, "0 3 * * *", "nightly")
        ssb.validate_parameters(scheduled[0]["parameters"] | schedule["parameters"])


class TestPools:
    @pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
    def test_prefect_takes_them(self, pool: dict[str, Any]) -> None:
        WorkPoolCreate.model_validate({k: v for k, v in pool.items() if k != "queues"})
        for name, priority in pool["queues"].items():
            WorkQueueCreate(name=name, priority=priority)
        assert sorted(pool["queues"], key=pool["queues"].__getitem__) == ["high", "default", "low"]
        assert (pool["type"], pool["concurrency_limit"]) == ("process", 1)


def event(name: str, flow: str = "ssb", deployed: bool = True) -> ReceivedEvent:
    """As the flow engine (heartbeats) and the server (states) emit them."""
    related = [
        {"prefect.resource.id": "prefect.flow.2", "prefect.resource.role": "flow", "prefect.resource.name": flow}
    ]
    if deployed:
        related.append({"prefect.resource.id": "prefect.deployment.3", "prefect.resource.role": "deployment"})
    return ReceivedEvent.model_validate(
        {
            "occurred": datetime.now(UTC),
            "event": f"prefect.flow-run.{name}",
            "id": uuid.uuid4(),
            "resource": {"prefect.resource.id": "prefect.flow-run.1"},
            "related": related,
        }
    )


class TestZombies:
    automation = AutomationCore.model_validate(AUTOMATIONS["ssb-zombies"])
    trigger = EventTrigger.model_validate(AUTOMATIONS["ssb-zombies"]["trigger"])

    def test_only_a_heartbeat_starts_the_clock_so_a_run_that_never_started_is_never_marked(self) -> None:
        names = "heartbeat Scheduled Late Pending AwaitingConcurrencySlot Running Completed".split()
        assert [n for n in names if self.trigger.starts_after(f"prefect.flow-run.{n}")] == ["heartbeat"]

    def test_every_state_without_a_living_process_stops_it(self) -> None:
        ends = {state.value.capitalize() for state in TERMINAL_STATES} | {"TimedOut", "Paused", "Suspended"}
        assert {"Completed", "Crashed"} < ends
        assert [n for n in sorted(ends) if not self.trigger.expects(f"prefect.flow-run.{n}")] == []
        assert not self.trigger.expects("prefect.flow-run.Running")

    def test_it_sees_our_flow_and_nothing_whose_heart_may_beat_slower(self) -> None:
        assert self.trigger.covers(event("heartbeat")) and self.trigger.covers(event("Completed"))
        assert self.trigger.covers(event("heartbeat", deployed=False))  # ssb run, whose heart beats as fast
        assert not self.trigger.covers(event("heartbeat", flow="other"))

    def test_three_heartbeats_may_fail_before_a_run_is_marked(self) -> None:
        beats = {d["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] for d in DEPLOYMENTS}
        assert beats == {"30"}
        assert self.trigger.within.total_seconds() == 3 * 30
        assert self.trigger.posture.value == "Proactive" and self.trigger.for_each == {"prefect.resource.id"}

    def test_the_run_is_told_what_to_do_next(self) -> None:
        [action] = self.automation.actions
        assert (action.type, action.state.value, self.automation.enabled) == ("change-flow-run-state", "CRASHED", True)
        assert "prefect flow-run retry" in action.message


class TestNotifications:
    def test_they_are_examples(self) -> None:
        loaded = [AutomationCore.model_validate(a) for a in NOTIFICATIONS.values()]
        assert {a.name: (a.enabled, a.trigger.expect) for a in loaded} == {
            "ssb-failed": (
                False,
                {"prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut"},
            ),
            "ssb-completed": (False, {"prefect.flow-run.Completed"}),
        }
        failed, completed = (EventTrigger.model_validate(a["trigger"]) for a in NOTIFICATIONS.values())
        assert failed.covers(event("Crashed")) and not failed.covers(event("Crashed", flow="other"))
        assert completed.covers(event("Completed")) and not completed.covers(event("Crashed"))

    @pytest.mark.parametrize("name", NOTIFICATIONS)
    def test_what_they_say_is_json_whatever_the_message_holds(self, name: str) -> None:
        run = ServerFlowRun(
            id=uuid.uuid4(), flow_id=uuid.uuid4(), name='pa"per', state=Failed(message='line\n"quoted" {{ x }}')
        )
        register_user_template_filters(all_filters)
        [action] = NOTIFICATIONS[name]["actions"]
        text = json.loads(render_user_template_sync(action["payload"], {"flow_run": run}))["text"]
        assert text.startswith('ssb: pa"per ')
        assert name != "ssb-failed" or 'Failed: line\n"quoted" {{ x }}' in text


def rendered(configuration: Any, template: dict[str, Any], deployment: dict[str, Any], **values: Any) -> Any:
    """The job that a worker would start for a run of `deployment`."""
    variables = deployment["work_pool"]["job_variables"] | values
    job = asyncio.run(configuration.from_template_and_values(template, variables, client=SimpleNamespace()))
    flow = Flow(id=uuid.uuid4(), name="ssb", created=now("UTC"), updated=now("UTC"))
    job.prepare_for_flow_run(FlowRun(id=uuid.uuid4(), flow_id=flow.id, name="paper-1"), flow=flow)
    return job


def accepted(template: dict[str, Any]) -> dict[str, Any]:
    """A base job template that Prefect's API takes: every placeholder has a variable, every default fits its type."""
    WorkPoolCreate(name="gpu", type="docker", base_job_template=template)
    placeholders = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    assert placeholders == set(template["variables"]["properties"])
    defaults = {k: v["default"] for k, v in template["variables"]["properties"].items() if "default" in v}
    assert validate(defaults, template["variables"]) == []
    return template


class TestDockerPool:
    template = json.loads((FILES / "pools" / "docker.json").read_text(encoding="utf-8"))

    def created(self, **values: Any) -> dict[str, Any]:
        """What docker-py would send to the engine."""
        job = rendered(DockerWorkerJobConfiguration, accepted(self.template), BY_NAME["full"], **values)
        engine = SimpleNamespace(version=lambda: {"Version": "28.0.0"})
        settings = DockerWorker._build_container_settings(SimpleNamespace(), engine, job)  # type: ignore[arg-type]
        return _create_container_args(settings | {"version": "1.48"})

    def test_a_container_gets_a_gpu_shared_memory_and_the_volume(self) -> None:
        container = self.created()
        host = container["host_config"]
        [request] = host["DeviceRequests"]
        assert (request["Driver"], request["DeviceIDs"], request["Capabilities"]) == ("nvidia", ["0"], [["gpu"]])
        assert host["ShmSize"] == 8 * 1024**3
        assert host["Binds"] == ["ssb:/ssb"] and host["AutoRemove"] is True
        assert container["image"] == COMPOSE["x-image"]["image"] == f"ssb:{VERSION}"
        assert container["environment"]["SSB_HOME"] == "/ssb"
        assert container["environment"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
        assert "privileged" not in json.dumps(self.template)

    def test_a_deployment_can_ask_for_others(self) -> None:
        host = self.created(gpu_ids=["2", "3"], shm_size="16g", volumes=["/data/ssb:/ssb"])["host_config"]
        assert host["DeviceRequests"][0]["DeviceIDs"] == ["2", "3"]
        assert (host["ShmSize"], host["Binds"]) == (16 * 1024**3, ["/data/ssb:/ssb"])


class TestKubernetesPool:
    template = json.loads((FILES / "pools" / "kubernetes.json").read_text(encoding="utf-8"))

    def manifest(self, **values: Any) -> dict[str, Any]:
        job = rendered(KubernetesWorkerJobConfiguration, accepted(self.template), BY_NAME["full"], **values)
        manifest: dict[str, Any] = job.job_manifest
        # Prefect's worker insists on these two in the pod, where Kubernetes ignores them with a warning
        pod = manifest["spec"]["template"]["spec"]
        assert (pod.pop("parallelism"), pod.pop("completions")) == (1, 1)
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        return manifest

    def test_a_job_gets_a_gpu_shared_memory_the_volume_and_secrets(self) -> None:
        manifest = self.manifest()
        pod = manifest["spec"]["template"]["spec"]
        [container] = pod["containers"]
        assert container["resources"]["limits"] == {"nvidia.com/gpu": 1}
        assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
        assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        volumes = {v.pop("name"): v for v in pod["volumes"]}
        assert volumes["shm"] == {"emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}
        assert volumes["ssb"] == {"persistentVolumeClaim": {"claimName": "ssb"}}
        mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
        environment = {e["name"]: e["value"] for e in container["env"]}
        assert mounts == {"ssb": environment["SSB_HOME"], "shm": "/dev/shm"}
        assert environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
        assert environment["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule"  # an evicted run goes on
        assert container["envFrom"] == [{"secretRef": {"name": "ssb", "optional": True}}]
        assert pod["securityContext"]["runAsUser"] == int(instructions("USER")[-1])
        assert container["image"] == f"ssb:{VERSION}" and container["args"][0] == "prefect"
        assert manifest["spec"]["backoffLimit"] == 0

    def test_a_deployment_can_ask_for_others(self) -> None:
        pod = self.manifest(gpus=4, cpu_limit="16", node_selector={"pool": "h200"}, volume_claim="mine")
        pod = pod["spec"]["template"]["spec"]
        assert pod["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": 4, "cpu": "16"}
        assert pod["nodeSelector"] == {"pool": "h200"}
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "mine"

    def test_the_validator_would_notice(self) -> None:
        with pytest.raises(kubernetes_validate.ValidationError):
            self.manifest(tolerations=[{"key": "nvidia.com/gpu", "operatr": "Exists"}])

    def test_the_claim_is_the_one_that_jobs_mount(self) -> None:
        claim = read("kubernetes.yaml")
        kubernetes_validate.validate(claim, KUBERNETES, strict=True)
        assert claim["metadata"]["name"] == self.template["variables"]["properties"]["volume_claim"]["default"]


class TestCompose:
    services = COMPOSE["services"]

    def test_it_fits_the_compose_specification(self, tmp_path: Path) -> None:
        def problems(file: Path) -> str:
            command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
            return subprocess.run(command, capture_output=True, text=True).stdout

        spoiled = tmp_path / "compose.yaml"
        spoiled.write_text((FILES / "compose.yaml").read_text().replace("capabilities: [gpu]", "capabilities: gpu"))
        assert "ok -- validation done" in problems(FILES / "compose.yaml")
        assert "capabilities: 'gpu' is not of type 'array'" in problems(spoiled)

    def test_it_starts_in_order(self) -> None:
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

    def test_the_server_keeps_slots_migrates_and_tells_nobody(self) -> None:
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
        asked = set(re.findall(r"\$\{(\w+)", text))
        offered = set(re.findall(r"^#?(\w+)=", (FILES / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
        assert asked == offered
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


def instructions(name: str) -> list[str]:
    """The arguments of every such instruction of the Dockerfile."""
    text = re.sub(r"\\\n\s*", "", (FILES / "Dockerfile").read_text(encoding="utf-8"))
    return re.findall(rf"^{name} (.+)$", text, re.MULTILINE)


class TestDockerfile:
    def test_the_linter_is_content(self) -> None:
        linter = Path(sys.executable).parent / "hadolint"
        found = subprocess.run(
            [shutil.which("hadolint") or linter, FILES / "Dockerfile"], capture_output=True, text=True
        )
        assert (found.returncode, found.stdout) == (0, "")

    def test_it_runs_as_nobody_special_and_fetches_packages_only(self) -> None:
        assert instructions("USER") == ["1000"]
        assert instructions("ADD") == [] and "curl" not in instructions("RUN")[0]
        assert not re.search(r"^(?:ARG|ENV).*(?:TOKEN|KEY|PASSWORD)", (FILES / "Dockerfile").read_text(), re.MULTILINE)
        assert "SSB_HOME=/ssb" in instructions("ENV")[-1] and instructions("VOLUME") == ["/ssb"]

    def test_versions_are_those_of_the_constraints(self) -> None:
        installs = [line for line in instructions("RUN") if "pip install" in line]
        assert len(installs) == 2 and all("--constraint" in line or "--no-deps" in line for line in installs)

    def test_what_it_copies_is_there_and_is_not_ignored(self) -> None:
        sources = [source for line in instructions("COPY") for source in line.split()[:-1]]
        assert {"ssb_core", "tasks", "flows", "deployments", "pyproject.toml"} < set(sources)
        assert [s for s in sources if not (ROOT / s).exists()] == []
        allowed = (FILES / "Dockerfile.dockerignore").read_text().splitlines()
        assert allowed[1] == "*" and [s for s in sources if f"!{s}" not in allowed] == []
        assert "deployments/.env" in allowed


def pinned(package: str) -> str:
    """The version of a package that constraints.txt lists."""
    [version] = re.findall(rf"^{package}==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return version
