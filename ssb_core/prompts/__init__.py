"""Prompts: the messages of tutor and hinted teacher, and their token ids."""

from __future__ import annotations

from .messages import TUTOR_SYSTEM, Messages, hinted_messages, tutor_messages
from .template import encode, fold_system, render, takes_system

__all__ = (
    "TUTOR_SYSTEM",
    "Messages",
    "encode",
    "fold_system",
    "hinted_messages",
    "render",
    "takes_system",
    "tutor_messages",
)
