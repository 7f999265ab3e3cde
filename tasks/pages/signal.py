"""The artifact page ``ssb-4-signal``: size and exactness of the teacher signal."""

from ssb_core.report.markdown import table
from ssb_core.results import hint_effect
from ssb_core.results.wording import count
from ssb_core.runs import Run

from ..artifacts import Page


def page(run: Run) -> Page | None:
    """The size of the captured signal, and how exact it is by its certificates. None before any trace is taught."""
    if not any(m.stats.get("taught") for m in run.manifests("teach")):
        return None
    storage, certificates = hint_effect.load_storage(run), hint_effect.load_certificates(run)
    description = (
        f"{count(storage.tokens, 'token')} of {count(storage.traces, 'trace')}, "
        f"{certificates.valid} of {count(certificates.shards, 'shard')} certified"
    )
    per_token = storage.raw_bytes / storage.tokens
    rows = {
        "codec": storage.codec,
        "vectors of a token": ", ".join(f"{name}: {numbers}" for name, numbers in storage.fields.items()),
        "tokens": f"{storage.tokens:,}",
        "bytes a token": f"{per_token:,.0f}",
        "bytes a token in the file": f"{storage.stored_bytes / storage.tokens:,.0f}",
        "smaller than float32 logits": f"{storage.ratio:,.1f} times",
        "certified shards": f"{certificates.valid} of {certificates.shards}",
        "recomputed tokens": f"{certificates.tokens:,}",
        "KL error, mean": f"{certificates.mean_kl_error:.2g} nats",
        "KL error, largest": f"{certificates.max_kl_error:.2g} nats",
        "log-probability error, largest": f"{certificates.max_logp_error:.2g}",
    }
    cells = table([{"property": name, "value": value} for name, value in rows.items()])
    body = (
        f"# Teacher signal\n\n{cells}\n\nEvery shard has a certificate: some of its traces were recomputed with full "
        "logits and compared with the stored signal."
    )
    return Page("ssb-4-signal", description, body)
