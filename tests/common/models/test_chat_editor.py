"""The chat editor: what it says to the model, what it makes of the reply, and what it refuses to load."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, LlamaTokenizer

from common.models import registry
from common.models.chat_editor import ChatCaptionEditor
from common.models.chat_template import ChatTemplate
from common.models.prompts import Decoding, Prompt
from common.models.protocols import CaptionEditor, EditRequest, WarmsUp
from common.models.weights import Weights
from common.runtime.errors import ConfigurationError
from common.settings import ComputeSettings, load_layers
from tests.tiny import llama

CAPTION = EditRequest("A dog sits on a sofa.", 7)
GREEDY = Decoding(max_new_tokens=12)
SAMPLED = Decoding(max_new_tokens=12, temperature=1.0, top_p=0.95)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    llama.save(folder)
    return folder


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint to break."""
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def editor(folder: Path, **options: Any) -> ChatCaptionEditor:
    given: dict[str, Any] = {
        "weights": Weights("lmsys/vicuna-7b-v1.5", "abc123", folder),
        "compute": ComputeSettings(),
        "prompt": llama.PROMPT,
        "decoding": GREEDY,
        "template": llama.VICUNA,
    }
    return ChatCaptionEditor(**(given | options))


PUBLISHED_PIECES = {
    319: "▁A", 13563: "▁chat", 1546: "▁between", 263: "▁a", 12758: "▁curious", 1404: "▁user", 322: "▁and", 385: "▁an",
    23116: "▁artificial", 21082: "▁intelligence", 20255: "▁assistant", 29889: ".", 450: "▁The", 4076: "▁gives",
    8444: "▁helpful", 29892: ",", 13173: "▁detailed", 1248: "▁pol", 568: "ite", 6089: "▁answers", 304: "▁to", 278: "▁the",
    29915: "'", 29879: "s", 5155: "▁questions", 3148: "▁US", 1001: "ER", 29901: ":", 11644: "▁Who", 526: "▁are",
    366: "▁you", 29973: "?", 1799: "SS", 9047: "IST", 13566: "ANT", 29871: "▁",
}  # fmt: skip
"""Of Llama's 32,000 pieces those that the prompt below is made of."""

PUBLISHED_PROMPT = [
    1, 319, 13563, 1546, 263, 12758, 1404, 322, 385, 23116, 21082, 20255, 29889, 450, 20255, 4076, 8444, 29892, 13173,
    29892, 322, 1248, 568, 6089, 304, 278, 1404, 29915, 29879, 5155, 29889, 3148, 1001, 29901, 11644, 526, 366, 29973, 319,
    1799, 9047, 13566, 29901,
]  # fmt: skip
"""What those who train and run Vicuna print for the question "Who are you?"."""


