"""ssb_core.prompts."""

from .messages import (
    TUTOR_SYSTEM,
    Messages,
    encode,
    escape,
    fold_system,
    hinted_messages,
    render,
    takes_system,
    tutor_messages,
)

__all__ = (
    "TUTOR_SYSTEM",
    "Messages",
    "encode",
    "escape",
    "fold_system",
    "hinted_messages",
    "render",
    "takes_system",
    "tutor_messages",
)
