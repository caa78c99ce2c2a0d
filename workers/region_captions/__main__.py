"""`python -m workers.region_captions`"""

from common.runtime.main import worker_main
from workers.region_captions import WORKER

if __name__ == "__main__":
    raise SystemExit(worker_main(WORKER))
