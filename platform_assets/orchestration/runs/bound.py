"""A program that ends with the process that started it, however that one ends: `python -P -m … FD MODULE ARGUMENT…`.

Belongs here: watching a pipe whose other end nobody holds any more. Elsewhere: what is started so (services.py).
"""

import os
import runpy
import signal
import sys
import threading
import time
from typing import Final

_ENDS_WITHIN_S: Final = 30.0


def _end_with(pipe: int) -> None:
    while os.read(pipe, 1):  # nothing is ever written: it returns when the last writer is gone
        pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(_ENDS_WITHIN_S)
    os._exit(1)


if __name__ == "__main__":
    pipe, module, *arguments = sys.argv[1:]
    threading.Thread(target=_end_with, args=(int(pipe),), daemon=True).start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
