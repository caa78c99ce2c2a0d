"""One full record of every type, for golden bytes and round trips."""

from schemas.boxes import DifferenceBox
from schemas.captions import Caption
from schemas.edits import Edit
from schemas.geometry import Box
from schemas.images import ImageRef
from schemas.ingest_progress import IngestProgress
from schemas.pairs import Pair
from schemas.qa import DifferenceQa
from schemas.record import Record
from schemas.region_captions import RegionCaption
from schemas.replays import Replayed, ReplayJob
from schemas.scores import Bounds
from schemas.trail import Candidate, ModelId, TrailStep

FIRST = ImageRef(sha256="1" * 64, width=320, height=240, byte_size=4_096)
SECOND = ImageRef(sha256="2" * 64, width=320, height=240, byte_size=4_097)
SCORE = Bounds(low=0.9, high=0.98).measure(0.9375)
STEP = TrailStep(
    stage="edits",
    worker_version="1.2.3",
    settings_digest="0123456789ab",
    models=(ModelId(role="caption_editor", id="sketch", revision="1"),),
    seed=7,
    batch_size=16,
    seconds=0.25,
    finished_at=1_790_000_000.5,
    scores={"pair_similarity": SCORE},
    dropped=(Candidate(label="first:3", reason="crop_similarity", scores={"crop_similarity": SCORE}),),
    truth={"defect": None, "box": [1, 2, 30, 40]},
)

CAPTION = Caption(id="holiday:#3", caption_id="holiday:#3", caption="A dog on a bench.", source="holiday", position=3)
EDIT = CAPTION.derive(Edit, 0, edited_caption="A cat on a bench.", trail=(STEP,))
PAIR = EDIT.derive(Pair, 0, first=FIRST, second=SECOND)
BOX = PAIR.derive(
    DifferenceBox,
    1,
    box=Box(x0=10, y0=20.5, x1=110, y1=120, width=320, height=240),
    found_in="first",
    first_objects=("dog",),
    second_objects=("cat",),
)
REGION = BOX.derive(RegionCaption, 0, first_description="a brown dog", second_description="a grey cat — asleep")
QA = REGION.derive(
    DifferenceQa,
    0,
    difference="The dog became a cat.",
    question="What differs in the red boxes?",
    answer="A dog on the left, a cat on the right.",
    first_marked=FIRST,
    second_marked=SECOND,
)
PROGRESS = IngestProgress(
    id="holiday",
    caption_id="holiday",
    source="holiday",
    name="holiday.txt",
    position=3,
    ingested=2,
    failed=1,
    complete=True,
)
REPLAYED = Replayed(
    id="imgdiff.pairs/3/17",
    caption_id="imgdiff.pairs/3/17",
    job="5f2a90c1",
    times=2,
    attempt=3,
    sent_at=1_790_000_000.5,
)
REPLAY_JOB = ReplayJob(
    id="5f2a90c1",
    caption_id="5f2a90c1",
    asked='{"stage": "boxes", "since": "2h"}',
    since=1_789_992_800.5,
    until=None,
    ends={"boxes.rejected": (17, 0, 4)},
    started_at=1_790_000_000.5,
    sent=2,
    already_sent=1,
    refused={"max_attempts": 1},
    complete=False,
    total=12,
)

SAMPLES: tuple[Record, ...] = (CAPTION, EDIT, PAIR, BOX, REGION, QA, PROGRESS, REPLAYED, REPLAY_JOB)
