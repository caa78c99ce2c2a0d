"""LLaVA-NeXT's describers on a tiny checkpoint: what they compute, keep and refuse. Their captions: tests/parity."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPVisionConfig, LlamaConfig

from common.models import quantization, registry
from common.models.conversation import picture_question
from common.models.llava_next import difference_describer, region_describer
from common.models.llava_next.batches import bounded
from common.models.llava_next.difference_describer import LlavaNextDifferenceDescriber
from common.models.llava_next.model import LlavaNext, bytes_per_token
from common.models.llava_next.prefix import Prefix, PrefixCache
from common.models.llava_next.region_describer import LlavaNextRegionDescriber
from common.models.llava_next.room import PREFIX_BYTES
from common.models.prompts import Decoding
from common.models.protocols import DifferenceRequest, RegionRequest
from common.models.weights import Weights
from common.runtime.errors import ConfigurationError
from common.runtime.stage import Emit, Task
from common.settings import ComputeSettings, load_layers
from schemas.boxes import DifferenceBox
from schemas.geometry import Box
from schemas.scores import Bounds
from tests.tiny import llava
from tests.workers.fakes import HEIGHT, WIDTH, FakeMatcher, FakeTextEncoder, box, box_record, picture
from workers.region_captions.settings import RegionCaptionsSettings
from workers.region_captions.stage import RegionCaptionsStage

BYTES_PER_TOKEN = 2 * 3 * 2 * 16 * 4
"""Keys and values, 3 layers, 2 heads of 16 numbers, float32."""

SAMPLED = Decoding(max_new_tokens=8, temperature=1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    saved = tmp_path_factory.mktemp("llava")
    llava.save(saved)
    return saved


@pytest.fixture
def weights(folder: Path) -> Weights:
    return Weights("tiny/llava", "7", folder)


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Weights:
    """Weights of one's own, to be broken."""
    shutil.copytree(folder, tmp_path / "weights")
    return Weights("tiny/llava", "7", tmp_path / "weights")


def regions(weights: Weights, compute: ComputeSettings | None = None, **options: Any) -> LlavaNextRegionDescriber:
    given = {"prompt": llava.REGION_PROMPT, "template": llava.VICUNA_V1, "decoding": llava.GREEDY, **options}
    return LlavaNextRegionDescriber(weights, compute or ComputeSettings(), **given)


def differences(weights: Weights, **options: Any) -> LlavaNextDifferenceDescriber:
    given = {"prompt": llava.DIFFERENCE_PROMPT, "template": llava.VICUNA_V1, "decoding": llava.GREEDY, **options}
    return LlavaNextDifferenceDescriber(weights, ComputeSettings(), **given)


