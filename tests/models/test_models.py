"""Base models: turns of every family, templates, heads, and what is refused before any work."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections import UserList
from pathlib import Path
from typing import Any

import pytest
import torch

from ssb_core import models, prompts
from ssb_core.config import DistillConfig, ModelConfig, Objective
from ssb_core.errors import ConfigError, StoreError
from ssb_core.models.head import refuse_unsupported
from ssb_core.progress import Progress
from ssb_core.records import TeacherTrace, Verdict
from ssb_core.signal.capture import capture, certify
from ssb_core.signal.losses import divergence
from ssb_core.signal.teachers import HiddenStates
from tests.support.tiny import CHATML, GEMMA, LLAMA3, OPEN, PHI, Family, save, sizes, tokenizer

ASKED = prompts.tutor_messages("What is 2 + 3?")
WANTED = {"rollouts.max_new_tokens": (ASKED, 64)}

QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
META = ("<|begin_of_text|>", "<|end_of_text|>", "<|eom_id|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>")
GOOGLE = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
MICROSOFT = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>")

QWEN25 = Family(CHATML, QWEN, "<|im_end|>", declared=("<|im_end|>", "<|endoftext|>"))
LLAMA = Family(LLAMA3, META, "<|eot_id|>", "<|begin_of_text|>", ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"))
GEMMA2 = Family(GEMMA, GOOGLE, "<eos>", "<bos>", ("<eos>", "<end_of_turn>"))
PHI3 = Family(PHI, MICROSOFT, "<|endoftext|>", declared=("<|endoftext|>", "<|assistant|>", "<|end|>"))


@pytest.mark.parametrize(
    ("family", "ends"),
    [
        (QWEN25, {"<|im_end|>", "<|endoftext|>"}),
        (Family(CHATML, QWEN, "<|endoftext|>", declared=("<|endoftext|>",)), {"<|im_end|>", "<|endoftext|>"}),
        (LLAMA, {"<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"}),
        (Family(LLAMA3, META, "<|end_of_text|>", declared=("<|end_of_text|>",)), {"<|eot_id|>", "<|end_of_text|>"}),
        (GEMMA2, {"<eos>", "<end_of_turn>"}),
        (Family(GEMMA, GOOGLE, "<eos>", "<bos>", ("<eos>",)), {"<eos>", "<end_of_turn>"}),
        (Family(CHATML, QWEN, "<|im_end|>"), {"<|im_end|>"}),  # SmolLM2
        (PHI3, {"<|end|>", "<|endoftext|>", "<|assistant|>"}),
        (Family(PHI, MICROSOFT, "<|endoftext|>"), {"<|end|>", "<|endoftext|>"}),
        (Family(OPEN, QWEN, "<|endoftext|>"), {"<|endoftext|>"}),
        (Family(OPEN, QWEN, declared=("<|im_end|>",)), {"<|im_end|>"}),
        (Family(None, QWEN, "<|endoftext|>"), {"<|endoftext|>"}),
    ],
)
def test_turns_end_where_settings_tokenizer_or_template_say_so(family: Family, ends: set[str], tmp_path: Path) -> None:
    model = save(tmp_path, family)
    loaded: Any = models.load_tokenizer(model)
    assert set(loaded.convert_ids_to_tokens(models.end_of_turn(model))) == ends
    assert models.end_of_turn(model, loaded) == models.end_of_turn(model)
    assert loaded.pad_token_id is not None
    padded = loaded.pad({"input_ids": [[5], [6, 7]]})
    assert padded["attention_mask"] == [[0, 1], [1, 1]]


def test_a_model_whose_turns_never_end_is_refused(tmp_path: Path) -> None:
    model = save(tmp_path, Family(OPEN, QWEN))
    with pytest.raises(ConfigError, match=r"names no token that ends a turn\n  remedy: set eos_token_id"):
        models.check(model, "cpu", WANTED)


def shown(family: Family, messages: prompts.Messages = ASKED) -> str:
    made = tokenizer(family)
    return str(made.decode(prompts.encode(made, messages)))


def test_system_turns_stay_where_the_template_shows_them() -> None:
    assert shown(QWEN25) == (
        f"<|im_start|>system\n{prompts.TUTOR_SYSTEM}<|im_end|>\n"
        "<|im_start|>user\nWhat is 2 + 3?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert prompts.takes_system(tokenizer(LLAMA)) and shown(LLAMA).count(prompts.TUTOR_SYSTEM) == 1


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        (GEMMA2, "<bos><start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n"),
        (PHI3, "<|user|>\n{}<|end|>\n<|assistant|>\n"),
    ],
)
def test_system_turns_are_folded_where_the_template_refuses_or_drops_them(family: Family, expected: str) -> None:
    assert not prompts.takes_system(tokenizer(family))
    assert shown(family) == expected.format(f"{prompts.TUTOR_SYSTEM}\n\nWhat is 2 + 3?")
    assert shown(family, ASKED[1:]) == expected.format("What is 2 + 3?")


def test_folding_keeps_later_turns_and_touches_no_argument() -> None:
    said = [{"role": "assistant", "content": "5"}, {"role": "user", "content": "And 3 + 4?"}]
    before = [dict(m) for m in ASKED]
    assert prompts.fold_system([*ASKED, *said])[1:] == said
    assert prompts.fold_system([ASKED[0], said[0]]) == [{"role": "user", "content": prompts.TUTOR_SYSTEM}, said[0]]
    assert prompts.fold_system(said) == said and before == ASKED


def test_prompts_do_not_depend_on_the_day() -> None:
    assert "Today Date: 26 Jul 2024" in shown(LLAMA)


def test_a_given_template_replaces_the_models_own_and_is_part_of_its_recipe(
    nano: models.ResolvedModel, tmp_path: Path
) -> None:
    def resolved(name: str, text: str) -> models.ResolvedModel:
        (tmp_path / name).write_text(text)
        return models.resolve(
            ModelConfig(source="nano", dtype="float32", chat_template=str(tmp_path / name)), Path("store")
        )

    first, renamed, other = resolved("a.jinja", CHATML), resolved("b.jinja", CHATML), resolved("a.jinja", OPEN)
    assert first.recipe == renamed.recipe and first.recipe["identity"] == nano.identity
    assert first.recipe != other.recipe and "chat_template" not in nano.recipe
    assert models.load_tokenizer(first).chat_template == CHATML
    assert models.ResolvedModel.model_validate_json(first.model_dump_json()) == first


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "model.chat_template: cannot read"),
        (" \n", "is empty"),
        ("{% for m in messages %}", "with model.chat_template cannot be used"),
        ("{{ raise_exception('never') }}", "with model.chat_template cannot be used: never"),
        ("Hello!", "the chat template does not render the user's turn"),
    ],
)
def test_an_unusable_template_is_refused(text: str | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        config = ModelConfig(source="nano", dtype="float32", chat_template=str(file))
        models.check(models.resolve(config, Path("store")), "cpu", WANTED)
    assert said in str(refused.value)


def test_a_changed_directory_is_another_model(nano: models.ResolvedModel, tmp_path: Path) -> None:
    shutil.copytree(nano.source, tmp_path / "model")
    config = ModelConfig(source=str(tmp_path / "model"), dtype="float32")
    assert models.resolve(config, tmp_path).identity == nano.identity
    (tmp_path / "model" / "chat_template.jinja").write_text(CHATML)
    assert models.resolve(config, tmp_path).identity != nano.identity


def llama(**changes: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(**sizes(**changes))


def gemma(**changes: Any) -> Any:
    from transformers import Gemma2Config

    return Gemma2Config(**sizes(query_pre_attn_scalar=8, **changes))


def test_missing_weights_are_refused_and_not_drawn(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = save(tmp_path, QWEN25, llama())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks 1 of its weights, e\.g\. model\.layers\.1\.mlp\.up_proj\.weight"):
        models.load_model(model, "cpu")


def test_weights_of_other_shapes_are_refused_and_not_drawn(tmp_path: Path) -> None:
    model = save(tmp_path, QWEN25, llama())
    llama(intermediate_size=48).save_pretrained(tmp_path)
    with pytest.raises(ConfigError) as refused:
        models.load_model(model, "cpu")
    assert "has 6 weights of other shapes than its configuration says" in str(refused.value)
    assert "layers.0.mlp.down_proj.weight: [16, 32] instead of [16, 48]\n  remedy: " in str(refused.value)


def brings_code(directory: Path) -> models.ResolvedModel:
    """A model whose configuration, tokenizer and weights are for classes of its own, in a file that leaves a mark."""
    classes = "Config = Model = Tokenizer = None"
    (directory / "mine.py").write_text(f"open({str(directory / 'marker')!r}, 'w')\n{classes}\n")
    config = {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}
    (directory / "config.json").write_text(json.dumps({"model_type": "mine", "auto_map": config}))
    tokens = {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["mine.Tokenizer", None]}}
    (directory / "tokenizer_config.json").write_text(json.dumps(tokens))
    (directory / "model.safetensors").touch()
    return models.ResolvedModel(source=str(directory), revision=None, identity="mine", dtype="float32")


@pytest.mark.parametrize(
    "use",
    [
        models.load_config,
        models.load_tokenizer,
        lambda model: models.load_model(model, "cpu"),
        lambda model: models.check(model, "cpu", WANTED),
        lambda model: models.empty(foreign(model.source)),
    ],
    ids=["config", "tokenizer", "model", "check", "empty"],
)
def test_code_that_a_model_brings_along_is_not_run_whatever_is_said_on_the_terminal(
    use: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda asked: "y")
    with pytest.raises(ConfigError, match=r"brings code of its own.*are not run\n  remedy: choose a model"):
        use(brings_code(tmp_path))
    assert not (tmp_path / "marker").exists()


def foreign(directory: str) -> Any:
    from transformers import T5Config

    settings: Any = {"name_or_path": directory, "auto_map": {"AutoModelForCausalLM": "mine.Model"}}
    return T5Config(**settings)


def test_everything_is_loaded_through_the_function_that_runs_no_code() -> None:
    code = [p.read_text() for p in Path(models.__file__).parents[1].rglob("*.py")]
    assert not [found for text in code for found in re.findall(r"Auto\w+\.from_\w+\(.*", text)]


def test_weights_other_than_safetensors_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(ConfigError, match=r"no \.safetensors weights"):
        models.resolve(ModelConfig(source=str(tmp_path)), tmp_path)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    model = save(tmp_path, QWEN25, llama(vocab_size=256))
    with pytest.raises(ConfigError, match=r"its tokenizer writes token \d+, its vocabulary ends before 256"):
        models.check(model, "cpu", WANTED)


def test_the_context_is_the_configurations(tmp_path: Path) -> None:
    from transformers import MambaConfig, MptConfig

    model = save(tmp_path, QWEN25)
    for config, length in ((llama(), 512), (MptConfig(max_seq_len=77), 77)):
        config.save_pretrained(tmp_path)
        assert models.context_length(model) == length
    MambaConfig().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"does not say how long its context is\n  remedy: add max_position"):
        models.context_length(model)


def refusal(config: Any) -> str:
    """What is said of a configuration that is not supported; nothing of one that is."""
    try:
        refuse_unsupported(config)
    except ConfigError as e:
        return str(e)
    return ""


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("GraniteConfig", {"logits_scaling": 8.0}, "logits_scaling is 8.0"),
        ("CohereConfig", {}, "logit_scale is 0.0625"),
        ("FalconH1Config", {"lm_head_multiplier": 0.5}, "lm_head_multiplier is 0.5"),
        ("MiniCPM3Config", {}, "logits_scaling is"),
        ("RecurrentGemmaConfig", {}, "logits_soft_cap is 30.0"),
        ("Gemma3Config", {}, "read more than text"),
        ("T5Config", {}, "no causal language model"),
    ],
)
def test_heads_and_models_that_are_not_supported_are_refused_by_name(
    name: str, values: dict[str, Any], said: str
) -> None:
    import transformers

    told = refusal(getattr(transformers, name)(**values))
    assert said in told and "\n  remedy: choose" in told


def test_heads_that_only_multiply_or_cap_are_not_refused() -> None:
    import transformers

    supported = (llama(), gemma(), transformers.GraniteConfig(), transformers.CohereConfig(logit_scale=1.0))
    assert [refusal(config) for config in supported] == [""] * 4


def test_a_head_with_a_bias_is_refused(tmp_path: Path) -> None:
    from transformers import PhiConfig, PhiForCausalLM

    config = PhiConfig(**{k: v for k, v in sizes().items() if k not in ("head_dim", "num_key_value_heads")})
    with pytest.raises(ConfigError, match="output head with a bias"):
        models.head_weight(PhiForCausalLM(config))
    with pytest.raises(ConfigError, match="output head with a bias"):  # before any work
        models.check(save(tmp_path, QWEN25, config), "cpu", WANTED)


def trace(number: int, prompt: int, length: int) -> TeacherTrace:
    draw = torch.Generator().manual_seed(number)
    ids = tuple(torch.randint(0, 256, (prompt + length,), generator=draw).tolist())
    return TeacherTrace(
        problem_id=str(number),
        student_prompt_ids=(1,),
        teacher_prompt_ids=ids[:prompt],
        completion_ids=ids[prompt:],
        text="",
        finish_reason="stop",
        seed=0,
        verdict=Verdict("correct", "1", "n:1"),
        dropped=None,
    )


TRACES = [trace(0, 5, 9), trace(1, 12, 4), trace(2, 3, 17)]


def own_logits(model: Any, traces: list[TeacherTrace]) -> torch.Tensor:
    """The model's own logits at every completion token, (N, V) in float64."""
    rows = []
    for t in traces:
        ids = torch.tensor([t.teacher_prompt_ids + t.completion_ids], device=model.device)
        rows.append(model(input_ids=ids).logits[0, len(t.teacher_prompt_ids) - 1 : -1])
    return torch.cat(rows).double()


