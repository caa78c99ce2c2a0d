"""`python -m workers.dataset`"""

from common.runtime.main import worker_main
from workers.dataset import WORKER

if __name__ == "__main__":
    raise SystemExit(worker_main(WORKER))
