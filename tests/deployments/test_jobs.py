"""deployments/pools/: the jobs that Prefect's workers start on Docker and Kubernetes."""

from __future__ import annotations

import json
import re
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import kubernetes_validate
import pytest
from docker.models.containers import _create_container_args
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.utilities.schema_tools.validation import validate
from prefect_docker.worker import DockerWorker, DockerWorkerJobConfiguration
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

from tests.support.deployment_files import (
    BY_NAME,
    FILES,
    instructions,
    read,
    rendered,
)

VERSION = metadata.version("ssb")
KUBERNETES = "1.33"


def accepted(template: dict[str, Any]) -> dict[str, Any]:
    """The template, if Prefect's API accepts it: each placeholder has a variable, and each default fits its type."""
    WorkPoolCreate(name="gpu", type="docker", base_job_template=template)
    placeholders = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    assert placeholders == set(template["variables"]["properties"])
    defaults = {k: v["default"] for k, v in template["variables"]["properties"].items() if "default" in v}
    assert validate(defaults, template["variables"]) == []
    return template


class TestDockerPool:
    template = json.loads((FILES / "pools" / "docker.json").read_text(encoding="utf-8"))

    def container(self, **values: Any) -> dict[str, Any]:
        """The request that docker-py sends to the engine."""
        job = rendered(DockerWorkerJobConfiguration, accepted(self.template), BY_NAME["full"], **values)
        engine = SimpleNamespace(version=lambda: {"Version": "28.0.0"})
        settings = DockerWorker._build_container_settings(SimpleNamespace(), engine, job)  # type: ignore[arg-type]
        return _create_container_args(settings | {"version": "1.48"})

    def test_a_container_gets_a_gpu_shared_memory_and_the_volume(self) -> None:
        container = self.container()
        host = container["host_config"]
        [request] = host["DeviceRequests"]
        assert (request["Driver"], request["DeviceIDs"], request["Capabilities"]) == ("nvidia", ["0"], [["gpu"]])
        assert host["ShmSize"] == 8 * 1024**3
        assert host["Binds"] == ["ssb:/ssb"] and host["AutoRemove"] is True
        assert container["image"] == read("compose.yaml")["x-image"]["image"] == f"ssb:{VERSION}"
        assert container["environment"]["SSB_HOME"] == "/ssb"
        assert container["environment"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
        assert "privileged" not in json.dumps(self.template)

    def test_a_deployment_can_ask_for_other_gpus_memory_and_volumes(self) -> None:
        host = self.container(gpu_ids=["2", "3"], shm_size="16g", volumes=["/data/ssb:/ssb"])["host_config"]
        assert host["DeviceRequests"][0]["DeviceIDs"] == ["2", "3"]
        assert (host["ShmSize"], host["Binds"]) == (16 * 1024**3, ["/data/ssb:/ssb"])


class TestKubernetesPool:
    template = json.loads((FILES / "pools" / "kubernetes.json").read_text(encoding="utf-8"))

    def manifest(self, **values: Any) -> dict[str, Any]:
        job = rendered(KubernetesWorkerJobConfiguration, accepted(self.template), BY_NAME["full"], **values)
        manifest: dict[str, Any] = job.job_manifest
        # Prefect's worker requires these two in the pod, where Kubernetes ignores them with a warning
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
        assert (
            environment["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule"
        )  # so that an evicted run goes on
        assert container["envFrom"] == [{"secretRef": {"name": "ssb", "optional": True}}]
        assert pod["securityContext"]["runAsUser"] == int(instructions("USER")[-1])
        assert container["image"] == f"ssb:{VERSION}" and container["args"][0] == "prefect"
        assert manifest["spec"]["backoffLimit"] == 0

    def test_a_deployment_can_ask_for_other_gpus_nodes_and_volumes(self) -> None:
        pod = self.manifest(gpus=4, cpu_limit="16", node_selector={"pool": "h200"}, volume_claim="mine")
        pod = pod["spec"]["template"]["spec"]
        assert pod["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": 4, "cpu": "16"}
        assert pod["nodeSelector"] == {"pool": "h200"}
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "mine"

    def test_the_validator_notices_a_misspelt_field(self) -> None:
        with pytest.raises(kubernetes_validate.ValidationError):
            self.manifest(tolerations=[{"key": "nvidia.com/gpu", "operatr": "Exists"}])

    def test_the_claim_is_the_one_that_jobs_mount(self) -> None:
        claim = read("kubernetes.yaml")
        kubernetes_validate.validate(claim, KUBERNETES, strict=True)
        assert claim["metadata"]["name"] == self.template["variables"]["properties"]["volume_claim"]["default"]
