"""The published profiles: whole, fitting the adapters that they name, and known to nobody else."""

import ast
import os
import subprocess
import sys
from dataclasses import fields, is_dataclass
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import TypeAdapter, ValidationError

from common.models import registry
from common.models.prompts import Decoding, Prompt
from common.settings import CommonSettings, ModelSettings, ModelsSettings, load_layers

PROFILES = ("paper", "code", "recipe")
ROLES = tuple(ModelsSettings.model_fields)
ROOT = Path(__file__).parents[2]

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and "
    "polite answers to the user's questions."
)
"""What Vicuna and LLaVA on Vicuna were trained with."""

PLACES = {
    "caption_editor": ("caption",),
    "region_describer": ("box",),
    "difference_describer": ("first", "second"),
    "naturalness_judge": (),
}
"""Which places the prompt of a role has."""


@cache
def common_of(profile: str) -> CommonSettings:
    return load_layers({}, profile=profile).common()


def model_of(profile: str, role: str) -> ModelSettings:
    model: ModelSettings | None = getattr(common_of(profile).models, role)
    assert model is not None, f"{profile} has no {role}"
    return model


def in_every_profile(test: Any) -> Any:
    return pytest.mark.parametrize("role", ROLES)(pytest.mark.parametrize("profile", PROFILES)(test))


# Models


@in_every_profile
def test_every_option_is_one_of_the_adapter_and_none_that_it_needs_is_missing(profile: str, role: str) -> None:
    """As the registry reads them, without building a model."""
    model = model_of(profile, role)
    adapter = registry._load(role, model.adapter)
    typed = registry._typed(adapter, model.options)
    required = {
        name
        for name, kind in signature(adapter.__init__).parameters.items()
        if kind.default is kind.empty and name not in {"self", "weights", "compute"}
    }
    assert required <= typed.keys()
    for name, value in typed.items():
        if is_dataclass(value):
            assert set(model.options[name]) <= {field.name for field in fields(value)}


@in_every_profile
def test_an_adapter_gets_weights_where_it_asks_for_them(profile: str, role: str) -> None:
    model = model_of(profile, role)
    assert "weights" in get_type_hints(registry._load(role, model.adapter).__init__)
    assert model.weights is not None
    assert model.weights.revision == "main"
    assert model.weights.path is None


@pytest.mark.parametrize("role", PLACES)
@pytest.mark.parametrize("profile", PROFILES)
def test_prompts_have_the_places_that_their_role_fills(profile: str, role: str) -> None:
    prompt = Prompt(**model_of(profile, role).options["prompt"])
    prompt.require(*PLACES[role])
    assert prompt.system == SYSTEM


@pytest.mark.parametrize("profile", PROFILES)
def test_one_model_has_one_source_whatever_its_roles(profile: str) -> None:
    sources: dict[str, Any] = {}
    for role in ROLES:
        source = model_of(profile, role).weights
        assert source is not None
        assert sources.setdefault(source.id, source) == source


@pytest.mark.parametrize("profile", PROFILES)
def test_pickles_are_only_named_beside_safetensors_or_for_a_model_that_has_nothing_else(profile: str) -> None:
    for role in ROLES:
        source = model_of(profile, role).weights
        assert source is not None
        pickled = [place for place, name in enumerate(source.files) if name.endswith((".bin", ".pt"))]
        if pickled and source.url is None:
            assert source.files.index("*.safetensors") < min(pickled)


MODELS = {
    "caption_editor": ("lmsys/vicuna-13b-v1.5", "lmsys/vicuna-7b-v1.5", "Qwen/Qwen2-7B-Instruct"),
    "pair_generator": ("stabilityai/stable-diffusion-xl-base-1.0",) * 3,
    "image_encoder": ("timm/vit_base_patch32_clip_224.openai",) * 3,
    "text_encoder": ("timm/vit_base_patch32_clip_224.openai",) * 3,
    "segmenter": ("ultralytics/FastSAM-x",) * 3,
    "image_text_matcher": ("Salesforce/blip-itm-large-coco",) * 2 + ("Salesforce/blip-itm-base-coco",),
    "region_describer": ("llava-hf/llava-v1.6-vicuna-13b-hf",) + ("llava-hf/llava-v1.6-vicuna-7b-hf",) * 2,
    "difference_describer": ("llava-hf/llava-v1.6-vicuna-13b-hf",) + ("llava-hf/llava-v1.6-vicuna-7b-hf",) * 2,
    "naturalness_judge": ("llava-hf/llava-v1.6-vicuna-13b-hf",) + ("llava-hf/llava-v1.6-vicuna-7b-hf",) * 2,
}
"""papers.md 1.2 to 1.7, in the order of PROFILES. The judge is ours."""

