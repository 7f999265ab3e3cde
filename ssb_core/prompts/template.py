"""Turn messages into token ids with the tokenizer's own chat template.

Training and inference use the same function, so a prompt in training is, token for token, the prompt at inference.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from . import escape

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from .messages import Messages

_PROBE = "SSBPROBE"


def encode(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> tuple[int, ...]:
    """The token ids of `messages`, rendered by the chat template up to the start of the assistant's turn.

    If the template refuses a system turn (Gemma's) or omits it, the system text goes in front of the first user turn.
    The template alone decides this, never the messages. No text in a message is read as a special token (see
    `escape`).

    Raises:
        ValueError: the tokenizer has no chat template, or one that does not render the user's turn.
        ConfigError: a message contains the text of a special token, and the tokenizer cannot escape it.
        jinja2.TemplateError: the template refuses the turns.
    """
    if not tokenizer.chat_template:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template; use an instruction-tuned model, "
            "put a chat_template.jinja beside its tokenizer, or set model.chat_template to a Jinja file"
        )
    if not _renders_probe(tokenizer, [{"role": "user", "content": _PROBE}]):
        raise ValueError("the chat template does not render the user's turn; set model.chat_template to another")
    turns = messages if takes_system(tokenizer) else fold_system(messages)
    probe = _render_probe(tokenizer)
    if escape.contains_special_token(tokenizer, turns, probe):
        return escape.encode(tokenizer, turns, probe, lambda m: str(_apply(tokenizer, m, tokenize=False)))
    return tuple(_apply(tokenizer, turns, tokenize=True, return_dict=True)["input_ids"])


def render(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> str:
    """The text of `messages` in the chat template. All turns are finished, and no assistant's turn is started."""
    return str(_apply(tokenizer, messages, tokenize=False, add_generation_prompt=False))


def takes_system(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template renders a system turn. The answer comes from rendering one."""
    from jinja2 import TemplateError

    try:
        return _renders_probe(tokenizer, [{"role": "system", "content": _PROBE}, {"role": "user", "content": "?"}])
    except TemplateError:
        return False


def fold_system(messages: Messages) -> Messages:
    """The same messages, with the text of a leading system turn moved to the start of the first user turn."""
    if not messages or messages[0]["role"] != "system":
        return messages
    system, *rest = messages
    if not rest or rest[0]["role"] != "user":
        return [{"role": "user", "content": system["content"]}, *rest]
    return [{"role": "user", "content": f"{system['content']}\n\n{rest[0]['content']}"}, *rest[1:]]


def _renders_probe(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> bool:
    return _PROBE in render(tokenizer, messages)


def _render_probe(tokenizer: PreTrainedTokenizerBase) -> str:
    """A rendered conversation with turns of all roles, or of as many as the template takes, and an answer's start."""
    from jinja2 import TemplateError

    system, user, assistant = ({"role": role, "content": _PROBE} for role in ("system", "user", "assistant"))
    for turns in ([system, user, assistant, user], [user, assistant, user]):
        try:
            return str(_apply(tokenizer, turns, tokenize=False))
        except TemplateError:
            continue
    return str(_apply(tokenizer, [user], tokenize=False))


def _apply(
    tokenizer: PreTrainedTokenizerBase, messages: Messages, add_generation_prompt: bool = True, **options: Any
) -> Any:
    return tokenizer.apply_chat_template(
        messages, add_generation_prompt=add_generation_prompt, strftime_now=_fixed_date, **options
    )


def _fixed_date(form: str) -> str:
    """Replace today's date, which some templates (Llama 3) write into every prompt: results must not depend on it.

    The day is the one that Llama 3's templates fall back to.
    """
    return date(2024, 7, 26).strftime(form)