@pytest.mark.parametrize(
    ("config", "rows"),
    [
        (lambda: llama(vocab_size=320, tie_word_embeddings=False), 320),  # 61 rows or so without a token
        (lambda: llama(tie_word_embeddings=True), 272),
        (lambda: gemma(final_logit_softcapping=2.0), 272),
        (lambda: gemma(final_logit_softcapping=None), 272),
    ],
    ids=["untied, padded", "tied", "capped", "cap off"],
)
def test_the_exact_loss_agrees_with_the_models_own_logits(config: Any, rows: int, tmp_path: Path) -> None:
    """Signal, certificate, loss and gradient of a model against another whose final states are perturbed."""
    model = models.load_model(save(tmp_path, QWEN25, config()), "cpu")
    with torch.no_grad():
        models.head_weight(model).mul_(40)  # logits of several nats, well into the cap
    head, cap = models.head_weight(model), models.soft_cap(model)
    assert len(head) == rows > len(tokenizer(QWEN25))

    stored = capture(model, TRACES, 1000)
    assert certify(model, TRACES, [HiddenStates(states) for states in stored].__getitem__).max_kl_error < 1e-6
    teacher = torch.cat(stored)
    own = own_logits(model, TRACES)
    assert own.shape == (30, rows)
    assert cap is None or 1.2 < own.abs().max() <= cap

    student = (teacher + 0.3 * torch.randn(teacher.shape, generator=torch.Generator().manual_seed(1))).requires_grad_()
    loss = divergence(student, HiddenStates(teacher), head, Objective(), chunk=7, soft_cap=cap)
    loss.backward()
    exact = student.detach().double().requires_grad_()
    uncapped = exact @ head.double().T
    capped = uncapped if cap is None else cap * (uncapped / cap).tanh()
    log_s, log_t = (capped / 2).log_softmax(-1), (own / 2).log_softmax(-1)
    naive = 4 * (log_t.exp() * (log_t - log_s)).sum()
    naive.backward()
    torch.testing.assert_close(loss.double(), naive, rtol=1e-5, atol=1e-6)
    assert student.grad is not None and exact.grad is not None
    torch.testing.assert_close(student.grad.double(), exact.grad, rtol=1e-4, atol=1e-5)