DECODING = {
    "caption_editor": (Decoding(128, 0.8, 0.6), Decoding(128, 0.8, 0.6), Decoding(512, 0.9, 0.95)),
    "region_describer": (Decoding(64), Decoding(64), Decoding(1024)),
    "difference_describer": (Decoding(128), Decoding(128), Decoding(1024)),
}
"""papers.md 1.2, 1.6 and 1.7, in the order of PROFILES."""

OPTIONS = {
    "pair_generator": ({"steps": 50, "guidance": 7.5, "self_replace": 0.4, "cross_replace": 1.0},) * 3,
    "segmenter": ({"image_size": 1024, "confidence": 0.05, "iou": 0.5},) * 3,
}
"""papers.md 1.3, and 1.5 step 2."""


@pytest.mark.parametrize(("place", "profile"), list(enumerate(PROFILES)))
def test_models_decoding_and_options_are_the_published_ones(place: int, profile: str) -> None:
    for role, ids in MODELS.items():
        source = model_of(profile, role).weights
        assert source is not None
        assert source.id == ids[place]
    for role, decodings in DECODING.items():
        assert Decoding(**model_of(profile, role).options["decoding"]) == decodings[place]
    for role, options in OPTIONS.items():
        assert options[place].items() <= model_of(profile, role).options.items()
    compute = common_of(profile).compute
    assert (compute.device, compute.dtype) == ("cuda", "float16")


def test_what_only_the_authors_code_does() -> None:
    swapped = [model_of(profile, "segmenter").options["swap_channels"] for profile in PROFILES]
    assert swapped == [False, True, False]
    words = [model_of(profile, "pair_generator").options.get("cross_replace_words") for profile in PROFILES]
    assert words == [None, {"confetti": 0.8}, {"confetti": 0.8}]


@pytest.mark.parametrize("kind", [Decoding, Prompt])
def test_a_misspelt_part_of_an_option_is_refused(kind: type) -> None:
    """`temprature = 0.8` must not quietly mean greedy."""
    right = {"max_new_tokens": 1} if kind is Decoding else {"text": "x"}
    TypeAdapter(kind).validate_python(right)
    with pytest.raises(ValidationError, match="temprature"):
        TypeAdapter(kind).validate_python({**right, "temprature": 0.8})


# Another adapter in the place of the profile's


@pytest.mark.parametrize("first", ["adapter", "options"])
def test_another_adapter_gets_the_prompt_and_the_decoding_but_nothing_else(first: str) -> None:
    """Whatever comes first on the command line."""
    flags = ["models.caption_editor.adapter=endpoint", "models.caption_editor.options.model=qwen"]
    layers = load_layers({}, flags=flags if first == "adapter" else flags[::-1], profile="paper")
    editor = layers.common().models.caption_editor
    own = model_of("paper", "caption_editor").options
    assert editor.weights is None
    assert editor.options == {"prompt": own["prompt"], "decoding": own["decoding"], "model": "qwen"}
    registry._typed(registry._load("caption_editor", "endpoint"), editor.options)
    assert layers.common().models.region_describer == model_of("paper", "region_describer")


