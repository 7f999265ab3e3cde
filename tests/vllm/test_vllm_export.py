"""The vLLM code of the cards, run as files by fresh processes: run with ``make test-vllm``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssb_core import models, problems, prompts
from ssb_core.config import Decoding, ProblemsConfig
from ssb_core.config.execution import Execution
from ssb_core.engines import SampleRequest, open_sampler
from ssb_core.export import Kind, cards, export
from ssb_core.results.student import find_adapter
from ssb_core.runs import Run
from tests.support.cards import card, code
from tests.support.sampling import sampled

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]
GREEDY = Decoding(temperature=0, max_new_tokens=240)

MORE = """
    import json, sys

    chats = json.load(open(sys.argv[1]))
    sampling.temperature = 0
    served = {"lora_request": student} if "student" in globals() else {}
    answers = [a.outputs[0].text for a in llm.chat(chats, sampling, **served)]
    json.dump([answer.outputs[0].text, *answers], open(sys.argv[1], "w"))
"""


@pytest.fixture(scope="module")
def chats() -> list[prompts.Messages]:
    problem_set = problems.load_problems(ProblemsConfig(source="nano-test", limit=200))
    return [prompts.tutor_messages(p.question) for p in problem_set]


@pytest.fixture(scope="module")
def ours(nano: models.ResolvedModel, quick_run: Run, chats: list[prompts.Messages]) -> list[str]:
    """Greedy answers of the run's student through transformers."""
    execution = Execution(engine="transformers", device="cpu")
    with open_sampler(nano, execution, find_adapter(quick_run).weights.parent) as sampler:
        requests = [SampleRequest(sampler.encode(turns), 0) for turns in chats]
        return [c.text for c in sampled(sampler, requests, GREEDY)]


@pytest.mark.parametrize("kind", ["adapter", "merged"])
def test_the_cards_code_is_a_script_that_answers_as_the_student_does(
    kind: Kind, quick_run: Run, chats: list[prompts.Messages], ours: list[str], tmp_path: Path
) -> None:
    export(quick_run, {kind: tmp_path / kind})
    (tmp_path / "card.py").write_text(code(card(tmp_path / kind)[1])[1] + MORE)
    (tmp_path / "chats.json").write_text(json.dumps(chats))
    env = os.environ | {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    command = [sys.executable, str(tmp_path / "card.py"), str(tmp_path / "chats.json")]
    done = subprocess.run(command, cwd=tmp_path / kind, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-5000:]
    first, *answers = json.loads((tmp_path / "chats.json").read_text())
    assert "\\boxed{" in first and first in done.stdout
    assert sum(a == b for a, b in zip(answers, ours, strict=True)) >= 0.99 * len(ours)


def test_ranks_are_those_of_vllm() -> None:
    from ssb_core.engines.vllm_engine import LORA_RANKS

    assert cards.VLLM_RANKS == LORA_RANKS
