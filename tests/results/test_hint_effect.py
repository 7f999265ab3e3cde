"""What the hint changed, against full logits in float64; what the signal takes, against the files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ssb_core import models
from ssb_core.config import RunConfig
from ssb_core.errors import ConfigError, StoreError
from ssb_core.progress import Progress
from ssb_core.records import TeacherTrace, from_row, schema
from ssb_core.results import hint_effect
from ssb_core.runs import Run
from ssb_core.signal import codecs, hint, layout, shards
from ssb_core.signal.annotate import decode, token_texts
from ssb_core.signal.marks import AnnotatedSolution
from ssb_core.signal.teachers import HiddenStates
from ssb_core.store import Recipe
from tests.support.runs import copied, run_stages


@pytest.fixture(scope="module")
def base(nano: models.ResolvedModel) -> Any:
    return models.load_model(nano, "cpu")


@pytest.fixture(scope="module")
def tokenizer(nano: models.ResolvedModel) -> Any:
    return models.load_tokenizer(nano)


def captured(run: Run) -> Iterator[tuple[TeacherTrace, dict[str, torch.Tensor], dict[str, Any]]]:
    """Every taught trace of a run with its signal and that signal's origin."""
    for manifest in run.manifests("teach"):
        for table in run.store.tables(manifest):
            origin = json.loads(table.schema.metadata[layout.METADATA.encode()])
            for i, row in enumerate(table.select(schema(TeacherTrace).names).to_pylist()):
                if row["dropped"] is None:
                    yield from_row(TeacherTrace, row), codecs.from_arrow(table[layout.COLUMN], i, origin), origin


def logits(model: Any, prompt: tuple[int, ...], trace: TeacherTrace) -> torch.Tensor:
    """The whole model's (N, V) at the tokens of a trace's solution behind a prompt, float64."""
    ids = torch.tensor([prompt + trace.completion_ids])
    return model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].double()


def naive(model: Any, trace: TeacherTrace, t: float) -> dict[str, torch.Tensor]:
    """Both distributions, their KL and the teacher's entropy by their definitions."""
    prompts = trace.teacher_prompt_ids, trace.student_prompt_ids
    log_t, log_s = ((logits(model, prompt, trace) / t).log_softmax(-1) for prompt in prompts)
    p = log_t.exp()
    return {"t": p, "s": log_s.exp(), "kl": (p * (log_t - log_s)).sum(-1), "entropy": -(p * log_t).sum(-1)}


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize(("codec", "atol"), [("hidden/2", 2e-5), ("topk/2", 2e-5), ("dense/2", 2e-2)])
def test_the_hints_effect_is_that_of_full_logits(
    quick_run: Run, base: Any, codec: str, atol: float, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hint, "chunk_size", lambda head_VH: 7)  # so that a trace takes several chunks
    trace, signal, origin = next(captured(quick_run))
    head_VH = models.head_weight(base)
    whole = {**origin, "codec": codec, "k": len(head_VH), "temperature": 2.0}  # top-k of all is all
    asked = whole if codec == "topk/2" else {k: v for k, v in whole.items() if k != "k"}
    teacher = hint.teacher_on_device(codecs.encode(signal["hidden"], head_VH, None, asked), asked, base)
    (states_NH,) = hint.bare_states(base, [trace], 0)
    found, full = hint.effect(base, states_NH, teacher, temperature), naive(base, trace, temperature)
    assert len(found.kl_N) == len(trace.completion_ids) > 7
    assert full["kl"].max() > 0.1 and full["entropy"].max() > 1  # there is something to find
    torch.testing.assert_close(found.kl_N.double(), full["kl"], rtol=1e-3, atol=atol)
    torch.testing.assert_close(found.entropy_N.double(), full["entropy"], rtol=1e-3, atol=atol)
    gap = full["t"] - full["s"]
    torch.testing.assert_close(full["t"].gather(-1, found.ids_N2), found.hinted_N2.double(), rtol=1e-3, atol=atol)
    torch.testing.assert_close(full["s"].gather(-1, found.ids_N2), found.bare_N2.double(), rtol=1e-3, atol=atol)
    changes = torch.stack([gap.amax(-1), gap.amin(-1)], -1)
    torch.testing.assert_close(gap.gather(-1, found.ids_N2), changes, rtol=1e-3, atol=atol)


