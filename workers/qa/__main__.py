"""`python -m workers.qa`"""

from common.runtime.main import worker_main
from workers.qa import WORKER

if __name__ == "__main__":
    raise SystemExit(worker_main(WORKER))
