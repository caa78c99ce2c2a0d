"""`python -m workers.boxes`"""

from common.runtime.main import worker_main
from workers.boxes import WORKER

if __name__ == "__main__":
    raise SystemExit(worker_main(WORKER))