def test_a_forgotten_cap_is_noticed_by_the_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ssb_core.errors import StoreError

    model = models.load_model(save(tmp_path, QWEN25, gemma(final_logit_softcapping=2.0)), "cpu")
    with torch.no_grad():
        models.head_weight(model).mul_(40)
    stored = [HiddenStates(states) for states in capture(model, TRACES, 1000)]
    monkeypatch.setattr(models, "soft_cap", lambda model: None)
    with pytest.raises(StoreError, match="output head is not supported"):
        certify(model, TRACES, stored.__getitem__)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_capped_signal_of_sixteen_bits_is_the_models_own(dtype: str, tmp_path: Path) -> None:
    saved = save(tmp_path, QWEN25, gemma(final_logit_softcapping=30.0))
    model = models.load_model(saved.model_copy(update={"dtype": dtype}), "cpu")
    with torch.no_grad():
        models.head_weight(model).mul_(300)
    assert own_logits(model, TRACES).abs().max() > 15
    stored = [HiddenStates(states) for states in capture(model, TRACES, 1)]
    assert certify(model, TRACES, stored.__getitem__).max_kl_error < 1e-6


def test_a_capped_students_training_loss_is_that_of_its_own_logits(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    from ssb_core.training.dataset import collate
    from ssb_core.training.trainer import DistillTrainer

    base = models.load_model(save(tmp_path, QWEN25, gemma(final_logit_softcapping=2.0)), "cpu")
    with torch.no_grad():
        models.head_weight(base).mul_(40)
    student: Any = get_peft_model(base, LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
    taught = torch.cat(capture(base, TRACES, 1000)).flip(0)  # states of other tokens
    parts = taught.split([len(t.completion_ids) for t in TRACES])
    rows = [
        {"prompt_ids": torch.tensor(t.teacher_prompt_ids), "completion_ids": torch.tensor(t.completion_ids)}
        for t in TRACES
    ]
    inputs = collate([{**row, "signal": {"hidden": part}} for row, part in zip(rows, parts, strict=True)])
    traces: Any = UserList(rows)
    traces.origins = [{"codec": "hidden/2", "dtype": "float32", "hidden_size": taught.shape[1]}]
    trainer = DistillTrainer(student, traces, traces, DistillConfig(), tmp_path, Progress())
    loss = trainer.compute_loss(student, inputs)
    teacher = 2 * (taught.double() @ models.head_weight(base).double().T / 2).tanh()
    log_s, log_t = (own_logits(base, TRACES) / 2).log_softmax(-1), (teacher / 2).log_softmax(-1)
    expected = 4 * (log_t.exp() * (log_t - log_s)).sum(-1).mean()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    assert loss > 0.1


class Poison:
    """What leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.mark), "w")


BEYOND: dict[str, tuple[dict[str, Any], str]] = {
    "a pickle instead": ({"model.safetensors": None}, "model.safetensors is missing"),
    "other safetensors": ({"model.safetensors": None, "other.safetensors": b""}, "model.safetensors is missing"),
    "a pickle in disguise": ({"model.safetensors": "poison"}, "model.safetensors is no whole safetensors file"),
    "an empty file": ({"model.safetensors": b""}, "model.safetensors is no whole safetensors file"),
    "a cut file": ({"model.safetensors": "cut"}, "model.safetensors is no whole safetensors file"),
    "an index of pickles": ({"index": {"weight_map": {"a": "pytorch_model.bin"}}}, "names 'pytorch_model.bin'; only"),
    "an index to elsewhere": ({"index": {"weight_map": {"a": "../x.safetensors"}}}, "names '../x.safetensors'; only"),
    "an index to nothing": ({"index": {"weight_map": {"a": "b.safetensors"}}}, "b.safetensors is missing"),
    "an index of numbers": ({"index": {"weight_map": {"a": 1}}}, "is no index of weights"),
    "no index": ({"index": [1]}, "is no index of weights"),
    "a link to nothing": ({"x.json": "link"}, "x.json is not a file, nor a link to one"),
    "a configuration without end": ({"config.json": b"[" * 100_000}, "cannot be used: maximum recursion"),
    "a template that reads files": ({"chat_template.jinja": b"{% include '/etc/passwd' %}"}, "cannot be used"),
    "a template that climbs": ({"chat_template.jinja": b"{{ ''.__class__.__mro__[1].__subclasses__()[0] }}"}, "unsafe"),
    "a model without end": ({"config.json": {"hidden_size": 10**15}}, "cannot be used"),
    "an empty tokenizer": ({"tokenizer.json": b"{}"}, "cannot be used"),
}


@pytest.mark.parametrize("name", BEYOND)
def test_a_directory_that_is_no_model_is_refused_before_any_work_and_never_unpickled(
    name: str, nano: models.ResolvedModel, tmp_path: Path
) -> None:
    directory, mark = shutil.copytree(nano.source, tmp_path / "model"), tmp_path / "mark"
    poison = pickle.dumps(Poison(mark))
    (directory / "pytorch_model.bin").write_bytes(poison)
    changes, said = BEYOND[name]
    for file, content in changes.items():
        path = directory / ("model.safetensors.index.json" if file == "index" else file)
        old = path.read_bytes() if path.exists() else b"{}"
        path.unlink(missing_ok=True)
        if content == "link":
            path.symlink_to(tmp_path / "nowhere")
        elif isinstance(content, dict | list):
            path.write_text(json.dumps(json.loads(old) | content if isinstance(content, dict) else content))
        elif content is not None:
            path.write_bytes({"poison": poison, "cut": old[:5000]}[content] if isinstance(content, str) else content)
    with pytest.raises(ConfigError) as refused:
        model = models.resolve(ModelConfig(source=str(directory), dtype="float32"), tmp_path)
        models.check(model, "cpu", WANTED)
        models.check_weights(model)
    assert said in str(refused.value) and not mark.exists()


def test_a_pickle_beside_and_links_to_weights_are_no_matter(nano: models.ResolvedModel, tmp_path: Path) -> None:
    real = shutil.copytree(nano.source, tmp_path / "real")
    linked = tmp_path / "model"
    linked.mkdir()
    for file in real.iterdir():
        (linked / file.name).symlink_to(file)
    (linked / "pytorch_model.bin").write_bytes(pickle.dumps(Poison(tmp_path / "mark")))
    model = models.resolve(ModelConfig(source=str(linked), dtype="float32"), tmp_path)
    assert model.identity == nano.identity
    models.check(model, "cpu", WANTED)
    assert models.load_model(model, "cpu").dtype == torch.float32 and not (tmp_path / "mark").exists()


def test_a_student_is_never_unpickled(nano: models.ResolvedModel, tmp_path: Path) -> None:
    """peft would read the pickle where there are no safetensors; where both are, it is left alone."""
    from peft import LoraConfig, get_peft_model

    student: Any = get_peft_model(models.load_model(nano, "cpu"), LoraConfig(r=2, target_modules=["q_proj"]))
    student.save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.bin").write_bytes(pickle.dumps(Poison(tmp_path / "mark")))
    assert models.load_model(nano, "cpu", tmp_path / "adapter").peft_config
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(StoreError, match=r"has no adapter_model\.safetensors: only safetensors are read"):
        models.load_model(nano, "cpu", tmp_path / "adapter")
    assert not (tmp_path / "mark").exists()
