"""Run a command and write down what it needed: a small process between it and the benchmark.

Linux counts the memory of whatever starts a process as memory of the process.
Takes the file to write, and the command.
"""

import json
import os
import sys

path, *command = sys.argv[1:]
pid = os.posix_spawnp(command[0], command, os.environ)
_, status, usage = os.wait4(pid, 0)
with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123  (pathlib takes its own memory)
    json.dump([usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024], file)
sys.exit(os.waitstatus_to_exitcode(status) != 0)
