"""What building a model makes of options that are not there, and of a device that can not do it."""

from typing import Any

import pytest

from common.models import registry
from common.runtime.errors import ConfigurationError
from common.runtime.exits import ExitCode, exit_code_of
from common.settings import ModelSettings, load_layers
from schemas.trail import ModelId

LIBRARY_ERROR = {"__module__": "torch"}


def building(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        identity = ModelId(role="ImageEncoder", id="owner/model", revision="abc")

        def warm_up(self) -> None:
            raise error

    def load(role: str, name: str) -> Any:
        return Failing

    monkeypatch.setattr(registry, "_load", load)
    registry.image_encoder(load_layers({}).common())


ENDPOINT = {"base_url": "http://127.0.0.1:1/v1", "model": "tiny", "prompt": {"text": "{caption}"}}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ENDPOINT, "setting `models.caption_editor.options.decoding`: missing, the adapter 'endpoint' needs it"),
        (
            {"prompt": ENDPOINT["prompt"], "decoding": {"max_new_tokens": 8}},
            "settings `models.caption_editor.options.base_url`, `models.caption_editor.options.model`: missing, the adapter "
            "'endpoint' needs them",
        ),
        (
            ENDPOINT | {"decoding": {"temperature": 0.5}},
            "setting `models.caption_editor.options.decoding.max_new_tokens`: missing, the adapter 'endpoint' needs it",
        ),
        (
            ENDPOINT | {"prompt": {}},
            "setting `models.caption_editor.options.prompt.text`: missing, the adapter 'endpoint' needs it",
        ),
        # A word that is not known comes first: it may be the one that is missed.
        (
            {"modle": "tiny"},
            "setting `models.caption_editor.options`: found `modle`, expected one of api_key, base_url, concurrency, "
            "decoding, model, prompt, timeout_s",
        ),
    ],
)
def test_an_option_that_is_missing_is_named(options: Any, said: str) -> None:
    common = load_layers({}).common()
    chosen = ModelSettings(adapter="endpoint", options=options)
    common = common.model_copy(update={"models": common.models.model_copy(update={"caption_editor": chosen})})
    with pytest.raises(ConfigurationError) as refused:
        registry.caption_editor(common)
    assert str(refused.value) == said


@pytest.mark.parametrize("kind", [type("OutOfMemoryError", (RuntimeError,), LIBRARY_ERROR), MemoryError])
def test_a_call_that_does_not_fit_names_the_settings(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError) as refused:
        building(kind("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has a total of 24 GiB"), monkeypatch)
    said = str(refused.value)
    assert said.startswith(
        "settings `models.image_encoder.options` and `compute`: cpu has room for the weights of owner/"
    )
    assert said.endswith("(CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of 24 GiB)")
    assert "\n" not in said


def test_numbers_that_are_too_narrow_are_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"^setting `compute.dtype`: found float32: no numbers$"):
        building(FloatingPointError("no numbers"), monkeypatch)


def test_a_device_that_is_lost_before_the_first_record(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = type("AcceleratorError", (RuntimeError,), LIBRARY_ERROR)
    with pytest.raises(lost) as raised:
        building(lost("CUDA error: uncorrectable ECC error encountered"), monkeypatch)
    assert exit_code_of(raised.value) is ExitCode.DEVICE


def test_other_errors_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyError):
        building(KeyError("no such layer"), monkeypatch)
