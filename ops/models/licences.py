"""Under which terms the publishers of models say that they stand. No legal advice: what counts is the text at the source.

Read off the publishers' own pages; `source` says where. A model that is not in the table has terms too: look them up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Licence:
    """The terms of some models. `outputs` says what they ask of whoever uses what the models made, if anything."""

    name: str
    source: str
    outputs: str = ""


LLAMA_2 = Licence(
    "Llama 2 Community License",
    "https://github.com/meta-llama/llama/blob/main/LICENSE",
    "Section 1.b.v forbids to use the outputs to improve any other large language model than Llama 2 and what derives "
    "from it; the acceptable use policy holds as well.",
)
"""The model cards of lmsys/vicuna-*-v1.5 and llava-hf/llava-v1.6-vicuna-* say `license: llama2`."""

OPEN_RAIL = Licence(
    "CreativeML Open RAIL++-M",
    "https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/blob/main/LICENSE.md",
    "The licensor claims no rights in the pictures; the uses that its attachment A lists are forbidden.",
)
"""The model card of stable-diffusion-xl-base-1.0 says `license: openrail++`."""

MIT_OF_CLIP = Licence("MIT", "https://github.com/openai/CLIP/blob/main/LICENSE")
"""That of the repository. The hub's page of the original weights names none, and that of timm's copy Apache-2.0."""

BSD_OF_BLIP = Licence("BSD-3-Clause", "https://github.com/salesforce/BLIP/blob/main/LICENSE.txt")
"""The model cards of Salesforce/blip-itm-* say `license: bsd-3-clause`."""

APACHE_OF_QWEN = Licence("Apache-2.0", "https://huggingface.co/Qwen/Qwen2-7B-Instruct/blob/main/LICENSE")
APACHE_OF_SAM = Licence("Apache-2.0", "https://github.com/facebookresearch/segment-anything/blob/main/LICENSE")
"""The model cards of facebook/sam-vit-* and facebook/sam2* say `license: apache-2.0`."""

AGPL_OF_ULTRALYTICS = Licence(
    "AGPL-3.0",
    "https://github.com/ultralytics/ultralytics/blob/main/LICENSE",
    "Ultralytics states that its terms cover its models as well; it sells another licence.",
)

LICENCES: Sequence[tuple[str, Licence]] = (
    ("lmsys/vicuna-*-v1.5*", LLAMA_2),
    ("llava-hf/llava-v1.6-vicuna-*", LLAMA_2),
    ("liuhaotian/llava-v1.6-vicuna-*", LLAMA_2),
    ("meta-llama/Llama-2-*", LLAMA_2),
    ("stabilityai/stable-diffusion-xl-base-1.0", OPEN_RAIL),
    ("openai/clip-*", MIT_OF_CLIP),
    ("timm/*_clip_*.openai", MIT_OF_CLIP),
    ("Salesforce/blip-*", BSD_OF_BLIP),
    ("Qwen/Qwen2-7B-Instruct", APACHE_OF_QWEN),
    ("facebook/sam-*", APACHE_OF_SAM),
    ("facebook/sam2*", APACHE_OF_SAM),
    ("ultralytics/*", AGPL_OF_ULTRALYTICS),
    ("Ultralytics/*", AGPL_OF_ULTRALYTICS),
)
"""By pattern of a model's id; the first that fits counts."""


def licence_of(id: str) -> Licence | None:
    """The terms of a model as far as they are known here."""
    return next((licence for pattern, licence in LICENCES if fnmatchcase(id, pattern)), None)
