"""Tiny random models on disk: byte tokenizers with the special tokens and the chat template of a model family."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssb_core.models import ResolvedModel

CHATML = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

LLAMA3 = """{{ bos_token }}{% set date_string = date_string or strftime_now("%d %b %Y") %}\
{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>

{% if m.role == 'system' %}Today Date: {{ date_string }}
{% endif %}{{ m.content | trim }}<|eot_id|>{% endfor %}\
{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif %}"""

GEMMA = """{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}\
{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}
{{ m.content | trim }}<end_of_turn>
{% endfor %}{% if add_generation_prompt %}<start_of_turn>model
{% endif %}"""

# Leaves out a system message without an error, as Phi-3's first template does.
PHI = """{% for m in messages %}{% if m.role == 'user' %}<|user|>
{{ m.content }}<|end|>
{% elif m.role == 'assistant' %}<|assistant|>
{{ m.content }}<|end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% else %}{{ eos_token }}{% endif %}"""

OPEN = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


@dataclass(frozen=True)
class Family:
    """The parts of a checkpoint that say how messages begin and end.

    `declared` are the end-of-sequence tokens of its generation settings; None means that it has no such file.
    """

    template: str | None
    specials: tuple[str, ...]
    eos: str | None = None
    bos: str | None = None
    declared: tuple[str, ...] | None = None


def tokenizer(family: Family) -> Any:
    """A tokenizer with one token for each byte, and the family's special tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens([AddedToken(s, special=True) for s in family.specials])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=family.eos, bos_token=family.bos, chat_template=family.template
    )


def save(directory: Path, family: Family, config: Any = None) -> ResolvedModel:
    """Save the family's tokenizer with a model of `config` and random weights, or with a configuration only."""
    from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, set_seed

    saved = tokenizer(family)
    saved.save_pretrained(directory)
    ids = saved.convert_tokens_to_ids(list(family.declared or ()))
    if config is None:
        LlamaConfig(vocab_size=len(saved), eos_token_id=None, bos_token_id=None).save_pretrained(directory)
    else:
        set_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(directory)
        (directory / "generation_config.json").unlink(missing_ok=True)
    if family.declared is not None:
        GenerationConfig(eos_token_id=ids).save_pretrained(directory)
    return ResolvedModel(source=str(directory), revision=None, identity="tiny", dtype="float32")


def sizes(**changes: Any) -> dict[str, Any]:
    """Keyword arguments of a transformers configuration that gives a model of about ten thousand weights."""
    return {
        "vocab_size": 272,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 512,
        "eos_token_id": None,
        "bos_token_id": None,
        "pad_token_id": None,
        **changes,
    }


def write_gguf(
    path: Path,
    seed: int = 0,
    template: str | None = CHATML,
    layers: int = 2,
    scaling: str | None = None,
    extra: str | None = None,
) -> Path:
    """Write a small Llama with Q4_1 weights, byte tokens and ChatML as a GGUF file; `extra` names one more tensor."""
    import gguf
    import numpy as np
    from tokenizers.pre_tokenizers import ByteLevel

    draw = np.random.default_rng(seed)
    hidden, inner = 64, 128
    tokens = ["<|im_start|>", "<|im_end|>", *sorted(ByteLevel.alphabet()), "ab"]
    out = gguf.GGUFWriter(path, "llama")
    out.add_context_length(2048)
    out.add_embedding_length(hidden)
    out.add_block_count(2)
    out.add_feed_forward_length(inner)
    out.add_head_count(2)
    out.add_head_count_kv(1)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(32)
    out.add_vocab_size(len(tokens))
    out.add_tokenizer_model("gpt2")
    out.add_token_list(tokens)
    out.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    out.add_token_merges(["a b"])
    out.add_bos_token_id(0)
    out.add_eos_token_id(1)
    if template is not None:
        out.add_chat_template(template)
    if scaling is not None:
        out.add_string("llama.rope.scaling.type", scaling)
    if extra is not None:
        out.add_tensor(extra, np.ones(hidden, np.float32))

    def add(name: str, *shape: int) -> None:
        kind = gguf.GGMLQuantizationType.Q4_1
        values = draw.normal(0, 0.3, shape).astype(np.float32)
        out.add_tensor(f"{name}.weight", gguf.quantize(values, kind), raw_dtype=kind)

    add("token_embd", len(tokens), hidden)
    for n in range(layers):
        for name, rows, columns in (
            ("attn_q", hidden, hidden),
            ("attn_k", hidden // 2, hidden),
            ("attn_v", hidden // 2, hidden),
            ("attn_output", hidden, hidden),
            ("ffn_gate", inner, hidden),
            ("ffn_up", inner, hidden),
            ("ffn_down", hidden, inner),
        ):
            add(f"blk.{n}.{name}", rows, columns)
        for name in ("attn_norm", "ffn_norm"):
            out.add_tensor(f"blk.{n}.{name}.weight", np.ones(hidden, np.float32))
    out.add_tensor("output_norm.weight", np.ones(hidden, np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path
