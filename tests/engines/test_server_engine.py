"""The engine that uses a completions server: real HTTP on loopback, and a real vLLM if it is installed."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from peft import LoraConfig, get_peft_model

from ssb_core import models, problems, prompts
from ssb_core.config import Decoding, ProblemsConfig, RolloutsConfig, presets
from ssb_core.config.execution import Execution, ServerOptions
from ssb_core.config.secrets import SERVER_KEY
from ssb_core.engines import SampleRequest, open_sampler, seed_for, server_client, server_engine
from ssb_core.engines.server_engine import ServerSampler
from ssb_core.errors import ConfigError, EngineError
from ssb_core.progress import Progress
from ssb_core.records import Completion
from ssb_core.stages import Runtime, rollouts
from ssb_core.stages.execute import execute
from ssb_core.store import Store
from tests.support.completions_server import NAME, CompletionsServer, answer, breaks_off, refuses, running, says
from tests.support.processes import ROOT, wait_until_healthy
from tests.support.sampling import sampled

WARM = Decoding(temperature=0.8, max_new_tokens=160)
SHORT = Decoding(temperature=0.8, max_new_tokens=8)
CANARY = "sk-canary-7f3a9"


class NotedProgress(Progress):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.done = 0

    def advance(self, n: int = 1) -> None:
        self.done += n

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def started(nano: models.ResolvedModel) -> Iterator[tuple[CompletionsServer, str]]:
    app = CompletionsServer(nano)
    with running(app) as url:
        yield app, url


@pytest.fixture
def server(started: tuple[CompletionsServer, str], monkeypatch: pytest.MonkeyPatch) -> CompletionsServer:
    monkeypatch.setattr(server_client, "FIRST_WAIT", 0.002)
    started[0].reset()
    return started[0]


@pytest.fixture
def url(started: tuple[CompletionsServer, str]) -> str:
    return started[1]


@pytest.fixture(scope="module")
def requests(nano: models.ResolvedModel) -> list[SampleRequest]:
    problem_set = problems.load_problems(ProblemsConfig(source="nano-test", limit=24))
    tokenizer = models.load_tokenizer(nano)
    prompt_ids = (prompts.encode(tokenizer, prompts.tutor_messages(p.question)) for p in problem_set)
    return [SampleRequest(ids, seed_for("test", 0, p.id, 0)) for p, ids in zip(problem_set, prompt_ids, strict=True)]


@pytest.fixture(scope="module")
def expected(nano: models.ResolvedModel, requests: list[SampleRequest]) -> list[Completion]:
    with open_sampler(nano, Execution(engine="transformers")) as local:
        return sampled(local, requests, WARM)


@contextmanager
def connected(nano: models.ResolvedModel, url: str, **options: Any) -> Iterator[ServerSampler]:
    with open_sampler(nano, Execution(engine="openai", server=ServerOptions(url=url, **options))) as sampler:
        assert isinstance(sampler, ServerSampler)
        yield sampler


@pytest.mark.parametrize("seeded_draw", [None, True])
def test_a_server_with_the_seeded_draw_gives_the_completions_of_the_local_engine(
    server: CompletionsServer,
    url: str,
    nano: models.ResolvedModel,
    requests: list[SampleRequest],
    expected: list[Completion],
    seeded_draw: bool | None,
) -> None:
    groups, progress = {n: requests[n : n + 5] for n in range(0, 24, 5)}, NotedProgress()
    with connected(nano, url, seeded_draw=seeded_draw) as sampler:
        completions = dict(sampler.sample(groups.items(), WARM, progress))
    assert completions == {n: expected[n : n + 5] for n in groups}
    assert (progress.done, progress.notes) == (24, [])
    assert all("seed" not in b for b in server.bodies)


@pytest.mark.parametrize("seeded_draw", [None, False])
def test_a_server_that_draws_by_itself_gets_the_seed_and_the_user_gets_a_note(
    server: CompletionsServer,
    url: str,
    nano: models.ResolvedModel,
    requests: list[SampleRequest],
    expected: list[Completion],
    seeded_draw: bool | None,
) -> None:
    server.draws_seeded, progress = False, NotedProgress()
    greedy = WARM.model_copy(update={"temperature": 0.0})
    with connected(nano, url, seeded_draw=seeded_draw) as sampler:
        assert sampler.name == "openai (the server's own draw)"
        assert [c for _, c in sampler.sample([(0, requests)], greedy, progress)] and progress.notes == []
        ((_, completions),) = sampler.sample([(0, requests)], WARM, progress)
    assert completions != expected and [b["seed"] for b in server.bodies[-24:]] != [0] * 24
    assert {b["seed"] for b in server.bodies[-24:]} == {r.seed for r in requests}
    assert progress.notes == [f"the server at {url} draws by itself: not the completions that other engines would draw"]


def test_a_server_that_refuses_the_parameter_of_the_seeded_draw_draws_by_itself(
    server: CompletionsServer, url: str
) -> None:
    server.faults = [refuses(400, "unknown field vllm_xargs")]
    assert not server_engine.served(ServerOptions(url=url))[1]
    server.faults = [refuses(503), refuses(503)]
    assert "answered with status 503" in refused(url, retries=1)


def test_as_many_requests_as_allowed_are_in_flight_across_groups(
    server: CompletionsServer, url: str, nano: models.ResolvedModel, requests: list[SampleRequest]
) -> None:
    server.gather, read = 6, []

    def groups() -> Iterator[tuple[int, list[SampleRequest]]]:
        for n in range(0, 24, 2):
            read.append(n)
            yield n, requests[n : n + 2]

    with connected(nano, url, concurrency=6) as sampler:
        answers = sampler.sample(groups(), SHORT, Progress())
        assert read == []
        first = next(answers)
        assert len(first[1]) == 2
        assert {first[0], *(n for n, _ in answers)} == set(range(0, 24, 2))
    assert server.most_in_flight == 6


def test_requests_in_flight_are_cancelled_when_the_consumer_stops(
    server: CompletionsServer, url: str, nano: models.ResolvedModel, requests: list[SampleRequest]
) -> None:
    with connected(nano, url, concurrency=1) as sampler:
        server.faults = [server.answers, server.hangs]
        for key, _ in sampler.sample([("done", requests[:1]), ("hangs", requests[1:2])], SHORT, Progress()):
            assert key == "done" and server.hanging.wait(60)
            break
        assert server.hung_up.wait(60)
        assert len(sampled(sampler, requests[:1], SHORT)) == 1


@pytest.mark.parametrize(
    "fault",
    [refuses(503), refuses(500), refuses(429), breaks_off],
    ids=["503", "500", "429", "breaks off"],
)
def test_a_transient_failure_is_retried_and_noted_once(
    server: CompletionsServer, url: str, nano: models.ResolvedModel, requests: list[SampleRequest], fault: Any
) -> None:
    progress = NotedProgress()
    with connected(nano, url, concurrency=2) as sampler:
        server.faults = [fault, fault]
        completions = dict(sampler.sample([(0, requests[:3])], SHORT, progress))
    assert len(completions[0]) == 3 and len(server.bodies) == 5
    assert len(progress.notes) == 1 and progress.notes[0].endswith("trying again (execution.server.retries)")


def test_a_request_that_takes_too_long_is_sent_again(
    server: CompletionsServer, url: str, nano: models.ResolvedModel, requests: list[SampleRequest]
) -> None:
    with connected(nano, url, timeout_seconds=0.5) as sampler:
        server.faults = [server.hangs]
        assert len(sampled(sampler, requests[:1], SHORT)) == 1
    assert server.hung_up.wait(60)


def test_a_server_that_asks_for_time_gets_it(
    server: CompletionsServer,
    url: str,
    nano: models.ResolvedModel,
    requests: list[SampleRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with connected(nano, url) as sampler:
        server.faults = [refuses(429, Retry_After="1")]
        began = time.monotonic()
        sampled(sampler, requests[:1], SHORT)
        assert 1 <= time.monotonic() - began < 60
        monkeypatch.setattr(server_client, "LONGEST_WAIT", 0.1)
        server.faults = [refuses(503, Retry_After="86400"), refuses(503, Retry_After="Fri, 01 Jan 2100 00:00:00 GMT")]
        began = time.monotonic()
        sampled(sampler, requests[:1], SHORT)
        assert 0.2 <= time.monotonic() - began < 60


def test_a_lasting_failure_is_given_up_with_the_servers_message(
    server: CompletionsServer, url: str, nano: models.ResolvedModel, requests: list[SampleRequest]
) -> None:
    with connected(nano, url, retries=2) as sampler:
        server.faults = [refuses(503, "the\x1b[2J GPU is on fire" + "!" * 9999)] * 3
        with pytest.raises(EngineError) as error:
            sampled(sampler, requests[:1], SHORT)
        message = str(error.value)
        assert message.startswith(f"the server at {url} answered with status 503 (3 tries): the [2J GPU is on fire!!!")
        assert len(message) <= 500
        assert len(sampled(sampler, requests[:1], SHORT)) == 1  # the engine goes on working


def test_a_refused_request_is_not_sent_again(
    server: CompletionsServer, url: str, nano: models.ResolvedModel, requests: list[SampleRequest]
) -> None:
    with connected(nano, url) as sampler:
        server.faults = [refuses(400, "prompt must be a string"), refuses(400)]
        with pytest.raises(EngineError, match=r"answered with status 400: prompt must be a string"):
            sampled(sampler, requests[:1], SHORT)
    assert len(server.bodies) == 1


WRONG: dict[str, tuple[Any, str]] = {
    "no JSON": (says(b"{"), "cannot be read: JSON: Invalid JSON"),
    "deep JSON": (says(b"[" * 100_000), "cannot be read: JSON: Invalid JSON"),
    "nothing": (says(b"{}"), "cannot be read: choices: Field required"),
    "no choice": (says(b'{"choices": []}'), "cannot be read: choices: Tuple should have at least 1 item"),
    "another ending": (answer([5] * 8, "abort"), "cannot be read: choices.0.finish_reason: Input should be 'stop' or"),
    "a token beyond the vocabulary": (answer([5, 570], "stop"), "returned token 570, but this model's vocabulary ends"),
    "a negative token": (answer([-1, 2], "stop"), "returned token -1,"),
    "a token that is a word": (answer(["5", 2], "stop"), "cannot be read: choices.0.token_ids.0: Input should be a va"),  # type: ignore[list-item]
    "a token that is a truth": (
        answer([True, 2], "stop"),
        "cannot be read: choices.0.token_ids.0: Input should be a v",
    ),
    "another end of turn": (answer([5, 6], "stop"), r"ended a turn with none of this model's tokens for that \(2,\)"),
    "too few tokens": (answer([5, 6], "length"), "cut a completion at 2 tokens, not at 8 as it was asked to"),
    "too many tokens": (answer([5] * 9, "length"), "cut a completion at 9 tokens, not at 8 as it was asked to"),
    "another prompt": (answer([2], "stop", prompt=[1, 2, 3]), "changed the prompt"),
    "endless": (says(b" " * 2**20), "gave an answer of more than 1000000 bytes"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_is_refused(
    server: CompletionsServer,
    url: str,
    nano: models.ResolvedModel,
    requests: list[SampleRequest],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setattr(server_client, "MAX_BYTES", 1_000_000)
    wrong, message = WRONG[name]
    with connected(nano, url) as sampler:
        if callable(wrong):
            server.faults = [wrong]
        else:
            server.change = lambda _: wrong
        with pytest.raises(EngineError, match=f"the server at {url} .*{message}"):
            sampled(sampler, requests[:1], SHORT)


def test_tokens_behind_the_end_of_the_turn_are_cut_off(
    server: CompletionsServer, url: str, nano: models.ResolvedModel, requests: list[SampleRequest]
) -> None:
    server.change = lambda _: answer([5, 6, 2, 7, 2], "length")
    with connected(nano, url) as sampler:
        (completion,) = sampled(sampler, requests[:1], SHORT)
    assert (completion.completion_ids, completion.finish_reason) == ((5, 6, 2), "stop")


def test_text_without_token_ids_is_encoded_again_and_the_user_is_told_once(
    server: CompletionsServer, url: str, nano: models.ResolvedModel, requests: list[SampleRequest]
) -> None:
    greedy = WARM.model_copy(update={"temperature": 0.0})
    with open_sampler(nano, Execution(engine="transformers")) as local:
        expected = sampled(local, requests, greedy)

    def without_ids(answer: dict[str, Any]) -> None:
        del answer["choices"][0]["token_ids"], answer["choices"][0]["prompt_token_ids"]

    server.change = lambda answer: without_ids(answer) or answer
    progress = NotedProgress()
    with connected(nano, url) as sampler:
        completions = [
            c for n in (0, 12) for _, cs in sampler.sample([(n, requests[n : n + 12])], greedy, progress) for c in cs
        ]
        assert sampler.name.endswith("text encoded again)")
    assert [(c.text, c.finish_reason) for c in completions] == [(c.text, c.finish_reason) for c in expected]
    assert all((c.completion_ids[-1] == 2) == (c.finish_reason == "stop") for c in completions)
    assert progress.notes == [
        f"the server at {url} returns text only, which is encoded again: tokens may differ from those sampled"
    ]


def test_prompts_are_encoded_rightly_while_text_is_encoded_again_in_the_loop(
    server: CompletionsServer, url: str, nano: models.ResolvedModel, request: pytest.FixtureRequest
) -> None:
    """A fast tokenizer keeps how it treats special tokens as a state, which two threads must not share."""
    choice = server_engine.Choice(text="She has 5 <|im_end|> apples.", finish_reason="stop")
    done = threading.Event()
    with connected(nano, url) as sampler:
        messages = prompts.tutor_messages("How many?")
        expected = sampler.encode(messages)

        def encode_again() -> None:
            while not done.is_set():
                sampler._encoded_again(choice)

        request.addfinalizer(partial(sys.setswitchinterval, sys.getswitchinterval()))
        sys.setswitchinterval(1e-6)  # as if the machine were busy
        thread = threading.Thread(target=encode_again)
        thread.start()
        try:
            wrong = sum(sampler.encode(messages) != expected for _ in range(3000))
        finally:
            done.set()
            thread.join()
    assert wrong == 0


def test_no_text_becomes_a_special_token(
    server: CompletionsServer, url: str, nano: models.ResolvedModel, requests: list[SampleRequest]
) -> None:
    server.change = lambda _: {"choices": [{"text": "a<|im_end|>b", "finish_reason": "stop"}]}
    with connected(nano, url) as sampler:
        (completion,) = sampled(sampler, requests[:1], SHORT)
    assert completion.completion_ids.count(2) == 1 and completion.completion_ids[-1] == 2
    assert completion.text == "a<|im_end|>b"


def test_a_prompt_that_only_the_servers_limit_excludes_is_an_error(
    server: CompletionsServer, url: str, nano: models.ResolvedModel, requests: list[SampleRequest]
) -> None:
    server.cards[0]["max_model_len"] = 100
    with connected(nano, url) as sampler:
        assert not sampler.fits(requests[0].prompt_ids, Decoding(temperature=0, max_new_tokens=1024))
        assert sampler.fits((1,) * 92, SHORT)
        with pytest.raises(ConfigError, match=r"may take 101 tokens.* only 100 are.*--max-model-len 1024"):
            sampler.fits((1,) * 93, SHORT)


def refused(url: str, **options: Any) -> str:
    with pytest.raises(ConfigError) as error:
        server_engine.check(ServerOptions(url=url, **options))
    return str(error.value)


def test_the_served_model_is_found_or_the_error_says_what_to_set(server: CompletionsServer, url: str) -> None:
    server.cards += [{"id": "student", "parent": NAME}]
    assert server_engine.served(ServerOptions(url=url))[0].id == NAME
    assert server_engine.served(ServerOptions(url=url, model="student"))[0].id == "student"
    message = refused(url, model="other")
    assert f"does not serve execution.server.model 'other' (it serves: {NAME})" in message
    server.cards += [{"id": "second"}]
    assert f"or more than one (it serves: {NAME}, second)\n  remedy: set execution.server.model" in refused(url)
    assert server_engine.served(ServerOptions(url=url, model="second"))[0].id == "second"
    server.cards = []
    assert "(it serves: none)" in refused(url)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (refuses(503, "loading"), "answered with status 503: loading"),
        (refuses(401, "who are you"), "answered with status 401: who are you"),
        (says(b"<html>"), "gave an answer that cannot be read"),
        (refuses(307, location="http://127.0.0.1:1/v1/models"), "answered with status 307"),
    ],
)
def test_a_server_that_does_not_list_its_models_is_refused_at_once(
    server: CompletionsServer, url: str, fault: Any, why: str
) -> None:
    server.listing = fault
    message = refused(url)
    assert message.startswith(f"execution.server: the server at {url} {why}") and "remedy: start the server" in message


def test_an_address_where_nothing_listens_is_refused_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    assert refused(url).startswith(f"execution.server: the server at {url} cannot be reached: ConnectError")


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://h/v1", "http://user:key@h/v1", "http://h/v1?key=1", "http:///v1", "http://h/a b"]
)
def test_bad_addresses_and_addresses_with_secrets_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"execution\.server\.url"):
        presets.load_config("quickstart", overrides=[f"execution.server.url='{url}'"])


def test_a_server_without_the_seeded_draw_is_noticed(server: CompletionsServer, url: str) -> None:
    server_engine.check(ServerOptions(url=url, seeded_draw=True))
    server.draws_seeded = False
    assert "does not draw by it\n  remedy: start vLLM with VLLM_USE_V2_MODEL_RUNNER=0" in refused(url, seeded_draw=True)


def test_the_key_goes_to_the_server_and_nowhere_else(
    server: CompletionsServer,
    url: str,
    nano: models.ResolvedModel,
    requests: list[SampleRequest],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("SSB_SERVER_KEY", f"{CANARY}\n")
    progress, messages = NotedProgress(), []
    with caplog.at_level(logging.DEBUG), connected(nano, url, retries=1) as sampler:
        for fault in (refuses(401, f"bad key {CANARY}"), says(CANARY.encode()), refuses(503, CANARY)):
            server.faults = [fault, fault]
            with pytest.raises(EngineError) as error:
                next(sampler.sample([(0, requests[:1])], SHORT, progress))
            messages.append(str(error.value))
            server.faults = []
        messages.append(repr(vars(sampler)) + repr(sampler.server.client.headers))
        server.listing = refuses(403, CANARY)
        messages.append(refused(url))
    monkeypatch.setenv("SSB_SERVER_KEY", f"{CANARY}\n{CANARY}")
    messages.append(refused(url))
    assert server.keys == {f"Bearer {CANARY}"}
    assert "bad key <SSB_SERVER_KEY>" in messages[0]
    assert CANARY not in "".join([*messages, *progress.notes, caplog.text])


def rollouts_spec(nano: models.ResolvedModel, execution: Execution, n: int = 12) -> rollouts.Spec:
    config = ProblemsConfig(source="nano-train", limit=n)
    return rollouts.Spec(
        model=nano,
        problems=config,
        start=0,
        stop=n,
        problems_digest=problems.load_problems(config).content_digest(),
        rollouts=RolloutsConfig(samples=2, max_new_tokens=160),
        execution=execution,
    )


def shards(store: Store) -> dict[str, list[Any]]:
    """Every shard's rows, by name."""
    return {p.name: pq.read_table(p).to_pylist() for p in store.root.rglob("*.parquet")}


