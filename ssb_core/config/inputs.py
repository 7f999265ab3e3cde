"""The inputs of a run: its model, its problem sets and benchmarks, and worked examples."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..records import AnswerForm
from .frozen import Section


class ModelConfig(Section):
    """The base model. It is both the student and the hinted teacher."""

    source: str = Field(
        description="The model: a hub id (OWNER/NAME), a local directory, a GGUF file (a path, or PACKAGE/FILE.gguf in "
        "an installed package), or 'nano' for the embedded model.",
        min_length=1,
    )
    revision: str | None = Field(None, description="Hub branch, tag or commit; null: the default branch.")
    chat_template: str | None = Field(
        None, description="Path of a Jinja file that replaces the model's chat template; null: the model's own."
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "bfloat16", description="Number type of the weights and of all computations with them."
    )


class ProblemsConfig(Section):
    """A problem set: its source, the fields with question and answer, and the selection and order of its problems."""

    source: str = Field(
        description="The problem set: a .jsonl, .ndjson or .parquet file ($NAME in the path is replaced by that "
        "environment variable), a hub id (OWNER/NAME), or an embedded set (nano-train, nano-test, nano-hard).",
        min_length=1,
    )
    subset: str | None = Field(
        None, description="Configuration name of a hub data set, e.g. 'main' for openai/gsm8k; null: its only one."
    )
    split: str = Field("train", description="Split of a hub data set; files have none.")
    id: str | None = Field(
        None, description="Field with a unique id; null: ids are made from the source's name and the row number."
    )
    question: str = Field("question", description="Name of the field with the question.")
    answer: str = Field("answer", description="Name of the field with the reference answer.")
    subject: str | None = Field(None, description="Name of a field with the subject, a label for reports; null: none.")
    level: str | None = Field(None, description="Name of a field with the difficulty, a label for reports; null: none.")
    form: AnswerForm = Field(
        "boxed",
        description="Form of the answer field: boxed (in the last \\boxed{}, or the whole field without "
        "one), hash (after ####, as in GSM8K), choice (a letter from A to E), exact (the whole field).",
    )
    distinct: bool = Field(
        False,
        description="Keep only the first of the problems with the same question. This happens before skip, so that "
        "problems held out by skip share no question with the others.",
    )
    skip: int = Field(0, ge=0, description="Skip the first N problems, e.g. because they are held out.")
    limit: int | None = Field(None, ge=1, description="Use at most N problems (after skip); null: all.")
    shuffle_seed: int | None = Field(
        None, description="Seed of the order of the problems (before skip and limit); null: the order of the source."
    )

    @property
    def completion_form(self) -> AnswerForm:
        """The form of answers in completions: in a box, because prompts ask for one, or as the letter of a choice."""
        return "choice" if self.form == "choice" else "boxed"


class Benchmark(ProblemsConfig):
    """A held-out problem set with a name. Its own decoding fields replace those of `evaluate`."""

    name: str = Field(
        description="Name in tables and in summary.json: lower-case letters, digits and hyphens.",
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        examples=["math500"],
    )
    split: str = Field("test", description="Split of a hub data set; files have none.")
    few_shot: bool = Field(False, description="Put the worked examples of prompts.few_shot before every question.")
    samples: int | None = Field(None, ge=1, le=10_000, description="Samples per problem; null: evaluate.samples.")
    temperature: float | None = Field(
        None, ge=0, description="Replaces evaluate.temperature for this benchmark; null: evaluate.temperature."
    )
    top_k: int | None = Field(
        None, ge=0, description="Replaces evaluate.top_k for this benchmark; null: evaluate.top_k."
    )
    max_new_tokens: int | None = Field(
        None, ge=1, description="Replaces evaluate.max_new_tokens for this benchmark; null: evaluate.max_new_tokens."
    )


class Example(Section):
    """A worked example, for a model that does not put its answer in a box by itself."""

    question: str = Field(min_length=1, description="The question, as a user would ask it.")
    solution: str = Field(
        min_length=1, description="The solution, as the model should write it, with the answer in \\boxed{}."
    )


class PromptsConfig(Section):
    """Worked examples before the question. Students are trained without them."""

    few_shot: tuple[Example, ...] = Field(
        (),
        description="Worked examples, given as earlier chat turns in rollouts and in benchmarks with few_shot: true.",
    )
    teach_few_shot: bool = Field(True, description="Give the worked examples to the hinted teacher too.")
