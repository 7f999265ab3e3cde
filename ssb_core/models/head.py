"""The output head: its weight and soft cap, which the exact loss needs, and the heads that the loss does not support.

Policy for padded vocabularies: the softmax covers every row of the head that the model computes, also rows without a
token (many checkpoints pad to a multiple of 64). The model's own softmax, from which rollouts are sampled, covers them
too; without them the distribution would be another. It makes no difference whether the head is tied to the embedding,
because both are frozen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ConfigError

if TYPE_CHECKING:
    import torch

# Settings by which families of transformers multiply or divide their logits (Granite, MiniCPM3 and HyperCLOVA X,
# Cohere, Falcon-H1, Muse), or cap them elsewhere than Gemma does (xLSTM, RecurrentGemma).
SCALES = (
    "logits_scaling",
    "logit_scale",
    "lm_head_multiplier",
    "output_multiplier",
    "output_logit_soft_cap",
    "logits_soft_cap",
)


def refuse_unsupported(config: Any) -> None:
    """Refuse a configuration that is not a text-only decoder, or whose head does more than multiply and cap.

    Raises:
        ConfigError: the model is refused; the message names the reason.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if config.get_text_config() is not config:
        raise ConfigError(
            f"model.source: {config.model_type} models read more than text (their text model is nested), which is not "
            "supported\n  remedy: choose the text-only checkpoint of the family"
        )
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ConfigError(f"model.source: {config.model_type} is not a causal language model\n  remedy: choose one")
    for name in SCALES:
        if getattr(config, name, None) not in (None, 1, 1.0):
            raise ConfigError(
                f"model.source: {config.model_type} models scale their logits ({name} is {getattr(config, name)}), "
                "which is not supported by the exact loss\n  remedy: choose a model of another family"
            )


def backbone(model: Any) -> torch.nn.Module:
    """The stack below the output head, which reads the stack's last hidden state after the final norm."""
    stack: torch.nn.Module = _base(model).base_model
    return stack


def head_weight(model: Any) -> torch.Tensor:
    """The output head's weight (V, H), tied or not. V counts every row that the model computes, with or without token.

    If the model is spread over several processes the weight is gathered, so all of them must call this at once.

    Raises:
        ConfigError: the head is missing, has a bias or scales its logits, which the exact loss does not support.
    """
    from torch.distributed.tensor import DTensor

    base = _base(model)
    head = base.get_output_embeddings()
    refuse_unsupported(base.config)
    if head is None or getattr(head, "bias", None) is not None:
        has = "no output head" if head is None else "an output head with a bias"
        raise ConfigError(f"model.source: {base.config.model_type} has {has}, which is not supported")
    weight: torch.Tensor = head.weight
    return weight.full_tensor() if isinstance(weight, DTensor) else weight


def soft_cap(model: Any) -> float | None:
    """The cap c of a model whose logits are ``c tanh(z / c)`` (Gemma 2), None for one without."""
    cap = getattr(_base(model).config, "final_logit_softcapping", None)
    return None if cap is None else float(cap)


def _base(model: Any) -> Any:
    """The model itself, without the adapter that may be wrapped around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
