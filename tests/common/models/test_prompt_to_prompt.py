"""The pair generator on a tiny checkpoint: batches, counts, precision, samplers, and what is broken."""

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from common.models import registry
from common.models.prompt_to_prompt import denoiser
from common.models.prompt_to_prompt.batch_shape import fits_on, largest_that_fits
from common.models.prompt_to_prompt.generator import PromptToPromptGenerator
from common.models.prompt_to_prompt.schedulers import Scheduler
from common.models.protocols import PairRequest, WarmsUp
from common.models.weights import Weights
from common.runtime.errors import ConfigurationError, DeviceLostError
from common.runtime.stage import Emit, Reject, Task
from common.settings import ComputeSettings, load_layers
from tests.parity.p2p_reference import Settings, reference_pair
from tests.tiny import sdxl
from tests.workers.fakes import edit_record
from workers.pairs.reasons import PairsReason
from workers.pairs.settings import PairsSettings
from workers.pairs.stage import PairsStage

CAT = PairRequest("a cat on a mat", "a dog on a mat", seed=1)
BUS = PairRequest("a red bus in the street", "a red tram with many people in the street", seed=2)
LAMP = PairRequest("a lamp", "a vase", seed=3)

Build = Callable[..., PromptToPromptGenerator]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sdxl")
    sdxl.save(path)
    return path


@pytest.fixture(scope="module")
def build(folder: Path) -> Build:
    def built(dtype: str = "float32", folder: Path = folder, **options: Any) -> PromptToPromptGenerator:
        compute = ComputeSettings.model_validate({"dtype": dtype})
        options = {"steps": 3, **options}
        return PromptToPromptGenerator(weights=Weights("tiny/sdxl", "abc", folder), compute=compute, **options)

    return built


@pytest.fixture(scope="module")
def three(build: Build) -> PromptToPromptGenerator:
    """Draws batches of three pairs."""
    return build(pairs_per_call=3)


@pytest.fixture(scope="module")
def small(build: Build) -> PromptToPromptGenerator:
    """Draws pictures of 64 x 64 pixels, a pair at a time."""
    return build(size=64)


