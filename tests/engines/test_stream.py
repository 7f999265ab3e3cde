"""Streamed completions: base and student by turns from one model, token for token those of the other engines."""

from __future__ import annotations

from itertools import zip_longest

import pytest

from ssb_core import models, prompts
from ssb_core.config import Decoding
from ssb_core.config.execution import Execution
from ssb_core.engines import SampleRequest, open_sampler
from ssb_core.engines.stream import StreamSampler
from ssb_core.records import TOO_LONG, Completion
from ssb_core.results.student import find_adapter
from ssb_core.runs import Run
from tests.support.sampling import sampled

MESSAGES = prompts.tutor_messages("Ann has 3 apples and buys 4 more. How many apples does she have?")
SAMPLED = Decoding(temperature=0.8, max_new_tokens=60)


@pytest.fixture(scope="module")
def streams(quick_run: Run, nano: models.ResolvedModel) -> StreamSampler:
    return StreamSampler(nano, Execution(device="cpu"), find_adapter(quick_run).weights.parent)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_base_and_student_by_turns_give_the_completions_of_the_engine(
    temperature: float, streams: StreamSampler, quick_run: Run, nano: models.ResolvedModel
) -> None:
    decoding = SAMPLED.model_copy(update={"temperature": temperature})
    both = (streams.stream(MESSAGES, decoding, 7, adapted) for adapted in (False, True))
    turns = list(zip_longest(*both))
    for i, adapter in enumerate((None, find_adapter(quick_run).weights.parent)):
        with open_sampler(nano, Execution(device="cpu", engine="transformers"), adapter) as sampler:
            (expected,) = sampled(sampler, [SampleRequest(sampler.encode(MESSAGES), 7)], decoding)
        assert [part for turn in turns if isinstance(part := turn[i], Completion)] == [expected]


def test_the_pieces_are_the_text_and_come_as_words(streams: StreamSampler) -> None:
    *pieces, completion = streams.stream(MESSAGES, SAMPLED, 1, adapted=True)
    assert isinstance(completion, Completion) and "".join(map(str, pieces)) == completion.text
    assert len([p for p in pieces if p]) > 5


def test_an_answer_ends_at_the_token_cap_and_where_the_context_is_full(streams: StreamSampler) -> None:
    *_, cut = streams.stream(MESSAGES, Decoding(temperature=0, max_new_tokens=3), 0, adapted=False)
    assert isinstance(cut, Completion) and (len(cut.completion_ids), cut.finish_reason) == (3, "length")
    long = prompts.tutor_messages("x " * 5000)
    assert list(streams.stream(long, SAMPLED, 0, adapted=False)) == [TOO_LONG]