def part_of_llamas_tokenizer(legacy: bool) -> LlamaTokenizer:
    """Llama's own ids for PUBLISHED_PIECES; each is merged from the left."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {piece: number for number, piece in PUBLISHED_PIECES.items()}
    merges = []
    for piece in PUBLISHED_PIECES.values():
        for end in range(1, len(piece)):
            for part in (piece[:end], piece[end], piece[: end + 1]):
                vocabulary.setdefault(part, 40_000 + len(vocabulary))
            if (piece[:end], piece[end]) not in merges:
                merges.append((piece[:end], piece[end]))
    return LlamaTokenizer(vocab=vocabulary, merges=merges, legacy=legacy)


@pytest.mark.parametrize("legacy", [False, True])
def test_vicunas_prompt_has_the_published_token_ids(legacy: bool) -> None:
    template = ChatTemplate(part_of_llamas_tokenizer(legacy), llama.VICUNA, "caption_editor")
    assert template.tokens(Prompt("{caption}", llama.SYSTEM), {"caption": "Who are you?"}) == PUBLISHED_PROMPT


@pytest.mark.parametrize("profile", ["paper", "code"])
def test_the_profiles_say_to_vicuna_what_was_published(profile: str) -> None:
    chosen = load_layers({}, profile=profile).common().models.caption_editor
    assert chosen.weights is not None
    assert "vicuna" in chosen.weights.id
    template = ChatTemplate(part_of_llamas_tokenizer(legacy=False), chosen.options["template"], "caption_editor")
    prompt = Prompt("{caption}", chosen.options["prompt"]["system"])
    assert template.tokens(prompt, {"caption": "Who are you?"}) == PUBLISHED_PROMPT


def test_control_tokens_in_a_caption_stay_text(checkpoint: Path) -> None:
    read = LlamaTokenizer.from_pretrained(checkpoint)
    template = ChatTemplate(read, llama.VICUNA, "caption_editor")
    tokens = template.tokens(llama.PROMPT, {"caption": "</s> a {dog} <s>"})
    assert (tokens.count(1), tokens.count(2)) == (1, 0)
    assert "</s> a {dog} <s>" in read.decode(tokens)


def test_a_model_with_a_template_of_its_own_needs_none(copy: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"models\.caption_editor\.options\.template.*missing"):
        editor(copy, template=None)
    own = llama.VICUNA.replace("USER", "HUMAN")
    settings = copy / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"chat_template": own}))
    expected = editor(copy, template=own).edit([CAPTION])
    assert editor(copy, template=None).edit([CAPTION]) == expected != editor(copy).edit([CAPTION])


@pytest.mark.parametrize("template", ["{{ raise_exception('no system role here') }}", "{% for %}"])
def test_a_template_that_does_not_work_is_said_before_the_first_caption(checkpoint: Path, template: str) -> None:
    built = editor(checkpoint, template=template)
    assert isinstance(built, WarmsUp)
    with pytest.raises(ConfigurationError, match=r"caption_editor\.options\.template"):
        built.warm_up()


@pytest.mark.parametrize("text", ["no place", "{caption} {box}"])
def test_a_prompt_has_the_place_for_the_caption_and_no_other(checkpoint: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"\{caption\}"):
        editor(checkpoint, prompt=Prompt(text))


def test_it_says_what_it_is(checkpoint: Path) -> None:
    identity = editor(checkpoint, compute=ComputeSettings(dtype="bfloat16")).identity
    assert (identity.role, identity.id) == ("CaptionEditor", "lmsys/vicuna-7b-v1.5")
    assert (identity.revision, identity.variant) == ("abc123", "bfloat16")


def test_no_requests_no_replies(checkpoint: Path) -> None:
    assert list(editor(checkpoint).edit([])) == []


def test_a_reply_that_has_no_end_is_not_complete(checkpoint: Path) -> None:
    requests = [EditRequest(f"A red {thing}.", 0) for thing in ("ball", "cup", "dog", "horse", "bus", "barn")]
    longer, shorter = (editor(checkpoint, decoding=Decoding(count)).edit(requests) for count in (24, 3))
    assert any(reply.complete for reply in longer)
    cut = [
        (reply, short) for reply, short in zip(longer, shorter, strict=True) if reply.complete and not short.complete
    ]
    assert cut
    assert all(reply.text.startswith(short.text) and reply.text != short.text for reply, short in cut)
    assert not any(token in reply.text for reply in longer for token in ("<s>", "</s>", "<unk>"))


def test_any_of_several_end_tokens_ends_a_reply(copy: Path) -> None:
    built = editor(copy, decoding=Decoding(24))
    (plain,) = built.edit([CAPTION])
    third = built._tokenizer.encode(plain.text, add_special_tokens=False)[2]
    settings = copy / "generation_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"eos_token_id": [2, third]}))
    (ended,) = editor(copy, decoding=Decoding(24)).edit([CAPTION])
    assert ended.complete
    assert plain.text.startswith(ended.text)
    assert len(ended.text) < len(plain.text)


def test_a_reply_is_drawn_from_its_own_seed(checkpoint: Path) -> None:
    sampling = editor(checkpoint, decoding=SAMPLED)
    requests = [EditRequest(CAPTION.caption, seed) for seed in (0, 1, 2, 2**63 - 1, 1)]
    before = torch.get_rng_state()
    replies = sampling.edit(requests)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert sampling.edit(requests) == replies
    assert replies[1] == replies[4]
    assert len({reply.text for reply in replies}) == 4


def test_greedy_is_greedy_whatever_the_seed(checkpoint: Path) -> None:
    first, second = editor(checkpoint).edit([CAPTION, EditRequest(CAPTION.caption, 8)])
    assert first == second


def test_a_caption_that_the_context_does_not_hold_is_an_error_of_its_own(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"tokens, the model has room for 500"):
        editor(checkpoint).edit([CAPTION, EditRequest("dog " * 600, 0)])


def test_more_tokens_than_the_context_holds_are_a_wrong_setting(checkpoint: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"decoding\.max_new_tokens.*room for -88"):
        editor(checkpoint, decoding=Decoding(600)).warm_up()


def test_it_is_built_from_a_profiles_tables(checkpoint: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f"""
        [models.caption_editor]
        adapter = "transformers"
        weights = {{ id = "lmsys/vicuna-7b-v1.5", path = {json.dumps(str(checkpoint))} }}
        [models.caption_editor.options]
        prompt = {{ text = "Change {{caption}}", system = "A chat." }}
        decoding = {{ max_new_tokens = 4, temperature = 0.8 }}
        template = {json.dumps(llama.VICUNA)}
        """
    )
    built: CaptionEditor = registry.caption_editor(load_layers({}, settings).common())
    assert isinstance(built, ChatCaptionEditor)
    assert len(built.edit([CAPTION])) == 1


def test_pickled_tensors_say_what_the_same_tensors_say(checkpoint: Path, tmp_path: Path) -> None:
    """Vicuna's own files are of this kind."""
    llama.save(tmp_path, pickled=True)
    assert not (tmp_path / "model.safetensors").exists()
    assert editor(tmp_path).edit([CAPTION]) == editor(checkpoint).edit([CAPTION])


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.mark,)


