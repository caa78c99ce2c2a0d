"""SAM and SAM 2 with transformers: boxes of everything in a picture, without ultralytics and its licence.

Not what the paper used: other boxes than FastSAM's, and many more seconds per picture. A grid of points is put to the
model, each point gives up to three masks, and those that the model trusts and that overlap no better one give the boxes.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from pydantic import Field, PositiveInt
from torchvision.ops import nms
from transformers import AutoImageProcessor, AutoModelForMaskGeneration, MaskGenerationPipeline

from common.models.loading import check_complete, loading
from common.models.segments import boxes_inside
from common.models.torch_device import device_of, dtype_of
from common.models.weights import Weights
from common.settings import ComputeSettings
from schemas.geometry import Box


class SamSegmenter:
    """Segments pictures with the mask generation of SAM or SAM 2, boxes by falling predicted quality.

    The defaults are those of transformers and of the published SAM. Each picture is encoded once for all its points.
    """

    def __init__(
        self,
        weights: Weights,
        compute: ComputeSettings,
        *,
        points_per_side: PositiveInt = 32,
        points_per_batch: PositiveInt = 64,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        crops_nms_thresh: Annotated[float, Field(ge=0, le=1)] = 0.7,
    ) -> None:
        """`points_per_side`: of the grid. `points_per_batch`: put to the model at once. `pred_iou_thresh`: masks whose
        quality the model predicts above it are kept. `stability_score_thresh`: of these, masks that stay as they are
        when the cut-off moves, in [0, 1]. `crops_nms_thresh`: of two boxes with a higher IoU the worse one is dropped.
        Of the first two bounds one that is not above 0 is no bound.

        Raises ConfigurationError where the weights are missing, broken or of another architecture.
        """
        self.identity = weights.identity("Segmenter", compute.dtype, f"{points_per_batch} points per batch")
        device = device_of(compute)
        with loading(weights, "config.json"):
            model, info = AutoModelForMaskGeneration.from_pretrained(
                weights.folder,
                dtype=dtype_of(compute),
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
            check_complete(weights, info)
            processor = AutoImageProcessor.from_pretrained(
                weights.folder, local_files_only=True, trust_remote_code=False
            )
            self._boxes_of = _BoxGeneration(
                model=model.eval(),
                image_processor=processor,
                device=device,
                points_per_crop=points_per_side,
                points_per_batch=points_per_batch,
                pred_iou_thresh=pred_iou_thresh,
                stability_score_thresh=stability_score_thresh,
                crops_nms_thresh=crops_nms_thresh,
            )

    def warm_up(self) -> None:
        """One picture with all its points."""
        self.segment([Image.new("RGB", (256, 256))])

    @torch.inference_mode()
    def segment(self, images: Sequence[Image.Image]) -> Sequence[Sequence[Box]]:
        """For each picture its boxes: the smallest that hold all pixels of a mask."""
        # Pixels alone: transformers would turn a picture with an orientation beside them, and box another one than ours.
        return [boxes_inside(self._boxes_of(Image.fromarray(np.asarray(image))), image.size) for image in images]


class _BoxGeneration(MaskGenerationPipeline):
    """The pipeline up to the boxes: the masks, which nobody here looks at, would be put together pixel run by pixel run
    in Python."""

    def postprocess(self, model_outputs: Sequence[dict[str, Any]], crops_nms_thresh: float) -> list[list[float]]:
        """`x0, y0, x1, y1`, right and bottom exclusive, best first."""
        boxes = torch.cat([output["boxes"] for output in model_outputs]).float()
        scores = torch.cat([output["iou_scores"] for output in model_outputs]).float()
        kept = boxes[nms(boxes, scores, crops_nms_thresh)]
        # The pipeline says of an empty mask that all its edges are 0, and of any other which its last pixels are.
        kept = kept[kept.any(dim=1)]
        corners: list[list[float]] = (kept + torch.tensor([0.0, 0.0, 1.0, 1.0])).tolist()
        return corners
