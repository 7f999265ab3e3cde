"""The student's `Trainer`. It is Hugging Face's, except that the loss is computed from hidden states."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel
from transformers import (
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations import TensorBoardCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from .. import models
from ..config import DistillConfig
from ..progress import Progress
from ..signal import codecs
from ..signal.losses import divergence
from . import checkpoints
from .callbacks import EpochOrder, Report, Speed
from .dataset import Traces, collate
from .log import SPEED
from .order import Order


class DistillTrainer(checkpoints.Sealing, Trainer):
    """Minimises the mean of the `Objective` over solution tokens.

    `speed` counts solution tokens and seconds of training, over all processes that trained so far. It is saved beside
    every checkpoint.
    """

    def __init__(
        self,
        student: Any,
        traces: Traces,
        held_out: Traces,
        config: DistillConfig,
        work_dir: Path,
        progress: Progress,
        report_to: Sequence[str] = (),
        label: str = "distill",
    ) -> None:
        self.config = config
        self.traces = traces
        self.speed = Speed(work_dir / SPEED)
        arguments = training_arguments(config, work_dir, use_cpu=student.device.type == "cpu", report_to=report_to)
        self.order = Order(traces, config, arguments.per_device_train_batch_size * arguments.world_size)
        callbacks: list[TrainerCallback] = [Report(progress, label, self.speed), EpochOrder(self.order)]
        if config.patience:
            callbacks.append(EarlyStoppingCallback(config.patience))
        super().__init__(student, arguments, collate, traces, held_out, callbacks=callbacks)
        # The loss below is divided by the token count of the whole optimiser step, not of one pass of it.
        self.model_accepts_loss_kwargs = True
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)

    def draw_curves(self, directory: Path, step: int) -> None:
        """Write the log for TensorBoard to `directory` too. Entries there of steps after `step` become void."""
        from torch.utils.tensorboard import SummaryWriter

        if self.is_world_process_zero():
            self.add_callback(TensorBoardCallback(SummaryWriter(str(directory), purge_step=step + 1)))

    def had_stopped(self, checkpoint: Path) -> bool:
        """Whether training stopped early at `checkpoint`. transformers would go on from there."""
        saved = TrainerState.load_from_json(str(checkpoint / "trainer_state.json")).stateful_callbacks
        counted = saved.get("EarlyStoppingCallback", {}).get("attributes", {})
        return 0 < self.config.patience <= int(counted.get("early_stopping_patience_counter", 0))

    def take_best(self, checkpoint: Path) -> None:
        """Finish as training did at `checkpoint`: with its log, and the best student of all checkpoints."""
        self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        self._load_best_model()

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        total, tokens = self._divergence(model, inputs)
        if num_items_in_batch is None:
            self.speed.tokens += tokens
            return total / tokens
        self.speed.tokens += int(num_items_in_batch) // self.current_gradient_accumulation_steps
        return total * self.accelerator.num_processes / num_items_in_batch  # gradients are averaged over processes

    def _divergence(self, model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, int]:
        """The sum of the objective over the batch's solution tokens, and the number of these tokens."""
        predicts_BS = inputs["labels"][:, 1:] != -100  # the state at position s predicts token s + 1
        hidden_BSH = self._hidden_states(model, inputs)
        student_NH, token_N = hidden_BSH[:, :-1][predicts_BS], inputs["labels"][:, 1:][predicts_BS]
        student = self.accelerator.unwrap_model(model)
        total = divergence(
            student_NH,
            codecs.teacher(inputs["signal"], next(iter(self.traces.signal_metadata), {})),
            models.head_weight(student),
            self.config,
            token_N,
            soft_cap=models.soft_cap(student),
        )
        return total, len(student_NH)

    def _hidden_states(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """The student's states (B, S, H) after the final norm.

        The whole model is called, because the wrapper that averages gradients over processes requires it, but the head
        is computed at no position.
        """
        kept: list[torch.Tensor] = []
        backbone = models.backbone(self.accelerator.unwrap_model(model))
        with backbone.register_forward_hook(lambda module, arguments, out: kept.append(out.last_hidden_state)):
            ids_BS, mask_BS = inputs["input_ids"], inputs["attention_mask"]
            nowhere = torch.empty(0, dtype=torch.long, device=ids_BS.device)
            model(input_ids=ids_BS, attention_mask=mask_BS, use_cache=False, logits_to_keep=nowhere)
        return kept[0]

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The mean of the objective over the held-out solution tokens."""
        student: Any = self.model
        student.eval()
        sums_2 = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        with torch.no_grad():
            for inputs in self.get_eval_dataloader():
                total, tokens = self._divergence(student, self._prepare_inputs(inputs))
                sums_2 += torch.stack([total.double(), torch.tensor(tokens, device=total.device)])
        for part in models.fsdp_modules(student):
            part.reshard()  # no backward pass does it here, and writing a checkpoint would do it in one process only
        total, tokens = self.accelerator.reduce(sums_2).tolist()
        metrics = {"eval_loss": total / tokens}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _wrap_model(self, model: Any, training: bool = True, dataloader: Any = None) -> Any:
        """Wrap a sharded model, which accelerate refuses, so that only its adapter is kept equal in all processes."""
        if not models.fsdp_modules(model) or isinstance(model, DistributedDataParallel):
            return super()._wrap_model(model, training, dataloader)
        frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, frozen)
        return DistributedDataParallel(model)

    def _get_train_sampler(self, train_dataset: Any = None) -> Order:
        return self.order

    def _get_eval_sampler(self, eval_dataset: Any) -> Order:
        return Order(eval_dataset, None, self.order.passed)


def training_arguments(
    config: DistillConfig, work_dir: Path, use_cpu: bool, report_to: Sequence[str] = ()
) -> TrainingArguments:
    """The paper's optimiser settings: AdamW, linear decay, no warm-up, no weight decay."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # set by torchrun's launcher
    per_process = config.batch_size // config.accumulation // processes
    arguments = TrainingArguments(
        output_dir=str(work_dir),
        per_device_train_batch_size=per_process,
        per_device_eval_batch_size=per_process,
        gradient_accumulation_steps=config.accumulation,
        gradient_checkpointing=config.checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},  # the embeddings are frozen: no input has a gradient
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        weight_decay=0.0,
        max_grad_norm=config.max_grad_norm,
        logging_steps=1,
        save_steps=config.save_steps,
        save_total_limit=2,
        eval_strategy="steps" if config.held_out else "no",
        eval_steps=config.save_steps,
        restore_callback_states_from_checkpoint=True,
        load_best_model_at_end=config.patience > 0,
        metric_for_best_model="loss",
        greater_is_better=False,
        ddp_backend="gloo" if use_cpu and processes > 1 else None,
        ddp_find_unused_parameters=False,
        seed=config.seed,
        use_cpu=use_cpu,
        dataloader_pin_memory=not use_cpu,
        remove_unused_columns=False,
        report_to=[name for name in report_to if name != "tensorboard"] or "none",  # for that see `draw_curves`
        disable_tqdm=True,
        log_level="error",
        logging_nan_inf_filter=False,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # DataParallel would multiply the batch, which the recipe fixes
    return arguments
