"""Training a LoRA student to match the teacher's distribution (paper, eq. 3), in this process.

Hugging Face's `Trainer` drives it. The loss is an exact divergence over the whole vocabulary, from hidden states,
averaged over all solution tokens of an optimiser step however many passes or processes the step is split into.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from .. import models
from ..config import DistillConfig
from ..progress import Progress
from . import checkpoints
from .dataset import Traces
from .job import TrainingJob
from .log import CURVES, distillation_rows, write_log
from .student import make_student

DATA = "traces.arrow"


def train(
    job: TrainingJob, keep: Callable[[Path], None], work_dir: Path, checkpoint: Path | None, progress: Progress
) -> None:
    """Train to the end on the traces in ``work_dir``. The adapter and its log are then in ``work_dir/result``.

    Training goes on from `checkpoint` if there is one. ``keep(path)`` is called with every new checkpoint.

    Raises:
        StoreError: the signal is not the student's, or not certified.
    """
    from ..signal import compatibility
    from .trainer import DistillTrainer

    config, data = job.settings, work_dir / DATA
    assert isinstance(config, DistillConfig)
    student, traces = make_student(job), Traces(data)
    compatibility.refuse_unfit(traces.signal_metadata, student, models.load_tokenizer(job.model))
    cut = len(traces) - config.held_out
    learned, held_out = Traces(data, range(cut)), Traces(data, range(cut, len(traces)))
    trainer = DistillTrainer(student, learned, held_out, config, work_dir, progress, job.execution.report_to, job.label)
    trainer.keep = keep
    if "tensorboard" in job.execution.report_to:
        trainer.draw_curves(work_dir / "result" / CURVES, checkpoints.step(checkpoint))
    if checkpoint and trainer.had_stopped(checkpoint):
        trainer.take_best(checkpoint)
    else:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.is_world_process_zero():
        shutil.rmtree(work_dir / "result" / "adapter", ignore_errors=True)  # a killed process may have left a part
        student.save_pretrained(work_dir / "result" / "adapter")
        write_log(work_dir / "result", distillation_rows(trainer.state.log_history))
