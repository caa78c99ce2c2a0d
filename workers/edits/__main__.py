"""`python -m workers.edits`"""

from common.runtime.main import worker_main
from workers.edits import WORKER

if __name__ == "__main__":
    raise SystemExit(worker_main(WORKER))