@pytest.fixture
def broken(folder: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint to break."""
    return Path(shutil.copytree(folder, tmp_path / "sdxl"))


def levels(one: Any, other: Any) -> int:
    """The largest difference in grey levels."""
    return int(np.abs(np.asarray(one, int) - np.asarray(other, int)).max())


def test_pairs_of_the_models_own_size_that_differ(three: PromptToPromptGenerator) -> None:
    pairs = three.draw([CAT, BUS])
    assert [picture.size for pair in pairs for picture in (pair.first, pair.second)] == [(128, 128)] * 4
    assert all(picture.mode == "RGB" for pair in pairs for picture in (pair.first, pair.second))
    assert all(levels(pair.first, pair.second) > 50 for pair in pairs)
    assert pairs[0].truth == {}


def test_nothing_to_draw(three: PromptToPromptGenerator) -> None:
    assert three.draw([]) == []


def test_a_pairs_bytes_do_not_depend_on_what_shares_its_batch(three: PromptToPromptGenerator) -> None:
    (alone,) = three.draw([CAT])
    beside = three.draw([BUS, CAT, LAMP, LAMP, CAT])
    for pair in (beside[1], beside[4]):
        assert pair.first.tobytes() == alone.first.tobytes()
        assert pair.second.tobytes() == alone.second.tobytes()
    assert levels(beside[0].second, alone.second) > 50


def test_batches_of_other_shapes_agree_to_a_few_grey_levels(build: Build, three: PromptToPromptGenerator) -> None:
    ones, threes = build(pairs_per_call=1).draw([CAT, BUS]), three.draw([CAT, BUS])
    for one, other in zip(ones, threes, strict=True):
        assert levels(one.first, other.first) <= 2
        assert levels(one.second, other.second) <= 2


def test_the_seed_decides_and_both_pictures_start_from_it(three: PromptToPromptGenerator) -> None:
    same, other = three.draw([PairRequest("a cat", "a cat", 5), PairRequest("a cat", "a cat", 2**63 - 1)])
    assert levels(same.first, same.second) <= 1
    assert levels(same.first, other.first) > 50


def test_the_batch_shape_and_the_numbers_are_in_the_identity(three: PromptToPromptGenerator, build: Build) -> None:
    assert three.identity.model_dump() == {
        "role": "PairGenerator",
        "id": "tiny/sdxl",
        "revision": "abc",
        "variant": "float32, 3 pairs of 128x128",
    }
    assert build("bfloat16", size=64).identity.variant == "bfloat16, 1 pair of 64x64"


@contextmanager
def unet_rows(generator: PromptToPromptGenerator) -> Iterator[list[int]]:
    """How many rows each call of the UNet has."""
    calls: list[int] = []
    hook = generator._pipeline.unet.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    try:
        yield calls
    finally:
        hook.remove()


def test_a_step_is_one_call_with_four_rows_per_pair(three: PromptToPromptGenerator, build: Build) -> None:
    with unet_rows(three) as calls:
        three.draw([CAT, BUS, LAMP, CAT])
    assert calls == [12] * 3 * 2
    unguided = build(guidance=1.0, pairs_per_call=2)
    with unet_rows(unguided) as calls:
        unguided.draw([CAT])
    assert calls == [4] * 3


@pytest.mark.parametrize(("scheduler", "calls"), [("euler", 4), ("ddim", 4), ("dpm_pp_2m", 4), ("heun", 7)])
def test_every_sampler(build: Build, scheduler: str, calls: int) -> None:
    generator = build(scheduler=Scheduler(scheduler), steps=4, size=64)
    with unet_rows(generator) as rows:
        pair, again = generator.draw([CAT, CAT])
    assert rows == [4] * 2 * calls
    assert levels(pair.first, pair.second) > 20
    assert again.second.tobytes() == pair.second.tobytes()


@dataclass
class Shapes(TorchDispatchMode):
    """Remembers the last two dimensions of everything that is allocated.

    In inference mode an attention comes here whole, as whatever it is made of would: so it is taken apart.
    """

    seen: set[tuple[int, ...]] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with self:
            out = func.decompose(*args, **(kwargs or {}))
        if out is NotImplemented:
            out = func(*args, **(kwargs or {}))
        self.seen |= {tuple(each.shape[-2:]) for each in tree_leaves(out) if isinstance(each, torch.Tensor)}
        return out


def maps_in(shapes: Shapes) -> set[tuple[int, ...]]:
    """Those that are an attention map's at 160 x 160 pixels: 100 and 25 tokens in the UNet, 400 in the decoder. Nothing
    else has them: pictures and features there are 160, 80, 40, 20, 10 and 5 wide, channels 8 to 256."""
    own = {(tokens, tokens) for tokens in (25, 100, 400)}
    return shapes.seen & (own | {(tokens, sdxl.TEXT_TOKENS) for tokens in (25, 100)})


def test_no_attention_map_is_ever_allocated(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = build(size=160, pairs_per_call=2)
    with Shapes() as shapes:
        generator.draw([CAT, BUS])
    assert (100, 8) in shapes.seen
    assert maps_in(shapes) == set()
    with Shapes() as explicit:
        reference_pair(generator._pipeline, ("a cat", "a dog"), torch.randn(4, 20, 20), Settings(steps=1))
    assert maps_in(explicit) == {(25, 25), (100, 100), (25, 77), (100, 77)}
    monkeypatch.setattr(denoiser, "fused_attention", lambda: sdpa_kernel([SDPBackend.MATH]))
    with Shapes() as plain:
        generator.draw([CAT])
    assert maps_in(plain) == {(25, 25), (100, 100), (25, 77), (100, 77)}


_written: list[str] | None = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _written is not None and event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        _written.append(str(arguments[0]))


def test_no_file_is_written(three: PromptToPromptGenerator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sys.addaudithook(_audit)
    written: list[str] = []
    monkeypatch.setattr(sys.modules[__name__], "_written", written)
    (tmp_path / "control").write_text("seen")
    three.draw([CAT])
    assert written == [str(tmp_path / "control")]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_keeps_the_decoder_in_float32(build: Build, small: PromptToPromptGenerator, dtype: str) -> None:
    generator = build(dtype, size=64)
    assert {str(each.dtype) for each in generator._pipeline.unet.parameters()} == {f"torch.{dtype}"}
    assert {str(each.dtype) for each in generator._pipeline.vae.parameters()} == {"torch.float32"}
    assert generator._pipeline.watermark is None
    (pair,) = generator.draw([CAT])
    (exact,) = small.draw([CAT])
    near = np.abs(np.asarray(pair.second, int) - np.asarray(exact.second, int)).mean()
    far = np.abs(np.asarray(pair.first, int) - np.asarray(exact.second, int)).mean()
    assert near < far / 4


def test_a_decoder_that_is_safe_in_half_precision_runs_in_it(build: Build, broken: Path) -> None:
    path = broken / "vae" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "force_upcast": False}))
    generator = build("bfloat16", broken, size=64)
    assert generator._pipeline.vae.dtype == torch.bfloat16
    assert generator.draw([CAT])[0].first.size == (64, 64)


def test_values_that_are_no_numbers_make_a_black_picture_and_a_reject(
    small: PromptToPromptGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = torch.nn.Parameter(torch.full_like(small._pipeline.unet.conv_out.bias, float("nan")))
    monkeypatch.setitem(small._pipeline.unet.conv_out._parameters, "bias", broken)
    (pair,) = small.draw([CAT])
    assert pair.first.getextrema() == pair.second.getextrema() == ((0, 0),) * 3
    (outcome,) = PairsStage(PairsSettings(), small).process([Task(edit_record())])
    assert isinstance(outcome, Reject)
    assert outcome.reason is PairsReason.BLANK_IMAGE


def test_one_broken_latent_costs_one_picture(three: PromptToPromptGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = three._denoiser.denoise

    def with_a_hole(*arguments: Any) -> torch.Tensor:
        latents = whole(*arguments).clone()
        latents[1, 0, 2, 3, 3] = float("inf")
        return latents

    good = three.draw([CAT, BUS])
    monkeypatch.setattr(three._denoiser, "denoise", with_a_hole)
    holed = three.draw([CAT, BUS])
    assert holed[0].second.getextrema() == ((0, 0),) * 3
    assert holed[0].first.tobytes() == good[0].first.tobytes()
    assert holed[1].second.tobytes() == good[1].second.tobytes()


def test_prompts_of_any_length(three: PromptToPromptGenerator) -> None:
    pairs = three.draw(
        [PairRequest("cat " * 200, "dog " * 100, 1), PairRequest("", "a dog", 2), PairRequest("a", "", 3)]
    )
    assert all(levels(pair.first, pair.second) > 20 for pair in pairs)


def test_from_the_registry_to_a_stage(folder: Path) -> None:
    name = "models.pair_generator"
    flags = [
        f"{name}.adapter=prompt_to_prompt",
        f"{name}.weights.id=tiny/sdxl",
        f"{name}.weights.path={folder}",
        f'{name}.options={{"steps": "2", "scheduler": "ddim", "cross_replace_words": {{"confetti": 0.8}}}}',
    ]
    generator = registry.pair_generator(load_layers({}, flags=flags).common())
    assert isinstance(generator, WarmsUp)
    (outcome,) = PairsStage(PairsSettings(), generator).process([Task(edit_record())])
    assert isinstance(outcome, Emit)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 100}, "option `size`: found 100, expected a multiple of 8 pixels"),
        ({"steps": 0}, "option `steps`: found 0"),
    ],
)
def test_options_out_of_range(build: Build, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_a_sampler_of_the_checkpoint_that_is_not_supported(build: Build, broken: Path) -> None:
    path = broken / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"))
    index = broken / "model_index.json"
    index.write_text(index.read_text().replace("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"))
    with pytest.raises(ValueError, match="own is EulerAncestralDiscreteScheduler, expected one of euler, ddim"):
        build(folder=broken)
    assert build(folder=broken, scheduler=Scheduler.EULER).identity


def test_a_sampler_of_the_checkpoint_that_draws_noise(build: Build, broken: Path) -> None:
    """The class is supported; with this algorithm the two pictures of a pair would differ everywhere."""
    path = broken / "scheduler" / "scheduler_config.json"
    noisy = {**json.loads(path.read_text()), "_class_name": "DPMSolverMultistepScheduler"}
    index = broken / "model_index.json"
    index.write_text(index.read_text().replace("EulerDiscreteScheduler", "DPMSolverMultistepScheduler"))
    path.write_text(json.dumps({**noisy, "algorithm_type": "sde-dpmsolver++"}))
    with pytest.raises(
        ValueError, match=re.escape("own is DPMSolverMultistepScheduler with sde-dpmsolver++, expected")
    ):
        build(folder=broken)
    path.write_text(json.dumps({**noisy, "algorithm_type": "dpmsolver++"}))
    assert build(folder=broken).identity


def test_files_without_a_variant(build: Build, broken: Path) -> None:
    for path in broken.rglob("*.fp16.safetensors"):
        path.rename(path.with_name(path.name.replace(".fp16", "")))
    assert build(folder=broken, variant=None).identity
    with pytest.raises(ConfigurationError, match=r"weights of tiny/sdxl in .*fp16"):
        build(folder=broken)


def _cut(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    path.write_bytes(path.read_bytes()[:10_000])


def _without_a_tensor(name: str) -> Callable[[Path], None]:
    def take(folder: Path) -> None:
        path = folder / name
        tensors = load_file(path)
        del tensors[sorted(tensors)[-1]]
        save_file(tensors, path, metadata={"format": "pt"})

    return take


def _pickled(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    torch.save(load_file(path), path.with_name("diffusion_pytorch_model.fp16.bin"))
    path.unlink()


def _another_width(folder: Path) -> None:
    path = folder / "unet" / "config.json"
    path.write_text(path.read_text().replace('"cross_attention_dim": 64', '"cross_attention_dim": 32'))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "model_index.json").unlink(), "model_index.json"),
        (lambda folder: (folder / "unet" / "config.json").unlink(), "unet/config.json"),
        (lambda folder: (folder / "vae" / "diffusion_pytorch_model.fp16.safetensors").unlink(), "vae"),
        (lambda folder: shutil.rmtree(folder / "tokenizer_2"), "tokenizer_2"),
        (lambda folder: shutil.rmtree(folder / "scheduler"), "scheduler"),
        (_cut, "unet"),
        (_pickled, "unet"),
        (_another_width, "shape"),
        (_without_a_tensor("unet/diffusion_pytorch_model.fp16.safetensors"), "lacks tensors"),
        (_without_a_tensor("text_encoder_2/model.fp16.safetensors"), "lacks tensors"),
    ],
)
def test_broken_weights_are_one_clear_line(
    build: Build, broken: Path, harm: Callable[[Path], object], message: str
) -> None:
    harm(broken)
    with pytest.raises(ConfigurationError, match=message) as caught:
        build(folder=broken)
    assert "tiny/sdxl" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_decoder_that_scales_each_channel_is_another_models(build: Build, broken: Path) -> None:
    path = broken / "vae" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "latents_mean": [0.1, 0.2, 0.3, 0.4]}))
    with pytest.raises(ConfigurationError, match="has `latents_mean`"):
        build(folder=broken)


def test_another_architecture(build: Build, broken: Path) -> None:
    index = broken / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionXLPipeline", "StableDiffusionPipeline"))
    with pytest.raises(
        ConfigurationError, match="says 'StableDiffusionPipeline', expected 'StableDiffusionXLPipeline'"
    ):
        build(folder=broken)


@pytest.mark.parametrize(("room", "found"), [(0, 0), (1, 1), (3, 2), (8, 8), (1000, 16)])
def test_the_largest_batch_that_fits_is_found_by_doubling(room: int, found: int) -> None:
    assert largest_that_fits(lambda pairs: pairs <= room, most=16) == found


@dataclass
class FakeCuda:
    """The memory of a device: 100 bytes free, 20 held by the allocator, `peak` taken by the trial."""

    peak: int

    def mem_get_info(self, _: torch.device) -> tuple[int, int]:
        return 100, 1000

    def memory_reserved(self, _: torch.device) -> int:
        return 20

    def max_memory_allocated(self, _: torch.device) -> int:
        return self.peak

    def reset_peak_memory_stats(self, _: torch.device) -> None: ...

    def empty_cache(self) -> None: ...


@pytest.mark.parametrize(("peak", "fits"), [(108, True), (109, False)])
def test_a_batch_that_fits_leaves_some_room(monkeypatch: pytest.MonkeyPatch, peak: int, fits: bool) -> None:
    monkeypatch.setattr("common.models.prompt_to_prompt.batch_shape.torch.cuda", FakeCuda(peak))
    assert fits_on(torch.device("cuda"), lambda: None) is fits


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling")],
)
def test_a_batch_that_runs_out_of_memory_does_not_fit(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def trial() -> None:
        raise error

    monkeypatch.setattr("common.models.prompt_to_prompt.batch_shape.torch.cuda", FakeCuda(0))
    assert not fits_on(torch.device("cuda"), trial)


@pytest.fixture
def on_a_gpu(build: Build, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PromptToPromptGenerator]:
    """A generator that takes itself to be on a GPU with room for so many pairs."""

    def built(room: int, **options: Any) -> PromptToPromptGenerator:
        def fits(_: torch.device, trial: Callable[[], object]) -> bool:
            with unet_rows(generator) as rows:
                trial()
            return max(rows) <= 4 * room

        generator = build(size=64, **options)
        monkeypatch.setattr(generator, "_device", torch.device("cuda"))
        monkeypatch.setattr("common.models.prompt_to_prompt.generator.fits_on", fits)
        return generator

    return built


def test_warm_up_finds_the_batch_shape(on_a_gpu: Callable[..., PromptToPromptGenerator]) -> None:
    generator = on_a_gpu(3)
    generator.warm_up()
    assert generator.identity.variant == "float32, 2 pairs of 64x64"
    with unet_rows(generator) as rows:
        generator.draw([CAT])
    assert rows == [8] * 3


@pytest.mark.parametrize(("room", "options", "named"), [(0, {}, "1 pair"), (2, {"pairs_per_call": 3}, "3 pairs")])
def test_a_batch_that_can_not_fit_is_a_setting(
    on_a_gpu: Callable[..., PromptToPromptGenerator], room: int, options: dict[str, int], named: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"pairs_per_call`: found no room for float32, {named} of 64x64"):
        on_a_gpu(room, **options).warm_up()


@pytest.mark.parametrize("part", ["_denoise", "_decode"])
def test_a_batch_that_fits_no_more_is_no_records_fault(
    three: PromptToPromptGenerator, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(three, part, full)
    with pytest.raises(
        DeviceLostError, match=r"cpu has no room any more for float32, 3 pairs of 128x128.*started again"
    ):
        three.draw([CAT])


def test_warm_up_leaves_a_cpu_alone(three: PromptToPromptGenerator) -> None:
    with unet_rows(three) as rows:
        three.warm_up()
    assert rows == []
    assert three.identity.variant == "float32, 3 pairs of 128x128"
