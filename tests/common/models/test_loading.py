"""What goes wrong with the files of a model: each one clear line."""

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from common.models.loading import check_complete, loading
from common.models.weights import Weights
from common.runtime.errors import ConfigurationError, TransientError


class Malicious:
    """Unpickled without limits it writes the file that its environment names."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ('touch "$MALICIOUS_TARGET"',)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    config = transformers.LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def weights(saved: Path, tmp_path: Path) -> Weights:
    folder = tmp_path / "weights"
    shutil.copytree(saved, folder)
    return Weights("owner/tiny", "main", folder)


def load(weights: Weights) -> Any:
    with loading(weights, "config.json"):
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            weights.folder, local_files_only=True, output_loading_info=True
        )
        check_complete(weights, info)
    return model


def refusal(weights: Weights) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load(weights)
    line = str(refused.value)
    assert "\n" not in line
    assert line.startswith("weights of owner/tiny")
    return line


def configure(weights: Weights, **changed: Any) -> None:
    path = weights.folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def test_whole_files_load(weights: Weights) -> None:
    assert load(weights).config.hidden_size == 16


def test_a_missing_config_is_no_default_architecture(weights: Weights) -> None:
    (weights.folder / "config.json").unlink()
    assert f"{weights.folder / 'config.json'} is missing" in refusal(weights)


def test_a_config_that_is_no_json(weights: Weights) -> None:
    (weights.folder / "config.json").write_text("{")
    assert "config.json' is not a valid JSON file" in refusal(weights)


def test_missing_tensors_file(weights: Weights) -> None:
    (weights.folder / "model.safetensors").unlink()
    assert "no file named model.safetensors" in refusal(weights)


@pytest.mark.parametrize("kept", [0, 20, -100])
def test_a_truncated_safetensors_file(weights: Weights, kept: int) -> None:
    path = weights.folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert f"in {weights.folder}: SafetensorError: " in refusal(weights)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hidden_size": 32}, "tensors of other shapes than its config.json says"),
        ({"num_hidden_layers": 2}, "lacks tensors of the model"),
        ({"model_type": "nonsense"}, "model type `nonsense`"),
        ({"hidden_act": "nonsense"}, "KeyError: 'nonsense'"),
        ({"num_hidden_layers": "x"}, "'num_hidden_layers'"),
    ],
)
def test_another_architecture(weights: Weights, changed: dict[str, Any], said: str) -> None:
    configure(weights, **changed)
    assert said in refusal(weights)


@pytest.mark.parametrize("by_torch", [True, False])
def test_a_malicious_pickle_does_not_run(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_torch: bool
) -> None:
    touched = tmp_path / "touched"
    monkeypatch.setenv("MALICIOUS_TARGET", str(touched))
    (weights.folder / "model.safetensors").unlink()
    path = weights.folder / "pytorch_model.bin"
    if by_torch:
        torch.save({"a": Malicious()}, path)
    else:
        path.write_bytes(pickle.dumps(Malicious()))
    line = refusal(weights)
    assert "refused, only tensors are ever unpickled" in line
    assert "weights_only" not in line
    assert not touched.exists()
    pickle.loads(pickle.dumps(Malicious()))
    assert touched.exists(), "the trap itself works"


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_a_broken_pickle(weights: Weights, content: bytes) -> None:
    (weights.folder / "model.safetensors").unlink()
    (weights.folder / "pytorch_model.bin").write_bytes(content)
    refusal(weights)


def test_a_state_that_does_not_fit_is_named(weights: Weights) -> None:
    with pytest.raises(ConfigurationError, match="Missing key") as refused, loading(weights):
        torch.nn.Linear(2, 3).load_state_dict({"weight": torch.zeros(1, 1)})
    assert "\n" not in str(refused.value)


def test_no_room_names_the_settings(weights: Weights) -> None:
    with pytest.raises(ConfigurationError, match=r"compute\.quantization"), loading(weights):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize("error", [TransientError("later"), torch.AcceleratorError("CUDA error: unspecified")])
def test_what_is_not_the_files_fault_passes(weights: Weights, error: Exception) -> None:
    with pytest.raises(type(error)) as raised, loading(weights):
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"missing_keys": ["d", "c", "b", "a"]}, r"lacks tensors of the model \(4\): a, b, c, \.\.\.$"),
        ({"missing_keys": set(), "mismatched_keys": {("a", (1,), (2,))}}, r"other shapes \(1\): a$"),
        ({"error_msgs": ["odd"]}, r"in part \(1\): odd$"),
    ],
)
def test_a_checkpoint_in_part(weights: Weights, info: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        check_complete(weights, info)
