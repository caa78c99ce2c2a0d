"""Stable Diffusion XL with Prompt-to-Prompt (refine): both pictures of a pair from one latent, many pairs at a time.

Prompt-to-Prompt lets the edited picture look where the base picture looked: in early steps it takes over the base
picture's self-attention maps, and for every word that both prompts have its cross-attention map. Published code writes
those maps down, layer by layer and pair by pair. Nothing needs them: both replacements are sums of fused attentions
(`attention.py` has the two identities), so no map is ever allocated and pairs share a batch.

    alignment.py   which token of the edited prompt stands where in the base prompt
    schedule.py    in which steps what is replaced
    edits.py       the two as tensors, for a batch of pairs and a step
    attention.py   the UNet's attention layers
    schedulers.py  the samplers
    denoiser.py    from noise and prompts to latents, at any precision
    generator.py   the adapter: weights, seeds, batch shape, pictures
"""
