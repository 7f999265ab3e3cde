"""Certificates of captured signal."""

from __future__ import annotations

import pytest

from ssb_core import models
from ssb_core.errors import StoreError
from ssb_core.records import TeacherTrace, Verdict, from_row, schema
from ssb_core.runs import Run
from ssb_core.signal import codecs
from ssb_core.signal.capture import capture, certify
from ssb_core.signal.teachers import HiddenStates


@pytest.mark.parametrize(("traces", "drawn"), [(0, 0), (1, 1), (32, 1), (33, 2)])
def test_one_trace_in_32_is_certified_and_one_of_every_shard(
    traces: int, drawn: int, nano: models.ResolvedModel
) -> None:
    model, verdict = models.load_model(nano, "cpu"), Verdict("correct")
    many = [
        TeacherTrace(
            problem_id=str(i),
            student_prompt_ids=(1,),
            teacher_prompt_ids=tuple(range(5, 9 + i % 7)),
            completion_ids=(5, 6, 7),
            text="",
            finish_reason="stop",
            seed=0,
            verdict=verdict,
            dropped=None,
        )
        for i in range(traces)
    ]
    stored = [HiddenStates(hidden_NH) for hidden_NH in capture(model, many, 64)]
    certificate = certify(model, many, stored.__getitem__)
    assert certificate.tokens == 3 * drawn and certificate.mean_kl_error < 1e-6


def test_the_certificate_of_top_k_checks_the_log_sum_exp_of_the_second_temperature(
    quick_run: Run, nano: models.ResolvedModel
) -> None:
    manifest = quick_run.manifests("teach")[0]
    rows = quick_run.store.table(manifest, manifest.files[0], schema(TeacherTrace).names).to_pylist()
    traces = [t for r in rows if (t := from_row(TeacherTrace, r)).dropped is None][:1]
    model = models.load_model(nano, "cpu")
    head, metadata = models.head_weight(model), {"codec": "topk/2", "k": 8, "temperature": 2.0}
    signal = codecs.encode(capture(model, traces, 1000)[0], head, None, metadata)
    assert certify(model, traces, lambda i: codecs.teacher(signal, metadata), (1.0, 2.0)).max_kl_error < 1e-6
    wrong = {**signal, "lse": signal["lse"] + 0.1}
    with pytest.raises(StoreError, match="nats per token from the model's own distribution"):
        certify(model, traces, lambda i: codecs.teacher(wrong, metadata), (1.0, 2.0))