def test_a_stage_makes_the_same_shards_as_with_the_local_engine(
    server: CompletionsServer, url: str, nano: models.ResolvedModel, tmp_path: Path
) -> None:
    local_store, server_store = Store(tmp_path / "here"), Store(tmp_path / "there")
    execute(rollouts_spec(nano, Execution(engine="transformers", shard_size=4)), local_store, Runtime())
    over_server = Execution(shard_size=4, engine="openai", server=ServerOptions(url=url, concurrency=8))
    execute(rollouts_spec(nano, over_server), server_store, Runtime())
    assert len(shards(local_store)) == 3 and shards(server_store) == shards(local_store)


def test_finished_shards_are_kept_when_the_server_fails(
    server: CompletionsServer, url: str, nano: models.ResolvedModel, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    options = ServerOptions(url=url, concurrency=8)
    spec = rollouts_spec(nano, Execution(shard_size=4, engine="openai", server=options))
    server.faults = [server.answers] * 18 + [refuses(400)]  # two of the answers are for the test of the seeded draw
    with pytest.raises(EngineError, match="status 400"):
        execute(spec, store, Runtime())
    kept = shards(store)
    assert 1 <= len(kept) < 3
    outcome = execute(spec, store, Runtime())
    assert (outcome.made, outcome.reused) == (3 - len(kept), len(kept))


def test_a_student_is_sampled_on_this_machine(
    server: CompletionsServer, url: str, nano: models.ResolvedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = LoraConfig(r=2, target_modules="all-linear")
    get_peft_model(models.load_model(nano, "cpu"), adapter).save_pretrained(tmp_path)
    with open_sampler(nano, Execution(engine="openai", server=ServerOptions(url=url)), tmp_path) as sampler:
        assert not isinstance(sampler, ServerSampler)
    assert "the server has no adapter of the student" in caplog.text


@pytest.fixture(scope="module")
def vllm(nano: models.ResolvedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real vLLM that serves the embedded model with the seeded draw."""
    pytest.importorskip("vllm")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = f"--model {nano.source} --served-model-name nano --dtype float32 --enforce-eager --skip-tokenizer-init"
    options += f" --host 127.0.0.1 --port {port} --gpu-memory-utilization 0.2 --api-key {CANARY}"
    options += " --logits-processors ssb_core.engines.vllm_engine:SeededDraw"
    env = os.environ | {"PYTHONPATH": str(ROOT), "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *options.split()]
    log = tmp_path_factory.mktemp("vllm") / "log"
    with log.open("w") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        wait_until_healthy(process, f"http://127.0.0.1:{port}", log, 240)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.vllm
def test_a_real_vllm_makes_the_same_shards_as_the_local_engine(
    vllm: str, nano: models.ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels differ in the last bits of logits, so in rare cases a draw selects another token."""
    assert f"set {SERVER_KEY}" in refused(vllm)
    monkeypatch.setenv(SERVER_KEY, CANARY)
    local_store, server_store = Store(tmp_path / "here"), Store(tmp_path / "there")
    over_server = Execution(shard_size=8, engine="openai", server=ServerOptions(url=vllm, seeded_draw=True))
    rows: list[list[Any]] = []
    for store, execution in (
        (local_store, Execution(engine="transformers", shard_size=8)),
        (server_store, over_server),
    ):
        spec = rollouts_spec(nano, execution, 48)
        manifest = execute(spec, store, Runtime()).manifest
        rows.append([row for table in store.tables(manifest) for row in table.to_pylist()])
    same = [a == b for a, b in zip(*rows, strict=True)]
    assert len(same) == 96 and sum(same) >= 95


@pytest.mark.vllm
def test_a_real_vllm_answers_greedily_with_ids(
    vllm: str, nano: models.ResolvedModel, requests: list[SampleRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SERVER_KEY, CANARY)
    greedy, progress = Decoding(temperature=0, max_new_tokens=160), NotedProgress()
    with open_sampler(nano, Execution(engine="transformers")) as local:
        expected = sampled(local, requests, greedy)
    with connected(nano, vllm) as sampler:
        ((_, completions),) = sampler.sample([(0, requests)], greedy, progress)
    assert sum(a == b for a, b in zip(completions, expected, strict=True)) >= 23
    assert progress.notes == []
