"""Models that are refused before any work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ssb_core import models
from ssb_core.config import ModelConfig
from ssb_core.errors import ConfigError
from tests.support.families import CAPS, QWEN25, llama
from tests.support.tiny import save


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "model.chat_template: cannot read"),
        (" \n", "is empty"),
        ("{% for m in messages %}", "with model.chat_template cannot be used"),
        ("{{ raise_exception('never') }}", "with model.chat_template cannot be used: never"),
        ("Hello!", "the chat template does not render the user's turn"),
    ],
)
def test_an_unusable_template_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        config = ModelConfig(source="nano", dtype="float32", chat_template=str(file))
        models.check(models.resolve(config, Path("store")), "cpu", CAPS)
    assert message in str(refused.value)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    model = save(tmp_path, QWEN25, llama(vocab_size=256))
    with pytest.raises(ConfigError, match=r"its tokenizer writes token \d+, but its vocabulary ends before 256"):
        models.check(model, "cpu", CAPS)


def test_two_threads_that_are_the_first_to_check_a_model_both_can(tmp_path: Path) -> None:
    code = (
        "from concurrent.futures import ThreadPoolExecutor as Threads\n"
        "from pathlib import Path\n"
        "from ssb_core import models\n"
        "from ssb_core.config import ModelConfig\n"
        "nano = models.resolve(ModelConfig(source='nano', dtype='float32'), Path('store'))\n"
        "with Threads(8) as threads:\n"
        "    print(len(list(threads.map(lambda _: models.check(nano, 'cpu', {}), range(8)))))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("8\n", 0), done.stderr
