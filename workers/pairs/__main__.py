"""`python -m workers.pairs`"""

from common.runtime.main import worker_main
from workers.pairs import WORKER

if __name__ == "__main__":
    raise SystemExit(worker_main(WORKER))
