"""The samplers that are supported: deterministic ones, as noise of their own would differ between the two pictures."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler


class Scheduler(StrEnum):
    """A sampler. Heun calls the UNet twice in every step but the last, the others once."""

    EULER = "euler"
    DDIM = "ddim"
    DPM_PP_2M = "dpm_pp_2m"
    HEUN = "heun"


_CLASSES: Mapping[Scheduler, Any] = {
    Scheduler.EULER: EulerDiscreteScheduler,
    Scheduler.DDIM: DDIMScheduler,
    Scheduler.DPM_PP_2M: DPMSolverMultistepScheduler,
    Scheduler.HEUN: HeunDiscreteScheduler,
}
_OPTIONS: Mapping[Scheduler, Mapping[str, Any]] = {
    Scheduler.DDIM: {"clip_sample": False, "set_alpha_to_one": False},
    Scheduler.DPM_PP_2M: {"algorithm_type": "dpmsolver++", "solver_order": 2},
}
"""What a configuration that was written for another sampler would leave at values that do not suit latents."""

_STOCHASTIC = "sde-"
"""How the algorithms of DPM-Solver begin that draw noise in every step."""


def scheduler_of(own: Any, chosen: Scheduler | None) -> Any:
    """The chosen sampler on the noise levels of the checkpoint's own, or its own where none is chosen.

    Raises ValueError where the checkpoint's own is not supported.
    """
    if chosen is not None:
        return _CLASSES[chosen].from_config(own.config, **_OPTIONS.get(chosen, {}))
    name = type(own).__name__
    if str(own.config.get("algorithm_type", "")).startswith(_STOCHASTIC):
        name = f"{name} with {own.config.algorithm_type}"
    elif type(own) in _CLASSES.values():
        return own
    raise ValueError(f"option `scheduler`: the checkpoint's own is {name}, expected one of {', '.join(Scheduler)}")
