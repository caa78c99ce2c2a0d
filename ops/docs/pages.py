"""The table of pages."""

from collections.abc import Callable, Mapping

from ops.docs.failures import failures_page
from ops.docs.gpu_memory import gpu_memory_page
from ops.docs.metrics import metrics_page
from ops.docs.profiles import profiles_page
from ops.docs.reasons import reasons_page
from ops.docs.settings import settings_page

PAGES: Mapping[str, Callable[[], str]] = {
    "failures.md": failures_page,
    "gpu-memory.md": gpu_memory_page,
    "metrics.md": metrics_page,
    "profiles.md": profiles_page,
    "reasons.md": reasons_page,
    "settings.md": settings_page,
}
"""What each file of `docs/` that is generated holds."""