def test_sixteen_bits_make_no_effect_of_their_own(base: Any, nano: models.ResolvedModel) -> None:
    """Two states differ in a few last bits; logits rounded to bfloat16 would be several times as far apart."""
    half = models.load_model(nano.model_copy(update={"dtype": "bfloat16"}), "cpu")
    head_VH = models.head_weight(half)
    torch.manual_seed(0)
    teacher_NH = (3 * torch.randn(64, head_VH.shape[1])).bfloat16()
    student_NH = teacher_NH.clone()
    student_NH[:, :4] *= 1 + 2**-7  # the last bit
    log_t, log_s = ((x.double() @ head_VH.double().T).log_softmax(-1) for x in (teacher_NH, student_NH))
    exact = (log_t.exp() * (log_t - log_s)).sum(-1)
    found = hint.effect(half, student_NH, HiddenStates(teacher_NH)).kl_N.double()
    rounded_t, rounded_s = ((x @ head_VH.T).double().log_softmax(-1) for x in (teacher_NH, student_NH))
    rounded = (rounded_t.exp() * (rounded_t - rounded_s)).sum(-1)
    assert found.mean().item() == pytest.approx(exact.mean().item(), rel=0.02)
    assert rounded.mean() > 5 * exact.mean()


def test_the_survey_of_all_traces_is_that_of_full_logits(quick_run: Run, base: Any, tokenizer: Any) -> None:
    found = hint_effect.measure(quick_run, 0, 5, Progress())
    traces = [trace for trace, _, _ in captured(quick_run)]
    assert (found.traces, found.of) == (len(traces), len(traces))
    assert found.tokens == quick_run.load_summary()["signal"]["tokens"] == sum(len(t.completion_ids) for t in traces)
    assert [at.temperature for at in found.at] == [1.0, 2.0]
    for at in found.at:
        figures = [naive(base, trace, at.temperature) for trace in traces]
        for spread, name in ((at.kl, "kl"), (at.entropy, "entropy")):
            values = torch.cat([f[name] for f in figures]).numpy()
            assert spread.mean == pytest.approx(values.mean(), rel=1e-3)
            quantiles = np.quantile(values, [0.5, 0.9, 0.99, 1])
            shown = [spread.median, spread.p90, spread.p99, spread.max]
            assert shown == pytest.approx(quantiles.tolist(), rel=1e-2, abs=2e-6)
    kl = {t.problem_id: naive(base, t, 1.0)["kl"] for t in traces}
    every = torch.cat(list(kl.values()))
    assert found.large == pytest.approx((every > 1).double().mean().item())
    assert [m.mark.kl for m in found.moments] == pytest.approx(every.topk(5).values.tolist(), abs=2e-4)
    for m in found.moments:
        (trace,) = (t for t in traces if t.problem_id == m.problem_id)
        assert m.mark.kl == pytest.approx(kl[m.problem_id][m.index].item(), abs=2e-4)
        text = tokenizer.decode(trace.completion_ids[: m.index + 1])
        assert text.endswith(m.before + m.mark.text) and m.before


def test_a_draw_of_traces_is_seeded_and_spread_over_shards(quick_run: Run) -> None:
    first, again = (hint_effect.measure(quick_run, 4, 3, Progress()) for _ in range(2))
    assert first == again
    assert (first.traces, first.of) == (4, quick_run.load_summary()["yield"]["taught"])
    drawn, _ = hint_effect._draw(quick_run, hint_effect.load_taught(quick_run), 4)
    assert len(drawn) > 1 and sum(len(rows) for _, rows in drawn) == 4
    assert hint_effect.measure(quick_run, 10_000, 0, Progress()).traces == first.of


def test_storage_is_what_the_files_take(quick_run: Run) -> None:
    found = hint_effect.load_storage(quick_run)
    paths = [quick_run.store.path(m, e) for m in quick_run.manifests("teach") for e in m.files]
    assert (found.codec, found.fields) == ("hidden/2", {"hidden": "128 float32"})
    assert (found.shards, found.file_bytes) == (len(paths), sum(p.stat().st_size for p in paths))
    assert found.raw_bytes == 512 * found.tokens == 512 * quick_run.load_summary()["signal"]["tokens"]
    assert 0.5 * found.raw_bytes < found.stored_bytes < min(found.raw_bytes, found.file_bytes)
    assert found.traces == quick_run.load_summary()["yield"]["taught"]
    (_, _, origin) = next(captured(quick_run))
    assert found.ratio == pytest.approx(4 * origin["vocabulary"] / (found.stored_bytes / found.tokens))


