"""deployments/prefect.yaml, pools.yaml, automations.yaml and notifications.yaml, read as Prefect reads them."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import pytest
from prefect.cli.deploy._schedules import _construct_schedules
from prefect.client.schemas.actions import WorkPoolCreate, WorkQueueCreate
from prefect.client.schemas.objects import TERMINAL_STATES, ConcurrencyLimitConfig
from prefect.events.schemas.automations import AutomationCore
from prefect.server.events.jinja_filters import all_filters
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.server.schemas.core import FlowRun as ServerFlowRun
from prefect.server.schemas.states import Failed
from prefect.server.utilities.user_templates import register_user_template_filters, render_user_template_sync
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import is_valid, validate
from rich.console import Console

from flows.ssb import ssb
from ssb_core.config import RunConfig, presets
from tests.support.deployment_files import (
    ACTIONS,
    BY_NAME,
    DEPLOYMENTS,
    pinned,
    read,
)

VERSION = metadata.version("ssb")
POOLS = {pool["name"]: pool for pool in read("pools.yaml")["pools"]}
AUTOMATIONS = {a["name"]: a for a in read("automations.yaml")["automations"]}
NOTIFICATIONS = {a["name"]: a for a in read("notifications.yaml")["automations"]}


every_deployment = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["name"])


class TestPrefectYaml:
    def test_prefect_reads_every_deployment(self) -> None:
        stages = ["rollouts", "select", "teach", "distill", "evaluate"]
        assert list(BY_NAME) == ["full", "quickstart", *stages, "baselines"]
        assert ACTIONS["pull"] == [{"flows.server.home.enter_home": {}}]
        assert not ACTIONS["build"] and not ACTIONS["push"]
        assert read("prefect.yaml")["prefect-version"] == pinned("prefect")

    @every_deployment
    def test_every_deployment_names_flow_version_pool_and_queue(self, deployment: dict[str, Any]) -> None:
        assert deployment["entrypoint"] == f"{ssb.fn.__module__}.{ssb.fn.__name__}"
        assert deployment["version"] == VERSION
        assert deployment["enforce_parameter_schema"] is True
        assert len(deployment["description"]) > 100
        if deployment["work_pool"]["name"] == "cpu":
            limit = ConcurrencyLimitConfig.model_validate(deployment["concurrency_limit"])
            assert (limit.limit, limit.collision_strategy.value) == (1, "ENQUEUE")
        else:  # its lease would end a run whose server is away; the pool's limit holds instead
            assert "concurrency_limit" not in deployment
        assert deployment["work_pool"]["work_queue_name"] in POOLS[deployment["work_pool"]["name"]]["queues"]

    @every_deployment
    def test_a_deployment_runs_the_preset_that_ships(self, deployment: dict[str, Any]) -> None:
        if "preset" not in deployment["parameters"]:
            return  # whoever starts a single stage says which preset is meant
        config = RunConfig.model_validate(deployment["parameters"]["config"])
        expected = presets.load_config(deployment["parameters"]["preset"])
        if deployment["name"] == "baselines":
            assert config.baselines == ("grpo", "sft", "rft", "ssb-no-wrong")
            config = config.model_copy(update={"baselines": ()})
        assert config == expected

    @every_deployment
    def test_its_parameters_fit_the_flow(self, deployment: dict[str, Any]) -> None:
        schema = parameter_schema(ssb).model_dump_for_openapi()
        parameters = {"preset": "paper"} | deployment["parameters"]
        assert validate(parameters, schema) == []
        wrong = json.loads(json.dumps(parameters | {"config": presets.load_config("paper").model_dump(mode="json")}))
        wrong["config"]["rollouts"]["samples"] = "four"
        assert not is_valid(wrong, schema)
        ssb.validate_parameters(parameters)

    @every_deployment
    def test_a_deployment_of_one_stage_asks_for_the_preset_and_its_tags_name_none(
        self, deployment: dict[str, Any]
    ) -> None:
        one_stage = deployment["parameters"].keys() & {"from_stage", "to_stage"}
        assert is_valid(deployment["parameters"], parameter_schema(ssb).model_dump_for_openapi()) is not bool(one_stage)
        assert ("preset=quickstart" in deployment["description"]) is bool(one_stage)
        assert set(deployment["tags"]) == {"ssb", deployment["work_pool"]["name"]}

    def test_each_stage_has_a_deployment_of_its_own(self) -> None:
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
    def test_prefect_accepts_a_pool_and_its_queues(self, pool: dict[str, Any]) -> None:
        WorkPoolCreate.model_validate({k: v for k, v in pool.items() if k != "queues"})
        for name, priority in pool["queues"].items():
            WorkQueueCreate(name=name, priority=priority)
        assert sorted(pool["queues"], key=pool["queues"].__getitem__) == ["high", "default", "low"]
        assert (pool["type"], pool["concurrency_limit"]) == ("process", 1)


def event(name: str, flow: str = "ssb", deployed: bool = True) -> ReceivedEvent:
    """An event as the flow engine (heartbeats) and the server (states) emit it."""
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

    def test_only_a_heartbeat_starts_the_clock(self) -> None:
        # So a run that never started is never marked as crashed.
        names = "heartbeat Scheduled Late Pending AwaitingConcurrencySlot Running Completed".split()
        assert [n for n in names if self.trigger.starts_after(f"prefect.flow-run.{n}")] == ["heartbeat"]

    def test_every_state_without_a_living_process_stops_the_clock(self) -> None:
        ends = {state.value.capitalize() for state in TERMINAL_STATES} | {"TimedOut", "Paused", "Suspended"}
        assert {"Completed", "Crashed"} < ends
        assert [n for n in sorted(ends) if not self.trigger.expects(f"prefect.flow-run.{n}")] == []
        assert not self.trigger.expects("prefect.flow-run.Running")

    def test_it_covers_our_flow_and_none_with_slower_heartbeats(self) -> None:
        assert self.trigger.covers(event("heartbeat")) and self.trigger.covers(event("Completed"))
        assert self.trigger.covers(event("heartbeat", deployed=False))  # `ssb run` has the same heartbeat
        assert not self.trigger.covers(event("heartbeat", flow="other"))

    def test_three_heartbeats_may_fail_before_a_run_is_marked(self) -> None:
        beats = {d["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] for d in DEPLOYMENTS}
        assert beats == {"30"}
        assert self.trigger.within.total_seconds() == 3 * 30
        assert self.trigger.posture.value == "Proactive" and self.trigger.for_each == {"prefect.resource.id"}

    def test_the_message_says_how_the_run_goes_on(self) -> None:
        [action] = self.automation.actions
        assert (action.type, action.state.value, self.automation.enabled) == ("change-flow-run-state", "CRASHED", True)
        assert "prefect flow-run retry" in action.message


class TestNotifications:
    def test_they_are_examples_that_are_switched_off(self) -> None:
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
    def test_the_payload_is_json_whatever_the_message_holds(self, name: str) -> None:
        run = ServerFlowRun(
            id=uuid.uuid4(), flow_id=uuid.uuid4(), name='pa"per', state=Failed(message='line\n"quoted" {{ x }}')
        )
        register_user_template_filters(all_filters)
        [action] = NOTIFICATIONS[name]["actions"]
        text = json.loads(render_user_template_sync(action["payload"], {"flow_run": run}))["text"]
        assert text.startswith('ssb: pa"per ')
        assert name != "ssb-failed" or 'Failed: line\n"quoted" {{ x }}' in text
