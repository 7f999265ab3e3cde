"""The Prefect task of every stage, by the stage's name. A task with the tag ``gpu`` loads a model."""

from ssb_core.stages import STAGES

from .run_stage import StageTask, stage_task

DESCRIPTIONS = {
    "rollouts": "Sample K answers of the base model to each bare question.",
    "select": "Verify every rollout, and pick a correct and a majority-wrong one for each mixed problem.",
    "teach": "Write a robust solution from the hint, verify it, and capture its exact signal.",
    "distill": "Train a LoRA student to match the teacher from the bare question.",
    "sft": "Train the same student by cross-entropy on the taught solutions.",
    "rft": "Train the same student by cross-entropy on its own correct rollouts.",
    "ssb-no-wrong": "Train the same student on the signal of a teacher that saw no wrong rollout.",
    "grpo": "Train the same student by reinforcement learning, with the verifier as reward (TRL).",
    "merge": "Merge a student's adapter into its base, for another round.",
    "evaluate": "Sample and grade one model on one held-out benchmark.",
}

TASKS: dict[str, StageTask] = {
    stage: stage_task(stage, DESCRIPTIONS[stage], *(() if stage == "select" else ("gpu",))) for stage in STAGES
}
