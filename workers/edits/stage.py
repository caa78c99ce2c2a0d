"""The stage of `edits`."""

from collections.abc import Sequence
from dataclasses import dataclass

from common.models.protocols import CaptionEditor, EditReply, EditRequest
from common.runtime.stage import Emit, Reject, Task
from common.words import object_changes, words_of
from schemas.captions import Caption
from schemas.edits import Edit
from schemas.ids import seed_of
from schemas.record import MAX_TEXT_LENGTH
from schemas.scores import Scores
from schemas.trail import Candidate, ModelId
from workers.edits.reasons import EditsReason
from workers.edits.reply import added_marks, clean_reply
from workers.edits.settings import EditsSettings


@dataclass(frozen=True, slots=True)
class _Weighed:
    """The `index`-th reply to a caption, cleaned, with the reason that it is no good, if any."""

    index: int
    seed: int
    reply: EditReply
    text: str
    scores: Scores
    reason: EditsReason | None

    def candidate(self, reason: EditsReason) -> Candidate:
        return Candidate(label=f"edit-{self.index}", reason=reason, scores=self.scores)


class EditsStage:
    """Asks for edits of each caption and passes on those that replace one object by another."""

    def __init__(self, settings: EditsSettings, editor: CaptionEditor) -> None:
        self.models: Sequence[ModelId] = (editor.identity,)
        self._settings = settings
        self._editor = editor

    def process(self, batch: Sequence[Task[Caption]]) -> list[Emit[Edit] | Reject]:
        """Between one and `edits_per_caption` edits of each caption, or why there is none."""
        if not batch:
            return []
        count = self._settings.edits_per_caption
        seeds = [[seed_of(task.record.id, f"edit-{i}") for i in range(count)] for task in batch]
        requests = [
            EditRequest(task.record.caption, seed) for task, own in zip(batch, seeds, strict=True) for seed in own
        ]
        replies = iter(list(zip(requests, self._editor.edit(requests), strict=True)))
        return [
            self._outcome(task.record, [self._weigh(task.record.caption, i, *next(replies)) for i in range(count)])
            for task in batch
        ]

    def _outcome(self, caption: Caption, weighed: Sequence[_Weighed]) -> Emit[Edit] | Reject:
        good: dict[tuple[str, ...], _Weighed] = {}
        dropped: list[Candidate] = []
        for edit in weighed:
            if edit.reason is not None:
                dropped.append(edit.candidate(edit.reason))
            elif words_of(edit.text) in good:
                dropped.append(edit.candidate(EditsReason.REPEATED))
            else:
                good[words_of(edit.text)] = edit
        if not good:
            first = weighed[0]
            assert first.reason is not None
            return Reject(first.reason, first.scores, detail=first.text, dropped=dropped[1:])
        return Emit(
            records=[caption.derive(Edit, edit.index, edited_caption=edit.text) for edit in good.values()],
            dropped=dropped,
            record_scores=[edit.scores for edit in good.values()],
            record_seeds=[edit.seed for edit in good.values()],
            record_truth=[edit.reply.truth for edit in good.values()],
        )

    def _weigh(self, caption: str, index: int, request: EditRequest, reply: EditReply | None) -> _Weighed:
        if reply is None:
            return _Weighed(index, request.seed, EditReply(""), "", {}, EditsReason.NOTHING_TO_REPLACE)
        text = clean_reply(reply.text, caption)
        if reason := self._malformed(text, caption, reply.complete):
            return _Weighed(index, request.seed, reply, text, {}, reason)
        scores = self._measure(text, caption)
        return _Weighed(index, request.seed, reply, text, scores, _failed(scores))

    def _malformed(self, text: str, caption: str, complete: bool) -> EditsReason | None:
        if not text:
            return EditsReason.EMPTY_REPLY
        if not complete:
            return EditsReason.CUT_OFF
        if any(marker in text.lower() for marker in self._settings.marker_words):
            return EditsReason.MARKER_WORD
        if words_of(text) == words_of(caption):
            return EditsReason.UNCHANGED
        return EditsReason.TOO_LONG if len(text) > MAX_TEXT_LENGTH else None

    def _measure(self, text: str, caption: str) -> Scores:
        added = len(words_of(text)) - len(words_of(caption))
        return {
            "added_marks": self._settings.added_marks.measure(added_marks(text, caption)),
            "added_words": self._settings.added_words.measure(added),
            "objects_changed": self._settings.objects_changed.measure(len(object_changes(caption, text))),
        }


def _failed(scores: Scores) -> EditsReason | None:
    added, objects = scores["added_words"], scores["objects_changed"]
    if not scores["added_marks"].passes:
        return EditsReason.CHATTER
    if not added.passes:
        return EditsReason.TOO_LONG if added.too_high else EditsReason.TOO_SHORT
    if not objects.passes:
        return EditsReason.TOO_MANY_OBJECTS_CHANGED if objects.too_high else EditsReason.NO_OBJECT_CHANGED
    return None
