"""Run a command and print what it cost: wall seconds, CPU seconds, peak KiB, exit code.

    python -IS bench/support/launch.py COMMAND [ARGUMENT ...]

This is a separate, small process, because the peak memory that the kernel reports for a program starts with that of
its parent. What the command prints goes to stderr.
"""

import os
import sys
import time

began = time.perf_counter()
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, usage = os.wait4(pid, 0)
took = time.perf_counter() - began
print(took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, os.waitstatus_to_exitcode(status))
