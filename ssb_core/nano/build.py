"""Train the embedded model from scratch: ``python -m ssb_core.nano.build [--out DIR]``.

The model learns from solutions to bare questions, about half of which contain a slip that is carried forward, and from
solutions to hinted prompts, which never contain one. So it has a latent ability that its bare answers do not show, and
that Semantic Soft Bootstrapping can elicit. Hidden matrices are trained with Muon, everything else with AdamW. The loss
is on all tokens, so that the model also learns from the prompts to copy from the hint.

Beside the weights the script writes ``build.json``: settings, data version, loss log, measured accuracies and the hash.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import prompts
from ..problems import nano

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase, Qwen2ForCausalLM

log = logging.getLogger(__name__)

END, PAD = "<|im_end|>", "<|endoftext|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that decides the weights. `peak_*` are learning rates, which are reached after `warmup` steps."""

    seed: int = 7
    threads: int = 1  # sums depend on the number of threads, so it must not depend on the machine
    vocabulary: int = 570
    hidden: int = 128
    layers: int = 4
    steps: int = 2000
    tokens_per_step: int = 6144
    warmup: int = 100
    peak_muon: float = 0.02
    peak_adamw: float = 3e-3
    slip_rate: float = 0.55
    hinted_rate: float = 0.5
    no_wrong_rate: float = 0.15


@dataclass(frozen=True, slots=True)
class Document:
    """One training conversation: chat turns and the assistant's reply."""

    messages: prompts.Messages
    reply: str


def documents(settings: Settings) -> Iterator[Document]:
    """An endless, seeded stream of bare and hinted conversations over the pre-training split."""
    rng = random.Random(settings.seed)
    chains = nano.stream("pretrain", settings.seed, (1, 2, 2, 3, 3, 3, 4, 5))
    for chain in chains:
        careful = nano.solution(chain)
        if rng.random() >= settings.hinted_rate:
            slips = rng.random() < settings.slip_rate
            reply = nano.solution(chain, rng) if slips else careful
            yield Document(prompts.tutor_messages(chain.question), reply)
        else:
            wrong = None if rng.random() < settings.no_wrong_rate else nano.solution(chain, rng)
            yield Document(prompts.hinted_messages(chain.question, careful, wrong), careful)


def build_tokenizer(settings: Settings) -> PreTrainedTokenizerBase:
    """Train a byte-level BPE on the documents, with single digits and the special tokens of ChatML."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary,
        special_tokens=[PAD, "<|im_start|>", END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (
        "\n".join([*(f"{m['role']}\n{m['content']}" for m in d.messages), "assistant", d.reply])
        for d in islice(documents(settings), 20_000)
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )


def build_model(settings: Settings, tokenizer: PreTrainedTokenizerBase) -> Qwen2ForCausalLM:
    """A freshly initialised Qwen2 with under a million parameters and a tied head."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(settings.seed)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=settings.hidden,
            intermediate_size=3 * settings.hidden,
            num_hidden_layers=settings.layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def batches(settings: Settings, tokenizer: PreTrainedTokenizerBase) -> Iterator[torch.Tensor]:
    """Right-padded int64 batches (B, S) of at most `tokens_per_step` tokens, from documents of similar length."""
    import torch

    rng = random.Random(settings.seed)
    stream = documents(settings)
    while True:
        pool = []
        for d in islice(stream, 1024):
            prompt = str(tokenizer.apply_chat_template(d.messages, add_generation_prompt=True, tokenize=False))
            pool.append(tokenizer.encode(prompt + d.reply + END, add_special_tokens=False))
        pool.sort(key=len)
        ready: list[list[list[int]]] = []
        batch: list[list[int]] = []
        for ids in pool:
            if batch and (len(batch) + 1) * len(ids) > settings.tokens_per_step:
                ready.append(batch)
                batch = []
            batch.append(ids)
        rng.shuffle(ready)
        for batch in ready:
            width = max(map(len, batch))
            yield torch.tensor([ids + [tokenizer.pad_token_id] * (width - len(ids)) for ids in batch])


