"""Several GiB each way through the built program, in a few MiB of memory.

Nothing is written anywhere: a client sends zeros to a server that counts them, and the other way round, with a
length and in chunks, past the cache and through it. The most that the process ever held is the kernel's count.
"""

import json
import re
import subprocess

from servers import DIRECT, Forebay, Process

SIZE = 4 << 30
# Buffers of both connections of a call, and the MiB by which the readers of an answer may be apart; the
# development build has larger stacks and debug data besides.
MAY_GROW = 24 << 20
TIMEOUT = 1200
RULES = """api: none
reads:
  - {path: /passed, ttl: pass}
  - {path: /kept, ttl: 1h}
"""


def run(suite):
    directory = suite.directory / "large"
    directory.mkdir()
    (directory / "rules.yaml").write_text(RULES)
    server = Process("the server of zeros", [suite.go, "zeros"], env=DIRECT)
    try:
        upstream = {"endpoints": [server.says(r"zeros at (\S+)")[1]], "rules": ["rules.yaml"]}
        front = Forebay(suite.binary, directory, upstream, tls=None)
        try:
            before = held(front.process)
            command = [suite.go, "large", f"http://{front.address}", str(SIZE)]
            done = subprocess.run(
                command, env=DIRECT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT
            )
            after = held(front.process)
        finally:
            front.process.end()
    finally:
        server.end(expected=-15)
    for line in map(json.loads, done.stdout.splitlines()):
        print(f"{line['way']}: {line['bytes'] >> 20} MiB in {line['seconds']:.1f} s", flush=True)
    print(f"forebay held {before >> 20} MiB before and {after >> 20} MiB at most", flush=True)
    if done.returncode:
        suite.failed(f"large contents: {done.stderr}")
    if after - before > MAY_GROW:
        suite.failed(f"large contents: forebay grew from {before} to {after} bytes")


def held(process):
    """The most memory that a process has had so far, in bytes."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) * 1024
