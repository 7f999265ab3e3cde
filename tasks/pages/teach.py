"""Artifact pages of teach: a taught solution, and the captured signal."""

from ssb_core.report.markdown import code, fenced, table
from ssb_core.results import hint_effect, problem_history
from ssb_core.results.wording import count
from ssb_core.runs import Run

from ..artifacts import Page
from . import select


def solution(run: Run) -> Page | None:
    """The first taught solution below the two rollouts that it was written from."""
    for told in problem_history.examples(run, 1):
        assert told.trace
        caption = problem_history.answer(told.trace, told.trace.verdict).caption
        parts = [
            f"# A taught solution: {code(told.problem.id)}",
            select.pair(told),
            "The teacher saw both rollouts and wrote this solution, which never mentions them. Its answer was verified "
            f"again: {code(caption)}.",
            fenced(told.trace.text),
        ]
        return Page("ssb-3-solution", "A taught solution and what it was written from", "\n\n".join(parts))
    return None


def signal(run: Run) -> Page | None:
    """What the captured signal takes, and how exact its certificates say that it is."""
    if not any(m.stats.get("taught") for m in run.manifests("teach")):
        return None
    stored, certified = hint_effect.storage(run), hint_effect.certificates(run)
    told = (
        f"{count(stored.tokens, 'token')} of {count(stored.traces, 'trace')}, "
        f"{certified.valid} of {count(certified.shards, 'shard')} certified"
    )
    per_token = stored.raw_bytes / stored.tokens
    rows = {
        "codec": stored.codec,
        "a token's vectors": ", ".join(f"{name}: {what}" for name, what in stored.fields.items()),
        "tokens": f"{stored.tokens:,}",
        "bytes a token": f"{per_token:,.0f}",
        "bytes a token in the file": f"{stored.stored_bytes / stored.tokens:,.0f}",
        "smaller than float32 logits": f"{stored.ratio:,.1f} times",
        "shards certified": f"{certified.valid} of {certified.shards}",
        "tokens recomputed for it": f"{certified.tokens:,}",
        "KL error, mean": f"{certified.mean_kl_error:.2g} nats",
        "KL error, largest": f"{certified.max_kl_error:.2g} nats",
        "log-probability error, largest": f"{certified.max_logp_error:.2g}",
    }
    shown = table([{"of the signal": name, "is": value} for name, value in rows.items()])
    body = (
        f"# Teacher signal\n\n{shown}\n\nOf every shard some traces were recomputed live, with full logits, and "
        "compared with what is stored: that is its certificate."
    )
    return Page("ssb-4-signal", told, body)
