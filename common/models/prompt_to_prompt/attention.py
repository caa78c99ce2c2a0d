"""The attention layers of a UNet under Prompt-to-Prompt, without attention maps.

With A the map of a layer, V its values, b the base row and e the edited row of a pair, Prompt-to-Prompt puts

- in self-attention A_b for A_e. Then out_e = A_b V_e is the attention of Q_b, K_b and V_e.
- in cross-attention A_b[:, i] for A_e[:, j] where token j of the edited prompt is token i of the base prompt. As the
  output is linear in V, out_e = A_b V_b' + A_e V_e', where V_b'[i] is the sum of V_e[j] over the j that stand for i, and
  V_e' is V_e with 0 in their places.

Each is one or two calls of a fused attention (p2p.md).
"""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from common.models.prompt_to_prompt.edits import CrossEdit, StepEdit


class EditedAttention:
    """The processor of all attention layers of a UNet. `edit` is what they replace at the moment, None for nothing.

    Rows of the batch that are not in the edit (the unconditional half of classifier-free guidance) are left alone.
    """

    def __init__(self) -> None:
        self.edit: StepEdit | None = None

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """`hidden_states` has shape (rows, tokens, channels), as has what comes back; there are no masks in SDXL."""
        if attention_mask is not None:
            raise ValueError("attention masks are not supported")
        if encoder_hidden_states is None:
            mixed = self._self_attention(attn, hidden_states)
        else:
            mixed = self._cross_attention(attn, hidden_states, encoder_hidden_states)
        mixed = mixed.transpose(1, 2).flatten(2)
        for layer in attn.to_out:
            mixed = layer(mixed)
        return mixed

    def _self_attention(self, attn: Any, states: torch.Tensor) -> torch.Tensor:
        edit = self.edit
        values = attn.to_v(states)
        if edit is None or states.shape[1] > edit.self_tokens:
            return _attention(attn, attn.to_q(states), attn.to_k(states), values)
        looking = states[: -edit.pairs]
        queries, keys = (torch.cat([each, each[-edit.pairs :]]) for each in (attn.to_q(looking), attn.to_k(looking)))
        return _attention(attn, queries, keys, values)

    def _cross_attention(self, attn: Any, states: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        queries, keys, values = attn.to_q(states), attn.to_k(texts), attn.to_v(texts)
        edit = self.edit
        if edit is None or edit.cross is None:
            return _attention(attn, queries, keys, values)
        return _refined(attn, queries, keys, values, edit.cross)


def _refined(
    attn: Any, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, cross: CrossEdit
) -> torch.Tensor:
    pairs = len(cross.own)
    edited = values[-pairs:]
    base = slice(-2 * pairs, -pairs)
    mixed = _attention(attn, queries, keys, torch.cat([values[:-pairs], cross.own * edited]))
    mixed[-pairs:] += _attention(attn, queries[base], keys[base], cross.from_base @ edited)
    return mixed


def _attention(attn: Any, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """From (rows, tokens, channels) to (rows, heads, tokens, channels of a head)."""
    heads = (each.unflatten(2, (attn.heads, -1)).transpose(1, 2) for each in (queries, keys, values))
    return scaled_dot_product_attention(*heads)
