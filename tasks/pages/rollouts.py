"""The artifact page ``ssb-1-rollouts``: the samples of each wave."""

from ssb_core.report.markdown import escaped, table
from ssb_core.results import queries
from ssb_core.results.wording import count, duration, percent
from ssb_core.runs import Run

from ..artifacts import Page


def page(run: Run) -> Page:
    """Samples and tokens of every wave of the first round."""
    waves = queries.load_wave_stats(run)
    samples, tokens = sum(w.samples for w in waves), sum(w.tokens for w in waves)
    problems = count(sum(w.problems for w in waves), "problem")
    description = f"{count(samples, 'rollout')} of {problems}, {tokens:,} tokens"
    rows = [_row(str(number), wave) for number, wave in enumerate(waves, start=1)]
    notes = "The columns mean and p95 are tokens per rollout. The rate includes the time to load the model."
    body = f"# Rollouts\n\n{table(rows)}\n\n{notes}"
    return Page("ssb-1-rollouts", description, body)


def _row(number: str, wave: queries.WaveStats) -> dict[str, str]:
    mean, p95 = wave.lengths
    share = percent(wave.truncated / wave.samples) if wave.samples else "0.0"
    return {
        "wave": number,
        "problems": f"{wave.problems:,}",
        "samples": f"{wave.samples:,}",
        "tokens": f"{wave.tokens:,}",
        "mean": f"{mean:,.0f}",
        "p95": f"{p95:,.0f}",
        "truncated": f"{wave.truncated:,} ({share}%)",
        "this run": f"{wave.status} ({duration(wave.seconds)})",
        "tokens/s": f"{wave.rate:,.0f}" if wave.rate else "",
        "sampled by": escaped(", ".join(wave.engines)),
    }