def noise(number: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


BOXES = [box(0, 0, 20, 20), box(10, 5, 50, 35), box(30, 20, 60, 40), box(0, 20, 30, 40), box(0, 0, 60, 40)]


def request(number: int, boxes: Sequence[Box] = BOXES) -> RegionRequest:
    return RegionRequest(noise(number), boxes, list(range(len(boxes))))


def texts(describer: LlavaNextRegionDescriber, *requests: RegionRequest) -> list[list[str]]:
    return [[each.text for each in own] for own in describer.describe_regions(requests)]


@dataclass
class Work:
    """What a describer's model was made to do."""

    encoded: int = 0
    """Pictures that went through the vision tower."""
    batches: list[tuple[int, int]] = field(default_factory=list)
    """Rows and key-value bytes of each batch in the end."""


@contextmanager
def watched(model: LlavaNext) -> Iterator[Work]:
    work = Work()
    generate = model.model.generate

    def encode(*_: Any) -> None:
        work.encoded += 1

    def generated(*args: Any, **kwargs: Any) -> Any:
        result = generate(*args, return_dict_in_generate=True, **kwargs)
        layers = result.past_key_values.layers
        # One token more than was read: the last one is said, and not read again.
        work.batches.append(
            (
                len(layers[0].keys),
                sum(
                    each.nbytes // each.shape[-2] * (each.shape[-2] + 1) for x in layers for each in (x.keys, x.values)
                ),
            )
        )
        return result.sequences

    hook = model.model.model.vision_tower.register_forward_pre_hook(encode)
    model.model.generate = generated
    try:
        yield work
    finally:
        hook.remove()
        del model.model.generate


def test_the_stage_encodes_two_pictures_per_pair_however_its_boxes_are_batched(weights: Weights) -> None:
    """Two pairs of five boxes, four records at a time: both pairs' boxes are cut by a batch's end."""
    describer = regions(weights)
    open_settings = RegionCaptionsSettings(text_match=Bounds(), text_similarity=Bounds())
    stage = RegionCaptionsStage(open_settings, describer, FakeMatcher(), FakeTextEncoder())
    pairs = [{side: picture(noise(10 * number + i)) for i, side in enumerate(("first", "second"))} for number in (1, 2)]
    tasks: list[Task[DifferenceBox]] = [
        Task(box_record(where, number, index), pictures)
        for number, pictures in enumerate(pairs)
        for index, where in enumerate(BOXES)
    ]
    with watched(describer.llava) as work:
        outcomes = [outcome for start in (0, 4, 8) for outcome in stage.process(tasks[start : start + 4])]
    assert [type(outcome) for outcome in outcomes] == [Emit] * 10
    assert work.encoded == 2 * len(pairs)


@pytest.mark.parametrize("prefix_bytes", [0, 4 * 2**30])
def test_a_picture_is_encoded_once_for_all_its_boxes_whatever_is_kept(weights: Weights, prefix_bytes: int) -> None:
    describer = regions(weights, kv_bytes=1, prefix_bytes=prefix_bytes)
    with watched(describer.llava) as work:
        describer.describe_regions([request(0), request(1)])
        assert work.encoded == 2
        describer.describe_regions([request(1)])
        assert work.encoded == (3 if prefix_bytes == 0 else 2)


def test_a_pair_of_the_largest_published_model_is_kept() -> None:
    """Two square pictures of 1024 pixels, each the whole and 2 x 2 tiles of 24 x 24 patches with a line's end a row."""
    tokens = 24 * 24 + 48 * 48 + 48
    vicuna_13b = LlamaConfig(hidden_size=5120, num_hidden_layers=40, num_attention_heads=40)
    assert 2 * tokens * bytes_per_token(vicuna_13b, torch.float16) < 0.95 * PREFIX_BYTES


def test_no_batch_has_more_keys_and_values_than_it_may(weights: Weights) -> None:
    limit = 280 * BYTES_PER_TOKEN
    describer = regions(weights, kv_bytes=limit)
    assert describer.llava.bytes_per_token == BYTES_PER_TOKEN
    requests = [request(0), RegionRequest(noise(1, (90, 40)), [Box(x0=0, y0=0, x1=9, y1=9, width=90, height=40)], [0])]
    with watched(describer.llava) as work:
        found = texts(describer, *requests)
    assert [rows for rows, _ in work.batches] == [2, 2, 2]
    assert all(0.5 * limit < size <= limit for _, size in work.batches)
    assert found == texts(regions(weights), *requests)


def test_differences_are_batched_under_the_same_bound(weights: Weights) -> None:
    limit = 320 * BYTES_PER_TOKEN
    describer = differences(weights, kv_bytes=limit)
    with watched(describer.llava) as work:
        describer.describe_differences([difference(number) for number in range(5)])
    assert work.encoded == 5
    assert [rows for rows, _ in work.batches] == [3, 2]
    assert all(size <= limit for _, size in work.batches)


def difference(number: int, first: str = "a brown dog", second: str = "a cat") -> DifferenceRequest:
    composite = noise(number, (140, 60))
    return DifferenceRequest(composite, composite, composite, first, second, seed=number)


def test_no_request_and_no_box_cost_nothing(weights: Weights) -> None:
    describer = regions(weights)
    with watched(describer.llava) as work:
        assert texts(describer) == []
        assert texts(describer, request(0, [])) == [[]]
    assert work == Work()
    assert differences(weights).describe_differences([]) == []


def test_rows_that_fit_share_a_batch_and_one_that_never_fits_is_alone() -> None:
    def cost(rows: Sequence[int]) -> int:
        return len(rows) * max(rows)

    assert list(bounded([2, 2, 3, 50, 1, 1], cost, 9)) == [[2, 2, 3], [50], [1, 1]]
    assert list(bounded([], cost, 9)) == []


def test_what_was_asked_for_longest_ago_is_forgotten_first() -> None:
    def prefix(tokens: int) -> Prefix:
        return Prefix([torch.zeros(1, 1, tokens, 1)], [torch.zeros(1, 1, tokens, 1)])

    cache = PrefixCache(limit=prefix(10).size)
    cache.put(b"a", prefix(4))
    cache.put(b"b", prefix(4))
    assert cache.get(b"a") is not None
    cache.put(b"c", prefix(4))
    assert [cache.get(key) is not None for key in (b"a", b"b", b"c")] == [True, False, True]
    cache.put(b"too large", prefix(11))
    assert [cache.get(key) is not None for key in (b"a", b"c", b"too large")] == [True, True, False]
    cache.put(b"all", prefix(10))
    assert [cache.get(key) is not None for key in (b"a", b"c", b"all")] == [False, False, True]


def test_a_warm_up_leaves_nothing_behind(weights: Weights) -> None:
    describer = regions(weights)
    before = texts(describer, request(0))
    describer.warm_up()
    with watched(describer.llava) as work:
        assert texts(describer, request(0)) == before
    assert work.encoded == 1
    differences(weights).warm_up()


@pytest.mark.parametrize("kind", [regions, differences])
def test_a_warm_up_on_a_gpu_tries_a_full_batch(
    kind: Callable[..., Any], weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not fit is found out before the first record."""
    for module in (region_describer, difference_describer):
        monkeypatch.setattr(module, "trial_size", lambda size, device: size)
    limit = 600 * BYTES_PER_TOKEN
    describer = kind(weights, kv_bytes=limit)
    with watched(describer.llava) as work:
        describer.warm_up()
    ((rows, size),) = work.batches
    one_more = (rows + 1) * (size // rows + llava.GREEDY.max_new_tokens * BYTES_PER_TOKEN)
    assert rows > 1
    assert size <= limit < one_more
    small = kind(weights, kv_bytes=1)
    with watched(small.llava) as work:
        small.warm_up()
    assert [rows for rows, _ in work.batches] == [1]


def test_a_sampled_caption_depends_on_its_own_seed_alone(weights: Weights) -> None:
    describer = regions(weights, decoding=SAMPLED)
    together = texts(describer, request(0), request(1))
    torch.manual_seed(1)
    alone = [
        [
            texts(describer, RegionRequest(own.image, [where], [seed]))[0][0]
            for where, seed in zip(BOXES, own.seeds, strict=True)
        ]
        for own in (request(0), request(1))
    ]
    assert together == alone
    (reseeded,) = texts(describer, replace(request(0), seeds=[7, 8, 9, 10, 11]))
    assert all(a != b for a, b in zip(reseeded, together[0], strict=True))
    (same,) = texts(describer, RegionRequest(noise(0), [BOXES[0]] * 4, [3, 3, 4, 5]))
    assert same[0] == same[1]
    assert len(set(same)) == 3


GOLDEN_BEFORE = (1, 355, 394, 400, 356, 497, 358, 357, 378, 273, 370, 285, 259)
GOLDEN_AFTER = (
    *(354, 295, 328, 342, 326, 341, 332, 325, 328, 485, 460),  # \n D e s c r i b e _the _region
    *(259, 318, 275, 273, 276, 279, 271, 259, 275, 273, 279, 280, 271),  # _ [ 0 . 1 4 , _ 0 . 4 5 ,
)


def test_the_template_gives_the_published_form_and_these_tokens(weights: Weights) -> None:
    describer = regions(weights)
    asked = describer.llava.question(llava.REGION_PROMPT, llava.VICUNA_V1, {"box": "[0.14, 0.45, 0.50, 1.00]"})
    assert asked.before == GOLDEN_BEFORE
    assert asked.after[: len(GOLDEN_AFTER)] == GOLDEN_AFTER
    tokenizer = llava.llama_tokenizer()
    whole = [*asked.before, describer.llava.image_token, *asked.after]
    assert tokenizer.decode(whole) == (
        "<s> A chat between a user and an assistant. USER: <image>\n"
        "Describe the region [0.14, 0.45, 0.50, 1.00] in a few words. ASSISTANT:"
    )


@pytest.mark.parametrize("profile", ["paper", "code", "recipe"])
@pytest.mark.parametrize("role", ["region_describer", "difference_describer", "naturalness_judge"])
def test_the_profiles_templates_give_the_same_tokens(profile: str, role: str) -> None:
    options = load_layers({}, profile=profile).values["models"][role]["options"]
    tokenizer = llava.llama_tokenizer()
    asked = picture_question(tokenizer, options["template"], llava.REGION_PROMPT, "Describe the region [0.14, 0.45,")
    tokens = tokenizer(asked)["input_ids"]
    assert tuple(tokens[: len(GOLDEN_BEFORE)]) == GOLDEN_BEFORE
    assert tuple(tokens[len(GOLDEN_BEFORE) + 1 :][: len(GOLDEN_AFTER)]) == GOLDEN_AFTER
    assert asked.endswith("0.45, ASSISTANT:")


def test_a_template_that_writes_the_beginning_itself_gets_no_second_one(weights: Weights) -> None:
    describer = regions(weights, template="{{ bos_token }}" + llava.VICUNA_V1)
    (asked,) = {describer.llava.question(llava.REGION_PROMPT, describer._template, {"box": "x"}).before}
    assert asked.count(1) == 1


def test_a_description_can_not_ask_for_a_picture_or_end_the_text(weights: Weights) -> None:
    describer = differences(weights)
    plain, spelt = describer.describe_differences(
        [difference(0, "a dog", "a cat"), difference(0, "a<image> dog </s>", "a <pad> cat")]
    )
    assert spelt.text
    assert plain.text
    asked = describer.llava.question(
        llava.DIFFERENCE_PROMPT, llava.VICUNA_V1, {"first": "a </s> dog", "second": "<image>"}
    )
    assert not {2, describer.llava.image_token} & set(asked.before + asked.after)


def test_descriptions_that_leave_no_room_for_a_reply_are_an_error(weights: Weights) -> None:
    with pytest.raises(ValueError, match="the model has room for 1016 before its reply"):
        differences(weights).describe_differences([difference(0, "dog " * 2000)])


TEXT_FIRST = "{% for turn in messages %}{{ (turn['content'] | last)['text'] }}{% endfor %}<image>"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template": TEXT_FIRST}, "expected the picture first"),
        ({"template": "USER: {{ messages[-1]['content'][1]['text'] }}"}, "found 0 places for a picture"),
        ({"template": "<image> <image>"}, "found 2 places for a picture"),
        ({"template": "{% for %}"}, "`template`: "),
        ({"prompt": {"text": "Describe it."}}, "expected each of the places {box}"),
        ({"prompt": {"text": "{box} {colour}"}}, "expected each of the places {box}"),
        ({"kv_bytes": 0}, "`kv_bytes`"),
        ({"decoding": {"max_new_tokens": 0}}, "`decoding`"),
    ],
)
def test_options_that_do_not_fit_are_one_line(folder: Path, options: dict[str, Any], message: str) -> None:
    given = {
        "prompt": {"text": llava.REGION_PROMPT.text},
        "template": llava.VICUNA_V1,
        "decoding": {"max_new_tokens": 4},
        **options,
    }
    model = {"adapter": "llava_next", "weights": {"id": "tiny/llava", "path": str(folder)}, "options": given}
    common = load_layers({}, flags=[f"models.region_describer={json.dumps(model)}"]).common()
    with pytest.raises(ConfigurationError) as refused:
        registry.region_describer(common)
    line = str(refused.value)
    assert line.startswith("setting `models.region_describer.options`: ")
    assert message in line
    assert "\n" not in line


def test_it_is_built_from_settings_and_warmed_up(folder: Path) -> None:
    options = {
        "prompt": {"text": "From {first} to {second}"},
        "template": llava.VICUNA_V1,
        "decoding": {"max_new_tokens": 4},
    }
    model = {"adapter": "llava_next", "weights": {"id": "tiny/llava", "path": str(folder)}, "options": options}
    common = load_layers({}, flags=[f"models.difference_describer={json.dumps(model)}"]).common()
    describer = registry.difference_describer(common)
    assert describer.identity.role == "DifferenceDescriber"
    assert describer.identity.id == "tiny/llava"
    assert describer.identity.variant == "float32, kv 8589934592"


def refusal(weights: Weights, compute: ComputeSettings | None = None) -> str:
    with pytest.raises(ConfigurationError) as refused:
        regions(weights, compute)
    line = str(refused.value)
    assert "\n" not in line
    return line


def test_a_truncated_file_is_one_line(copied: Weights) -> None:
    path = copied.file("model.safetensors")
    path.write_bytes(path.read_bytes()[:-1000])
    assert refusal(copied).startswith(f"weights of tiny/llava in {copied.folder}: ")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"])
def test_a_missing_file_is_one_line(copied: Weights, name: str) -> None:
    copied.file(name).unlink()
    assert refusal(copied).startswith("weights of tiny/llava")


def test_another_architecture_is_one_line(copied: Weights) -> None:
    config = json.loads(copied.file("config.json").read_text())
    copied.file("config.json").write_text(json.dumps({**config, "model_type": "llava"}))
    assert refusal(copied).endswith("found a model of type 'llava', expected 'llava_next'")
    CLIPVisionConfig().save_pretrained(copied.folder)
    assert "expected 'llava_next'" in refusal(copied)


def test_a_layer_more_than_there_are_weights_for_is_one_line(copied: Weights) -> None:
    config = json.loads(copied.file("config.json").read_text())
    config["text_config"]["num_hidden_layers"] += 1
    copied.file("config.json").write_text(json.dumps(config))
    assert "the checkpoint lacks tensors of the model" in refusal(copied)


def test_settings_of_the_checkpoint_do_not_decode(copied: Weights, weights: Weights) -> None:
    """Hub checkpoints bring a temperature, a penalty, a length: what counts is the profile's decoding."""
    path = copied.file("generation_config.json")
    own = {"do_sample": True, "temperature": 0.7, "repetition_penalty": 3.0, "max_length": 2, "num_beams": 2}
    path.write_text(json.dumps({**json.loads(path.read_text()), **own}))
    assert texts(regions(copied), request(0)) == texts(regions(weights), request(0))


def test_pictures_are_prepared_by_pil(weights: Weights) -> None:
    """The one tile of a square picture of its size, by hand: transformers' default backend is 1e-2 away when it scales."""
    model = LlavaNext(weights, ComputeSettings())
    image = noise(3, (300, 300))
    prepared = model._processor.image_processor(images=[image], return_tensors="np")["pixel_values"][0][0]
    scaled = np.asarray(image.resize((llava.TILE, llava.TILE), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    assert np.abs(prepared - ((scaled - mean) / std).transpose(2, 0, 1)).max() < 1e-5


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_the_language_model_is_loaded_in_few_bits_and_the_vision_tower_is_not(weights: Weights, bits: Any) -> None:
    describer = regions(weights, ComputeSettings(quantization=bits))
    assert describer.identity.variant.startswith(f"float32, {bits}")
    linear = {
        part: {
            type(module).__name__
            for name, module in tower.named_modules()
            if name.endswith(("proj", "linear_1", "fc1"))
        }
        for part, tower in describer.llava.model.model.named_children()
    }
    assert linear["vision_tower"] == linear["multi_modal_projector"] == {"Linear"}
    assert linear["language_model"] == {"Linear8bitLt" if bits == "8bit" else "Linear4bit"}
    assert all(text for own in texts(describer, request(0, BOXES[:2])) for text in own)


def test_few_bits_without_the_package_or_for_a_device_it_does_not_serve_are_one_line(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    import bitsandbytes

    monkeypatch.setattr(bitsandbytes, "supported_torch_devices", {"cuda"})
    assert "does not serve `compute.device=cpu`" in refusal(weights, ComputeSettings(quantization="8bit"))
    monkeypatch.setattr(quantization, "find_spec", lambda _: None)
    assert "pip install 'imgdiff[quantized]'" in refusal(weights, ComputeSettings(quantization="4bit"))


def test_sixteen_bits(weights: Weights) -> None:
    describer = regions(weights, ComputeSettings(dtype="bfloat16"))
    assert describer.llava.bytes_per_token == BYTES_PER_TOKEN // 2
    found = texts(describer, request(0))
    assert all(found[0])
    assert describer.identity.variant.startswith("bfloat16")
    assert all(a != b for a, b in pairwise(found[0]))
