"""What the hint changed, against full logits in float64; what the signal takes, against the files."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ssb_core import models
from ssb_core.config import RunConfig
from ssb_core.errors import ConfigError, StoreError
from ssb_core.progress import Progress
from ssb_core.results import hint_effect
from ssb_core.runs import Run
from ssb_core.signal import layout
from ssb_core.store import Recipe
from tests.support.runs import copied, run_stages
from tests.support.signal import captured_traces, textbook_effect


@pytest.fixture(scope="module")
def base(nano: models.ResolvedModel) -> Any:
    return models.load_model(nano, "cpu")


@pytest.fixture(scope="module")
def tokenizer(nano: models.ResolvedModel) -> Any:
    return models.load_tokenizer(nano)


def test_the_survey_of_all_traces_is_that_of_full_logits(quick_run: Run, base: Any, tokenizer: Any) -> None:
    effect = hint_effect.measure(quick_run, 0, 5, Progress())
    traces = [trace for trace, _, _ in captured_traces(quick_run)]
    assert (effect.traces, effect.of) == (len(traces), len(traces))
    assert effect.tokens == quick_run.load_summary()["signal"]["tokens"] == sum(len(t.completion_ids) for t in traces)
    assert [at.temperature for at in effect.at] == [1.0, 2.0]
    for at in effect.at:
        figures = [textbook_effect(base, trace, at.temperature) for trace in traces]
        for spread, name in ((at.kl, "kl"), (at.entropy, "entropy")):
            values = torch.cat([f[name] for f in figures]).numpy()
            assert spread.mean == pytest.approx(values.mean(), rel=1e-3)
            quantiles = np.quantile(values, [0.5, 0.9, 0.99, 1])
            measured = [spread.median, spread.p90, spread.p99, spread.max]
            assert measured == pytest.approx(quantiles.tolist(), rel=1e-2, abs=2e-6)
    kl = {t.problem_id: textbook_effect(base, t, 1.0)["kl"] for t in traces}
    every = torch.cat(list(kl.values()))
    assert effect.large == pytest.approx((every > 1).double().mean().item())
    assert [m.mark.kl for m in effect.moments] == pytest.approx(every.topk(5).values.tolist(), abs=2e-4)
    for m in effect.moments:
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
    storage = hint_effect.load_storage(quick_run)
    paths = [quick_run.store.path(m, e) for m in quick_run.manifests("teach") for e in m.files]
    assert (storage.codec, storage.fields) == ("hidden/2", {"hidden": "128 float32"})
    assert (storage.shards, storage.file_bytes) == (len(paths), sum(p.stat().st_size for p in paths))
    assert storage.raw_bytes == 512 * storage.tokens == 512 * quick_run.load_summary()["signal"]["tokens"]
    assert 0.5 * storage.raw_bytes < storage.stored_bytes < min(storage.raw_bytes, storage.file_bytes)
    assert storage.traces == quick_run.load_summary()["yield"]["taught"]
    (_, _, metadata) = next(captured_traces(quick_run))
    assert storage.ratio == pytest.approx(4 * metadata["vocabulary"] / (storage.stored_bytes / storage.tokens))


def test_certificates_are_summed_up_and_a_bad_one_is_counted_and_not_examined(quick_run: Run, tmp_path: Any) -> None:
    run = copied(quick_run, tmp_path)
    whole = hint_effect.load_certificates(run)
    assert whole.valid == whole.shards == hint_effect.load_storage(run).shards
    assert whole.max_kl_error == run.load_summary()["signal"]["max_kl_error"] >= whole.mean_kl_error >= 0
    recipes = {Recipe("teach", how).hash: Recipe("teach", how) for how in run.store.recipes("teach")}
    manifest = next(m for m in run.manifests("teach") if m.stats["taught"])
    entry = manifest.files[0]
    shard, table = run.store.sidecar(manifest, entry), run.store.table(manifest, entry)
    metadata = json.loads(table.schema.metadata[layout.METADATA.encode()])
    table = table.replace_schema_metadata({layout.METADATA: json.dumps({**metadata, "mean_kl_error": 0.5})})
    name = entry.path.removeprefix("shards/").removesuffix(".parquet")
    spoilt = run.store.write_shard(recipes[manifest.recipe], name, table, shard.problem_ids, shard.source).file
    run.store.commit(recipes[manifest.recipe], replace(manifest, files=(spoilt, *manifest.files[1:])))
    certificates = hint_effect.load_certificates(run)
    assert (certificates.shards, certificates.valid) == (whole.shards, whole.shards - 1)
    assert certificates.mean_kl_error == pytest.approx(0.5 * metadata["tokens"] / whole.tokens, rel=1e-3)
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