def test_certificates_are_summed_up_and_a_bad_one_is_counted_and_not_examined(quick_run: Run, tmp_path: Any) -> None:
    run = copied(quick_run, tmp_path)
    whole = hint_effect.load_certificates(run)
    assert whole.valid == whole.shards == hint_effect.load_storage(run).shards
    assert whole.max_kl_error == run.load_summary()["signal"]["max_kl_error"] >= whole.mean_kl_error >= 0
    recipes = {Recipe("teach", how).hash: Recipe("teach", how) for how in run.store.recipes("teach")}
    manifest = next(m for m in run.manifests("teach") if m.stats["taught"])
    entry = manifest.files[0]
    shard, table = run.store.sidecar(manifest, entry), run.store.table(manifest, entry)
    origin = json.loads(table.schema.metadata[layout.METADATA.encode()])
    table = table.replace_schema_metadata({layout.METADATA: json.dumps({**origin, "mean_kl_error": 0.5})})
    name = entry.path.removeprefix("shards/").removesuffix(".parquet")
    spoilt = run.store.write_shard(recipes[manifest.recipe], name, table, shard.problem_ids, shard.source).file
    run.store.commit(recipes[manifest.recipe], replace(manifest, files=(spoilt, *manifest.files[1:])))
    found = hint_effect.load_certificates(run)
    assert (found.shards, found.valid) == (whole.shards, whole.shards - 1)
    assert found.mean_kl_error == pytest.approx(0.5 * origin["tokens"] / whole.tokens, rel=1e-3)
    with pytest.raises(StoreError, match="no valid certificate"):
        hint_effect.measure(run, 1, 1, Progress())


def test_a_run_without_signal_is_refused_with_what_to_do(quick_run: Run, small: RunConfig, tmp_path: Any) -> None:
    run = copied(quick_run, tmp_path)
    early = run_stages(small, run.store, tmp_path / "runs" / "early", "select")
    for ask in (
        hint_effect.load_storage,
        hint_effect.load_certificates,
        lambda r: hint_effect.measure(r, 1, 1, Progress()),
    ):
        with pytest.raises(ConfigError, match=r"run early ended after select(.|\n)*--name early"):
            ask(early)
    recipes = {Recipe("teach", how).hash: Recipe("teach", how) for how in run.store.recipes("teach")}
    for manifest in run.manifests("teach"):
        run.store.commit(recipes[manifest.recipe], replace(manifest, stats={"wrong_answer": 9, "tokens": 0}))
    with pytest.raises(ConfigError, match=r"run quick taught no trace(.|\n)*ssb report quick"):
        hint_effect.load_storage(run)


@pytest.mark.parametrize("text", ["Zoë has 3 🦊🦊.\n\n  So \\boxed{3}", "\u202e<b>\x00\ufffd\ufffd", "日本語"])
def test_pieces_are_together_the_text_whatever_bytes_tokens_hold(text: str, tokenizer: Any) -> None:
    ids = tokenizer.encode(text)
    for n in range(len(ids) + 1):  # cut also within a character
        parts = token_texts(tokenizer, ids[:n])
        assert len(parts) == n and "".join(parts) == decode(tokenizer, ids[:n])
    parts = token_texts(tokenizer, ids)
    assert "".join(parts) == text and "" in parts  # a character that several tokens make up is the last one's
    assert not any("\ufffd" in p for p in parts) or "\ufffd" in text


def test_a_sample_is_the_solution_and_the_same_bytes_again(
    quick_run: Run, base: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace, signal, origin = next(captured(quick_run))
    first, again = (shards.annotated_solution(base, tokenizer, trace, signal, origin) for _ in range(2))
    assert first.dump() == again.dump() and AnnotatedSolution.load(first.dump()) == first
    assert AnnotatedSolution.load(None) is None and AnnotatedSolution.load({b"other": b"{}"}) is None
    assert "".join(m.text for m in first.effects) == decode(tokenizer, trace.completion_ids)
    full = naive(base, trace, 1.0)
    assert [m.kl for m in first.effects] == pytest.approx(full["kl"].tolist(), abs=2e-4)
    assert first.mean_kl == pytest.approx(full["kl"].mean().item(), abs=2e-4)
    at = int(full["kl"].argmax())
    raised = int((full["t"] - full["s"])[at].argmax())
    shift = first.effects[at].raised
    assert shift.text == tokenizer.decode([raised])
    there = [full[model][at, raised].item() for model in ("s", "t")]
    assert [shift.bare, shift.hinted] == pytest.approx(there, abs=2e-4)
    monkeypatch.setattr(shards, "ANNOTATED", 10)
    short = shards.annotated_solution(base, tokenizer, trace, signal, origin)
    assert (short.tokens, len(short.effects)) == (len(trace.completion_ids), 10)
    assert [m.kl for m in short.effects] == pytest.approx([m.kl for m in first.effects[:10]], abs=2e-4)
    assert math.isfinite(short.mean_kl)
