"""What the model is shown, and how it becomes token ids.

There are two prompts. The **tutor** prompt carries the bare question: base, student and benchmarks
all see it. The **hinted-teacher** prompt carries the question, a correct rollout and the
majority-wrong rollout (paper, section 3.2); only the teacher sees it. Both go through the model's own
chat template, so a prompt seen in training is, token for token, the prompt seen at inference.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from . import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from ..config import Example

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


def tutor_messages(question: str, few_shot: Sequence[Example] = ()) -> Messages:
    """Chat turns for the bare question, after worked examples if there are any."""
    return _conversation(question, few_shot)


def hinted_messages(question: str, correct: str, wrong: str | None, few_shot: Sequence[Example] = ()) -> Messages:
    """Chat turns for the hinted teacher; without `wrong` it sees only the correct rollout."""
    parts = [_CORRECT, _WRONG, _REQUEST] if wrong is not None else [_CORRECT, _REQUEST]
    text = "".join(parts).format(question=question, correct=correct, wrong=wrong)
    return _conversation(text, few_shot)


def _conversation(text: str, few_shot: Sequence[Example]) -> Messages:
    """The tutor's instructions, the examples as turns that have been, and the user's turn."""
    turns = [("system", TUTOR_SYSTEM)]
    for example in few_shot:
        turns += [("user", example.question), ("assistant", example.solution)]
    return [{"role": role, "content": content} for role, content in (*turns, ("user", text))]


def encode(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> tuple[int, ...]:
    """Render `messages` with the tokenizer's chat template up to the assistant's turn.

    A template that refuses a system turn (Gemma's) or leaves it out gets its text in front of the first user turn.
    Which of the two happens depends on the template alone, never on the messages. Nothing that is said can be read as
    a special token (see `quoting`).

    Raises:
        ValueError: the tokenizer has no chat template, or one that does not show what the user says.
        jinja2.TemplateError: the template refuses the turns.
    """
    if not tokenizer.chat_template:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template; use an instruction-tuned model, "
            "put a chat_template.jinja beside its tokenizer, or set model.chat_template to a Jinja file"
        )
    if not _shows(tokenizer, [{"role": "user", "content": _PROBE}]):
        raise ValueError("the chat template does not show what the user says; set model.chat_template to another")
    turns = messages if takes_system(tokenizer) else fold_system(messages)
    probe = _turns(tokenizer)
    if escape.quotes(tokenizer, turns, probe):
        return escape.encode(tokenizer, turns, probe, lambda said: str(_apply(tokenizer, said, tokenize=False)))
    return tuple(_apply(tokenizer, turns, tokenize=True, return_dict=True)["input_ids"])


def _apply(tokenizer: PreTrainedTokenizerBase, messages: Messages, **options: Any) -> Any:
    """The chat template up to the assistant's turn."""
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, strftime_now=_some_day, **options)


def render(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> str:
    """`messages` as the chat template writes them, finished turns only."""
    return _render(tokenizer, messages)


def takes_system(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template shows a system turn, found out by rendering one."""
    from jinja2 import TemplateError

    try:
        return _shows(tokenizer, [{"role": "system", "content": _PROBE}, {"role": "user", "content": "?"}])
    except TemplateError:
        return False


def fold_system(messages: Messages) -> Messages:
    """The same turns with a leading system turn's text in front of the first user turn."""
    if not messages or messages[0]["role"] != "system":
        return messages
    system, *rest = messages
    if not rest or rest[0]["role"] != "user":
        return [{"role": "user", "content": system["content"]}, *rest]
    return [{"role": "user", "content": f"{system['content']}\n\n{rest[0]['content']}"}, *rest[1:]]


_PROBE = "SSBPROBE"


def _shows(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> bool:
    return _PROBE in render(tokenizer, messages)


def _turns(tokenizer: PreTrainedTokenizerBase) -> str:
    """Turns of all sides and the beginning of an answer as the template writes them, or as many as it takes."""
    from jinja2 import TemplateError

    system, user, assistant = ({"role": role, "content": _PROBE} for role in ("system", "user", "assistant"))
    for turns in ([system, user, assistant, user], [user, assistant, user]):
        try:
            return _render(tokenizer, turns, answers=True)
        except TemplateError:
            continue
    return _render(tokenizer, [user], answers=True)


def _render(tokenizer: PreTrainedTokenizerBase, messages: Messages, answers: bool = False) -> str:
    rendered = tokenizer.apply_chat_template(
        messages, tokenize=False, strftime_now=_some_day, add_generation_prompt=answers
    )
    return str(rendered)


def _some_day(form: str) -> str:
    """Stands in for today's date, which some templates (Llama 3) write into every prompt: rows must not depend on it.

    The day is the one that Llama 3's templates fall back to.
    """
    return date(2024, 7, 26).strftime(form)
