"""BLIP's two scores of how well a text describes a picture, with transformers.

The published filters use the large model's contrastive cosine, the later recipe the base model's matching probability
(papers.md 1.5): two scales that are not comparable, so each has an adapter and a score type of its own. transformers' own
forward takes one picture per text; here the vision tower runs once per picture, however many texts it has.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from PIL import Image
from pydantic import PositiveInt
from torch.nn.functional import normalize
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, BlipConfig, BlipForImageTextRetrieval

from common.models.loading import check_complete, loading
from common.models.micro_batches import micro_batches, trial_size
from common.models.protocols import ItcCosine, ItmProbability, MatchScale
from common.models.torch_device import device_of, dtype_of, to_device
from common.models.weights import Weights
from common.runtime.errors import ConfigurationError
from common.settings import ComputeSettings

_Asked = tuple[Image.Image, Sequence[str]]
"""A picture with the texts that it is held against."""

_MATCH = 1
"""Which output of the matching head says that text and picture match; the other one says that they do not."""

_VOCABULARIES = ("tokenizer.json", "vocab.txt")


class BlipItcMatcher:
    """Scores with the cosine of BLIP's image and text embeddings.

    Each picture is encoded once for all its texts, and each text once for all its pictures.
    """

    scale = MatchScale.ITC_COSINE

    def __init__(
        self,
        weights: Weights,
        compute: ComputeSettings,
        images_per_call: PositiveInt = 32,
        texts_per_call: PositiveInt = 256,
    ) -> None:
        """`images_per_call` and `texts_per_call` go through the two towers at a time.

        Raises ConfigurationError where the weights are missing, broken or of another architecture.
        """
        self.identity = weights.identity(
            "ImageTextMatcher", compute.dtype, f"{images_per_call} images and {texts_per_call} texts per call"
        )
        self._blip = _Blip(weights, compute)
        self.model = self._blip.model
        self._images_per_call = images_per_call
        self._texts_per_call = texts_per_call

    def warm_up(self) -> None:
        """One full micro-batch of each on a GPU."""
        device = self.model.device
        texts = [f"picture {number}" for number in range(trial_size(self._texts_per_call, device))]
        images = [Image.new("RGB", (256, 256))] * trial_size(self._images_per_call, device)
        self.match(images, [texts] * len(images))

    @torch.inference_mode()
    def match(self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> list[list[ItcCosine]]:
        """Cosines in [-1, 1], in float32. A picture without texts is not encoded."""
        asked = [(image, own) for image, own in zip(images, texts, strict=True) if own]
        if not asked:
            return [[] for _ in texts]
        columns = {text: column for column, text in enumerate(dict.fromkeys(chain.from_iterable(texts)))}
        seen = [self._embedded_images(part) for part in micro_batches(asked, self._images_per_call)]
        read = [self._embedded_texts(part) for part in micro_batches(list(columns), self._texts_per_call)]
        rows = iter((torch.cat(seen) @ torch.cat(read).T).clamp(-1, 1).tolist())
        return [_picked(next(rows), columns, own) if own else [] for own in texts]

    def _embedded_images(self, part: Sequence[_Asked]) -> torch.Tensor:
        states = self._blip.look([image for image, _ in part])
        return normalize(self.model.vision_proj(states[:, 0]).float(), dim=-1)

    def _embedded_texts(self, part: Sequence[str]) -> torch.Tensor:
        return normalize(self.model.text_proj(self._blip.read(part)).float(), dim=-1)


class BlipItmMatcher:
    """Scores with the probability of BLIP's matching head, whose text encoder looks at the picture while it reads.

    Each picture is encoded once for all its texts; the text encoder runs for every text of every picture.
    """

    scale = MatchScale.ITM_PROBABILITY

    def __init__(
        self,
        weights: Weights,
        compute: ComputeSettings,
        images_per_call: PositiveInt = 32,
        pairs_per_call: PositiveInt = 64,
    ) -> None:
        """`images_per_call` pictures go through the vision tower at a time, `pairs_per_call` texts through the encoder,
        each with a copy of what the tower saw.

        Raises ConfigurationError where the weights are missing, broken or of another architecture.
        """
        self.identity = weights.identity(
            "ImageTextMatcher", compute.dtype, f"{images_per_call} images and {pairs_per_call} pairs per call"
        )
        self._blip = _Blip(weights, compute)
        self.model = self._blip.model
        self._images_per_call = images_per_call
        self._pairs_per_call = pairs_per_call

    def warm_up(self) -> None:
        """One full micro-batch of each on a GPU."""
        device = self.model.device
        images = [Image.new("RGB", (256, 256))] * trial_size(self._images_per_call, device)
        texts = ["a picture"] * trial_size(self._pairs_per_call, device)
        self.match(images, [texts, *[texts[:1]] * (len(images) - 1)])

    @torch.inference_mode()
    def match(self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> list[list[ItmProbability]]:
        """Probabilities in [0, 1], of a softmax in float32. A picture without texts is not encoded."""
        asked = [(image, own) for image, own in zip(images, texts, strict=True) if own]
        if not asked:
            return [[] for _ in texts]
        scored = [scores for part in micro_batches(asked, self._images_per_call) for scores in self._scored(part)]
        probabilities = iter(torch.cat(scored).tolist())
        return [[ItmProbability(next(probabilities)) for _ in own] for own in texts]

    def _scored(self, part: Sequence[_Asked]) -> Iterator[torch.Tensor]:
        states = self._blip.look([image for image, _ in part])
        pairs = [(place, text) for place, (_, own) in enumerate(part) for text in own]
        for some in micro_batches(pairs, self._pairs_per_call):
            places = to_device(torch.tensor([place for place, _ in some]), states.device)
            first = self._blip.read([text for _, text in some], states[places])
            yield self.model.itm_head(first).float().softmax(dim=-1)[:, _MATCH]


class _Blip:
    """The model on its device, with its own preprocessing. Nothing here waits for the device."""

    def __init__(self, weights: Weights, compute: ComputeSettings) -> None:
        self._device = device_of(compute)
        self._dtype = dtype_of(compute)
        self.model = _load(weights, self._dtype, self._device)
        self._processor = _load_processor(weights, self.model.config.vision_config.image_size)
        self._mean, self._deviation = (
            torch.tensor(values, device=self._device).view(3, 1, 1)
            for values in (self._processor.image_mean, self._processor.image_std)
        )
        self._tokenizer = _load_tokenizer(weights, self.model.config.text_config.vocab_size)
        self._places = min(self._tokenizer.model_max_length, self.model.config.text_config.max_position_embeddings)

    def look(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """The vision tower's last states, shape (len(images), 1 + patches, d), in the model's numbers."""
        # Only resized here: as bytes they are a quarter of the way to the device, where arithmetic costs nothing.
        resized = self._processor(list(images), do_rescale=False, do_normalize=False, return_tensors="pt").pixel_values
        pixels = (
            to_device(resized, self._device).float() * self._processor.rescale_factor - self._mean
        ) / self._deviation
        return self.model.vision_model(pixel_values=pixels.to(self._dtype)).last_hidden_state

    def read(self, texts: Sequence[str], about: torch.Tensor | None = None) -> torch.Tensor:
        """The text encoder's state at the first token, shape (len(texts), d), after it looked at `about` if given: states
        of the vision tower, one picture per text. A text of more tokens than the model has places is cut."""
        tokens = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self._places, return_tensors="pt"
        )
        states = self.model.text_encoder(
            input_ids=to_device(tokens.input_ids, self._device),
            attention_mask=to_device(tokens.attention_mask, self._device),
            encoder_hidden_states=about,
        )
        return states.last_hidden_state[:, 0]


def _picked(cosines: Sequence[float], columns: dict[str, int], texts: Sequence[str]) -> list[ItcCosine]:
    return [ItcCosine(cosines[columns[text]]) for text in texts]


def _load(weights: Weights, dtype: torch.dtype, device: torch.device) -> Any:
    """The model in evaluation mode, every weight from the checkpoint and none left over."""
    with loading(weights, "config.json"):
        config = AutoConfig.from_pretrained(weights.folder, local_files_only=True, trust_remote_code=False)
        if not isinstance(config, BlipConfig):
            raise ConfigurationError(
                f"weights of {weights.id} in {weights.folder}: found a model of the type {config.model_type!r}, "
                "expected 'blip'"
            )
        model, info = BlipForImageTextRetrieval.from_pretrained(
            weights.folder,
            config=config,
            dtype=dtype,
            local_files_only=True,
            weights_only=True,
            output_loading_info=True,
        )
        check_complete(weights, info)
        model.to(device)
    if left := sorted(info["unexpected_keys"]):
        # Deeper than its config.json says: it would run, without its last layers.
        raise ConfigurationError(
            f"weights of {weights.id} in {weights.folder}: the checkpoint has {len(left)} tensors that the model lacks, "
            f"such as {left[0]}"
        )
    return model.eval()


def _load_processor(weights: Weights, side: int) -> Any:
    with loading(weights, "preprocessor_config.json"):
        # The other backend resizes with torchvision: normalised pixels lie up to 0.015 off.
        processor = AutoImageProcessor.from_pretrained(
            weights.folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
        found = (processor.size["height"], processor.size["width"])
    if found != (side, side):
        # The model would run, with its position embeddings in the wrong places.
        raise ConfigurationError(
            f"{weights.folder / 'preprocessor_config.json'}: found pictures of {found[0]}x{found[1]}, "
            f"expected {side}x{side} as in config.json"
        )
    return processor


def _load_tokenizer(weights: Weights, words: int) -> Any:
    if not any((weights.folder / name).is_file() for name in _VOCABULARIES):
        # transformers would go on with a tokenizer to which every word is unknown.
        raise ConfigurationError(
            f"weights of {weights.id}: no vocabulary in {weights.folder}, expected {' or '.join(_VOCABULARIES)}"
        )
    with loading(weights):
        tokenizer = AutoTokenizer.from_pretrained(weights.folder, local_files_only=True, trust_remote_code=False)
    if len(tokenizer) > words:
        raise ConfigurationError(
            f"weights of {weights.id} in {weights.folder}: found a tokenizer of {len(tokenizer)} tokens, "
            f"expected at most the {words} of the model"
        )
    return tokenizer
