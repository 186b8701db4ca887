"""Breaks a command of the workflow at the worst moment: when a file is written and not yet in its place.

Python imports this by itself where its folder is on the path; `tests/pipeline.py` puts it into a copy of the repository.
The variable MAPCSP_FAULT, such as `kill:results/relax`, says what a process does to itself when it is about to rename
a file whose path holds that text: `kill` (signal 9) or `stop`. It happens once for each command line; the process ids
are kept in the folder MAPCSP_FAULT_FOLDER.
"""

import hashlib
import os
import signal
import sys
from pathlib import Path

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def break_once(action: str, place: str, folder: Path) -> None:
    """Replace os.replace by one that first sends this process the signal, if this command has not had it yet."""
    rename = os.replace

    def replace(source, target, **options):
        if place in str(target):
            try:
                with open(folder / hashlib.sha256(repr(sys.argv).encode()).hexdigest(), "x") as marker:
                    marker.write(str(os.getpid()))
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), SIGNALS[action])
        return rename(source, target, **options)

    os.replace = replace


if "MAPCSP_FAULT" in os.environ:
    break_once(*os.environ["MAPCSP_FAULT"].split(":", 1), Path(os.environ["MAPCSP_FAULT_FOLDER"]))