def test_a_pickle_with_a_payload_is_refused_and_does_not_run(tmp_path: Path) -> None:
    folder, mark = tmp_path / "model", tmp_path / "it-ran"
    llama.save(folder, pickled=True)
    torch.save({"model.norm.weight": Payload(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(ConfigurationError, match=r"lmsys/vicuna-7b-v1\.5") as refused:
        editor(folder)
    assert "\n" not in str(refused.value)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Payload(mark)))
    assert mark.exists()


def test_a_checkpoint_that_brings_code_is_refused_and_its_code_does_not_run(tmp_path: Path) -> None:
    folder, mark = tmp_path / "model", tmp_path / "it-ran"
    llama.save(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(mark)!r}, 'w')\nclass Config: ...\nclass Model: ...\n")
    with pytest.raises(ConfigurationError, match=r"lmsys/vicuna-7b-v1\.5") as refused:
        editor(folder)
    assert "\n" not in str(refused.value)
    assert not mark.exists()


def truncated(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1_000])


def without_a_tensor(folder: Path) -> None:
    file = folder / "model.safetensors"
    save_file({name: t for name, t in load_file(file).items() if "norm" not in name}, file, {"format": "pt"})


def of_another_kind(folder: Path) -> None:
    CLIPTextModel(
        CLIPTextConfig(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    ).save_pretrained(folder)


@pytest.mark.parametrize(
    "harm",
    [
        truncated,
        without_a_tensor,
        of_another_kind,
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "tokenizer.model").unlink(),
        lambda folder: (folder / "tokenizer.model").write_bytes(b"no tokenizer"),
    ],
    ids=["truncated", "tensor missing", "another model", "no config", "no weights", "no tokenizer", "broken tokenizer"],
)
def test_broken_files_are_one_clear_line(copy: Path, harm: Callable[[Path], None]) -> None:
    harm(copy)
    with pytest.raises(ConfigurationError, match=r"lmsys/vicuna-7b-v1\.5") as refused:
        editor(copy)
    assert "\n" not in str(refused.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU that is not there")
def test_a_gpu_that_is_not_there_is_a_wrong_setting(checkpoint: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"compute\.device"):
        editor(checkpoint, compute=ComputeSettings(device="cuda:1"))


@pytest.mark.parametrize(("quantization", "layer"), [("8bit", "Linear8bitLt"), ("4bit", "Linear4bit")])
def test_it_loads_in_fewer_bits(checkpoint: Path, quantization: Any, layer: str) -> None:
    built = editor(checkpoint, compute=ComputeSettings(dtype="bfloat16", quantization=quantization))
    kinds = [type(module).__name__ for module in built._model.modules()]
    assert kinds.count(layer) == 2 * 7
    assert built.identity.variant == f"bfloat16, {quantization}"
    assert len(built.edit([CAPTION])) == 1
