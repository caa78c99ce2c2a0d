"""Samples to write."""

from typing import Any

import numpy as np
from PIL import Image

from common.blobs import encode_png
from schemas.geometry import Box
from schemas.headers import SourceCoordinates
from schemas.images import ImageRef
from schemas.qa import DifferenceQa
from schemas.scores import Bounds
from schemas.trail import Candidate, ModelId, TrailStep
from workers.dataset.schema import Sample

PICTURES = ("first", "second", "first_marked", "second_marked")
WIDTH, HEIGHT = 12, 10

TRAIL = (
    TrailStep(stage="edits", worker_version="1", settings_digest="0" * 12, truth={"kind": "animal"}),
    TrailStep(
        stage="pairs",
        worker_version="1",
        settings_digest="1" * 12,
        models=(ModelId(role="pair_generator", id="sketch", revision="1", variant="float32, 2 per batch"),),
        seed=2**62 + 1,
    ),
    TrailStep(
        stage="boxes",
        worker_version="1",
        settings_digest="2" * 12,
        scores={
            "pair_similarity": Bounds(low=0.9, high=0.98).measure(0.93),
            "crop_similarity": Bounds(high=0.85, high_inclusive=True).measure(0.4),
        },
        dropped=(Candidate(label="box 3", reason="overlap", scores={"iou": Bounds(high=0.5).measure(0.7)}),),
    ),
)


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return encode_png(Image.fromarray(pixels))


def sample(offset: int, partition: int = 3, **fields: Any) -> Sample:
    """A sample whose values differ from those of other offsets."""
    pictures = {name: picture(offset * 10 + index) for index, name in enumerate(PICTURES)}
    references = {
        name: ImageRef(sha256=f"{offset * 10 + index:064x}", width=WIDTH, height=HEIGHT, byte_size=len(pictures[name]))
        for index, name in enumerate(PICTURES)
    }
    given: dict[str, Any] = {
        "id": f"sample-{partition}-{offset}",
        "caption_id": f"caption-{offset // 2}",
        "caption": "a dog on a sofa",
        "edited_caption": "a cat on a sofa",
        "box": Box(x0=1.5, y0=2, x1=6, y1=7.25, width=WIDTH, height=HEIGHT),
        "found_in": "second",
        "first_objects": ("dog",),
        "second_objects": ("cat",),
        "first_description": "a brown dog",
        "second_description": "a grey cat",
        "difference": "The dog became a cat.",
        "question": "What is different?",
        "answer": "There is a cat in place of the dog.",
        "trail": TRAIL,
        **references,
    }
    record = DifferenceQa.model_validate(given | fields)
    return Sample(record, pictures, SourceCoordinates("imgdiff.qa", partition, offset))


def samples(first: int, last: int, partition: int = 3) -> list[Sample]:
    return [sample(offset, partition) for offset in range(first, last + 1)]