def test_who_does_without_ultralytics_names_another_segmenter_and_its_weights(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[models.segmenter]\nadapter = "sam"\nweights = { id = "facebook/sam-vit-base" }\n')
    layers = load_layers({}, file, profile="code")
    segmenter = layers.common().models.segmenter
    assert segmenter == ModelSettings.model_validate({"adapter": "sam", "weights": {"id": "facebook/sam-vit-base"}})
    registry._typed(registry._load("segmenter", "sam"), segmenter.options)
    assert not any("segmenter.options" in key for key in layers.origins)


def test_the_profiles_own_adapter_named_again_keeps_its_options() -> None:
    layers = load_layers({"IMGDIFF_MODELS__SEGMENTER__ADAPTER": "fastsam"}, profile="code")
    assert layers.common().models.segmenter == model_of("code", "segmenter")


def test_the_last_word_on_an_adapter_counts() -> None:
    flags = ["models.segmenter.adapter=sam", "models.segmenter.adapter=fastsam"]
    assert load_layers({}, flags=flags, profile="code").common().models.segmenter == model_of("code", "segmenter")


@pytest.mark.parametrize("wrong", ["models=1", "models.segmenter=1", "models.segmenter.adapter=1"])
def test_a_value_where_a_table_belongs_is_still_named(wrong: str) -> None:
    key = wrong.partition("=")[0]
    layers = load_layers({}, flags=[wrong], profile="code")
    assert layers.origins[key] == f"--set {key}"


# Templates


def rendered(template: str, messages: list[dict[str, Any]]) -> str:
    """As transformers renders a chat template."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(
        messages=messages, bos_token="<s>", eos_token="</s>", add_generation_prompt=True
    )


@pytest.mark.parametrize("profile", ["paper", "code"])
def test_the_template_of_vicuna(profile: str) -> None:
    template = model_of(profile, "caption_editor").options["template"]
    system, user, reply = (
        {"role": r, "content": c} for r, c in (("system", "S."), ("user", "Q?"), ("assistant", "A."))
    )
    assert rendered(template, [system, user]) == "<s> S. USER: Q? ASSISTANT:"
    assert rendered(template, [user]) == "<s> USER: Q? ASSISTANT:"
    assert rendered(template, [system, user, reply, user]) == "<s> S. USER: Q? ASSISTANT: A.</s>USER: Q? ASSISTANT:"


def test_the_recipes_chat_model_brings_its_own_template() -> None:
    assert "template" not in model_of("recipe", "caption_editor").options


@pytest.mark.parametrize("role", ["region_describer", "difference_describer", "naturalness_judge"])
@pytest.mark.parametrize("profile", PROFILES)
def test_the_template_of_llava_on_vicuna(profile: str, role: str) -> None:
    template = model_of(profile, role).options["template"]
    system = {"role": "system", "content": [{"type": "text", "text": "S."}]}
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Q?"}]}
    reply = {"role": "assistant", "content": [{"type": "text", "text": "A."}]}
    assert rendered(template, [system, user]) == "S. USER: <image>\nQ? ASSISTANT:"
    again = "S. USER: <image>\nQ? ASSISTANT: A.</s>USER: <image>\nQ? ASSISTANT:"
    assert rendered(template, [system, user, reply, user]) == again


# Nobody else


def test_no_module_but_settings_and_ops_names_a_profile() -> None:
    for package in ("schemas", "common", "workers"):
        for path in (ROOT / package).rglob("*.py"):
            if path != ROOT / "common" / "settings.py":
                named = {
                    node.value
                    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in PROFILES
                }
                assert not named, f"{path.relative_to(ROOT)} names {named}"


def test_no_module_but_ops_decides_by_the_profile() -> None:
    for package in ("schemas", "common", "workers"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                parts = [getattr(node, part, None) for part in ("test", "subject")]
                asked = [node] if isinstance(node, ast.Compare) else [part for part in parts if part is not None]
                names = {n.attr for part in asked for n in ast.walk(part) if isinstance(n, ast.Attribute)}
                assert "profile" not in names, f"{path.relative_to(ROOT)} decides by the profile"


@pytest.mark.parametrize("profile", PROFILES)
def test_settings_are_shown_without_any_model_library(profile: str, tmp_path: Path) -> None:
    for name in ("torch", "transformers", "diffusers", "open_clip", "ultralytics", "openai"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('no {name} here', name={name!r})")
    shown = subprocess.run(
        [sys.executable, "-c", "from ops.cli.main import main; main()", "settings", "--profile", profile, "--changed"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert f"profile {profile}" in shown.stdout
    assert "max_new_tokens" in shown.stdout
