"""What the model is shown, and how it becomes token ids.

There are two prompts. The **tutor** prompt carries the bare question: base, student and benchmarks
all see it. The **hinted-teacher** prompt carries the question, a correct rollout and the
majority-wrong rollout (paper, section 3.2); only the teacher sees it. Both go through the model's own
chat template, so a prompt seen in training is, token for token, the prompt seen at inference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = list[dict[str, str]]

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


def tutor_messages(question: str) -> Messages:
    """Chat turns for the bare question."""
    return [{"role": "system", "content": TUTOR_SYSTEM}, {"role": "user", "content": question}]


def hinted_messages(question: str, correct: str, wrong: str | None) -> Messages:
    """Chat turns for the hinted teacher; without `wrong` it sees only the correct rollout."""
    parts = [_CORRECT, _WRONG, _REQUEST] if wrong is not None else [_CORRECT, _REQUEST]
    text = "".join(parts).format(question=question, correct=correct, wrong=wrong)
    return [{"role": "system", "content": TUTOR_SYSTEM}, {"role": "user", "content": text}]


def encode(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> tuple[int, ...]:
    """Render `messages` with the tokenizer's chat template up to the assistant's turn.

    Raises:
        ValueError: the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template; "
            "use an instruction-tuned model, or put a chat_template.jinja beside its tokenizer"
        )
    encoded: Any = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
    return tuple(encoded["input_ids"])