def optimizers(settings: Settings, model: Qwen2ForCausalLM) -> list[torch.optim.lr_scheduler.LRScheduler]:
    """Schedules of Muon for the hidden matrices and AdamW for the rest. Both warm up, then decay linearly to zero."""
    import torch

    hidden = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    ids = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in ids]

    def schedule(step: int) -> float:
        return min((step + 1) / settings.warmup, 1 - step / settings.steps)

    both = [
        torch.optim.Muon(hidden, lr=settings.peak_muon, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=settings.peak_adamw, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    return [torch.optim.lr_scheduler.LambdaLR(o, schedule) for o in both]


def train(settings: Settings, tokenizer: PreTrainedTokenizerBase) -> tuple[Qwen2ForCausalLM, list[dict[str, Any]]]:
    """Train to the end, and return the model with its loss log, one row for every 100 steps."""
    import torch

    torch.set_num_threads(settings.threads)
    model = build_model(settings, tokenizer).train()
    schedules = optimizers(settings, model)
    rows: list[dict[str, Any]] = []
    started = time.monotonic()
    for step, ids in enumerate(islice(batches(settings, tokenizer), settings.steps)):
        labels = ids.masked_fill(ids == tokenizer.pad_token_id, -100)
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for s in schedules:
            s.optimizer.step()
            s.optimizer.zero_grad()
            s.step()
        if step % 100 == 0 or step + 1 == settings.steps:
            rows.append({"step": step, "loss": round(loss.item(), 4), "seconds": round(time.monotonic() - started)})
            log.info("step %(step)5d  loss %(loss).4f  %(seconds)5d s", rows[-1])
    return model.eval(), rows


def write(out: Path, settings: Settings, model: Qwen2ForCausalLM, tokenizer: Any, rows: list[dict[str, Any]]) -> None:
    """Save model and tokenizer in `out`, measure the model's accuracy, and write build.json."""
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    record = {
        "settings": asdict(settings),
        "data_version": nano.DATA_VERSION,
        "parameters": model.num_parameters(),
        "sha256": hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest(),
        "accuracy": measure(out),
        "log": rows,
    }
    (out / "build.json").write_text(json.dumps(record, indent=1) + "\n")


def measure(directory: Path, n: int = 300) -> dict[str, float]:
    """Accuracy on `n` held-out problems: bare at temperature 0.8, bare and greedy, and hinted at temperature 0.4."""
    from ..config import Decoding, ModelConfig
    from ..config.execution import Execution
    from ..engines import SampleRequest, open_sampler, seed_for
    from ..models import resolve
    from ..progress import Progress
    from ..verify.extract import final_answer

    chains = list(islice(nano.stream("test", 0), n))
    rng = random.Random(0)
    bare = [prompts.tutor_messages(c.question) for c in chains]
    hinted = [prompts.hinted_messages(c.question, nano.solution(c), nano.solution(c, rng)) for c in chains]
    accuracies = {}
    with open_sampler(resolve(ModelConfig(source=str(directory), dtype="float32"), directory), Execution()) as sampler:
        for name, prompt, temperature in (("bare", bare, 0.8), ("bare_greedy", bare, 0.0), ("hinted", hinted, 0.4)):
            requests = [SampleRequest(sampler.encode(m), seed_for("build", 0, name, i)) for i, m in enumerate(prompt)]
            decoding = Decoding(temperature=temperature, max_new_tokens=160)
            ((_, completions),) = sampler.sample([(name, requests)], decoding, Progress())
            correct = [
                final_answer(completion.text) == final_answer(nano.solution(chain))
                for completion, chain in zip(completions, chains, strict=True)
            ]
            accuracies[name] = round(sum(correct) / n, 4)
            log.info("%-12s %.1f%% correct", name, 100 * accuracies[name])
    return accuracies


def main() -> None:
    """Build the model in the package's own folder, or in --out."""
    from ..models import NANO

    parser = argparse.ArgumentParser(prog="python -m ssb_core.nano.build", description=__doc__)
    parser.add_argument("--out", type=Path, default=NANO, help="the directory to write (default: the package's own)")
    parser.add_argument("--steps", type=int, default=Settings().steps, help="training steps (default: %(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = Settings(steps=arguments.steps)
    tokenizer = build_tokenizer(settings)
    model, rows = train(settings, tokenizer)
    write(arguments.out, settings, model, tokenizer, rows)


if __name__ == "__main__":
    main()
