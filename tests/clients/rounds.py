"""Rounds of writes beside pollers: every read-back is right the first time.

In a round proxmoxer (by ticket) and go-proxmox (by token) each create, clone, change, start, snapshot, migrate,
change by a task, stop and delete guests, in one cluster at the same time. After each answer, and again once the
task's end was told, they read back what they changed, once and without a second try: the guest's config, status and
snapshots on the node where it is and on the one where it was, both nodes' lists, the cluster's resources and the
task in its node's list. Beside each of them pollers read the same at a high rate: with the writer's own credential,
other tickets of its user, other principals' tickets and tokens.

What is compared (timeline.py): where the guest is, its name, description, state, lock and snapshots. A read must
show none of the states before the one that was told to anybody when the read began, and none that the same reader
has seen overtaken in the same place. So it is not only the writer's own read-back that is judged.

The first side is the cluster alone: that the judgement holds there shows that what it finds is forebay's.

Broken on purpose, in a fifth of the rounds, forebay was found out each time:

* The end of a task invalidates nothing (`Operations::overtake` returns at once): 5 reads showed the past, such as the
  config of a deleted guest with `lock: destroyed` and the state `stopped` of a guest that had been started.
* A write invalidates nothing (`Reach::overtake` in proxy/write.rs): 597 reads, from the first round on.
* A reader joins a flight that a write or a task's end has overtaken (`Flights::begin`): 4 reads, such as a list
  without the guest whose creation had been answered.
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess

from servers import DIRECT

HERE = pathlib.Path(__file__).resolve().parent
# Rounds of each client. Without forebay fewer are made, as calls are compared by the round.
ROUNDS = int(os.environ.get("FOREBAY_ROUNDS", "100"))
DIRECT_SHARE = 10
# One answer in eight is under way so long that it arrives after what was told since it was formed: what a cache must
# neither keep nor hand to whoever came later.
CLUSTER = {"task_time": "60ms", "latency": "4ms", "straggling": "60ms"}
TIMEOUT = 1200


def run(suite):
    """Runs both sides and adds the calls of a round to the suite's table."""
    for name, number in {"direct": max(ROUNDS // DIRECT_SHARE, 1), "forebay": ROUNDS}.items():
        with suite.side("rounds", name, **CLUSTER) as target:
            settings = suite.settings(target)
            commands = {
                "proxmoxer": [suite.python, str(HERE / "proxmoxer_rounds.py"), settings, str(number)],
                "go-proxmox": [suite.go, "rounds", settings, str(number)],
            }
            with concurrent.futures.ThreadPoolExecutor() as pool:
                running = {client: pool.submit(finished, command) for client, command in commands.items()}
            for client, future in running.items():
                judge(suite, f"rounds of {client}, {name}", future.result(), number)
            calls = target.quiet_calls() / number
            asked = target.front.client_calls() / number if target.front else calls
            print(f"rounds, {name}: the clients made {asked:.0f} calls in a round, {calls:.0f} reached the cluster")
    # Pollers read by the clock, so the sides differ in what they ask for.
    suite.rows.append(("both clients, a round", round(asked), round(calls)))


def finished(command):
    """What a client printed as its last line; what it complained of if there is none."""
    done = subprocess.run(
        command, env=DIRECT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT
    )
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if done.returncode == 0 and lines else {"failed": [done.stdout + done.stderr]}


def judge(suite, what, result, number):
    for reason in result["failed"]:
        suite.failed(f"{what}: {reason}")
    if result.get("rounds") != number:
        return
    print(
        f"{what}: {number} rounds in {result['seconds']:.0f} s, {result['read back']} reads back and "
        f"{result['polled']} of pollers, {result['violated']} showed the past",
        flush=True,
    )
    if not result["read back"] or not result["polled"]:
        suite.failed(f"{what}: nothing was read")
    for violation in result["violations"]:
        suite.failed(f"{what}: {json.dumps(violation, indent=1)}")
    if result["violated"] > len(result["violations"]):
        suite.failed(f"{what}: {result['violated']} violations in all")
