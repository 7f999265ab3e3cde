"""The messages of both prompts.

The **tutor** prompt has the bare question. The base model, the student and the benchmarks use it. The
**hinted-teacher** prompt has the question, a correct rollout and the majority-wrong rollout (paper, section 3.2). Only
the teacher gets it. `template` turns both into token ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..config import Example

Messages = list[dict[str, str]]
"""A conversation: turns with the keys `role` (``system``, ``user`` or ``assistant``) and `content`."""

TUTOR_SYSTEM = "You are a careful math tutor. Solve the problem step by step and put the final answer in \\boxed{}."

_CORRECT = """{question}

Here is a correct solution:
{correct}
"""

_WRONG = """
Here is a wrong solution with a common mistake:
{wrong}
"""

_REQUEST = """
Now write one complete and robust solution for a reader who sees only the problem. Explain every step, \
avoid the mistake, and never mention the solutions above. Put the final answer in \\boxed{{}}."""


def tutor_messages(question: str, few_shot: Sequence[Example] = ()) -> Messages:
    """The conversation for a bare question. Worked examples, if there are any, come before it."""
    return _conversation(question, few_shot)


def hinted_messages(question: str, correct: str, wrong: str | None, few_shot: Sequence[Example] = ()) -> Messages:
    """The conversation for the hinted teacher. If `wrong` is None, it has only the correct rollout."""
    parts = [_CORRECT, _WRONG, _REQUEST] if wrong is not None else [_CORRECT, _REQUEST]
    text = "".join(parts).format(question=question, correct=correct, wrong=wrong)
    return _conversation(text, few_shot)


def _conversation(text: str, few_shot: Sequence[Example]) -> Messages:
    """The tutor's instructions, the examples as earlier turns, and the user's turn."""
    turns = [("system", TUTOR_SYSTEM)]
    for example in few_shot:
        turns += [("user", example.question), ("assistant", example.solution)]
    return [{"role": role, "content": content} for role, content in (*turns, ("user", text))]
