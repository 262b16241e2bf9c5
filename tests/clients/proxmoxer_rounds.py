"""proxmoxer makes and unmakes guests round after round, while others poll the same guests; every read is judged.

Arguments: a JSON file that says where to connect, what to trust and who to be, and the number of rounds. Prints one
JSON line: how much was read, and each read that showed the past. No read is repeated until it is right.
"""

import json
import sys
import threading
import time

from proxmoxer import ProxmoxAPI, ResourceException
from proxmoxer.tools import Tasks as Waiting

from timeline import State, Tasks, Timeline

with open(sys.argv[1], encoding="utf-8") as handle:
    SETTINGS = json.load(handle)
ROUNDS = int(sys.argv[2])
BASE, COPY = 50001, 50002
HOME, AWAY = "pve1", "pve2"
# How often a task is asked for, and the pause between two reads of a poller.
LOOK, PACE = 0.02, 0.02
KEPT = 20  # violations that are told in full


class Judge:
    """Everything that was read, and what of it showed the past."""

    def __init__(self):
        self.guests = {vmid: Timeline(vmid) for vmid in (BASE, COPY)}
        self.tasks = Tasks()
        self.counts = {"read back": 0, "polled": 0}
        self.violations = []
        self.violated = 0
        self._lock = threading.Lock()

    def count(self, kind, number):
        with self._lock:
            self.counts[kind] += number

    def found(self, violation):
        with self._lock:
            self.violated += 1
            if len(self.violations) < KEPT:
                self.violations.append(violation)


class Reader:
    """Reads guests in all the places where they show, and has each judged."""

    def __init__(self, name, kind, pve, judge):
        self.name, self.kind, self.pve, self.judge = name, kind, pve, judge

    def _judged(self, view, node, vmids, call):
        """Makes a read and has what it shows of each guest judged."""
        told = {vmid: self.judge.guests[vmid].told() for vmid in vmids}
        seen = call()
        for vmid in vmids:
            shown = seen.get(vmid)
            violation = self.judge.guests[vmid].judge(self.name, view, node, told[vmid], shown)
            if violation:
                self.judge.found(violation)
        self.judge.count(self.kind, 1)

    def _guest(self, view, node, vmid, call, picked):
        def read():
            try:
                return {vmid: picked(call())}
            except ResourceException as error:
                if "does not exist" not in error.status_message + error.content:
                    raise
                return {}

        self._judged(view, node, [vmid], read)

    def config(self, node, vmid):
        guest = self.pve.nodes(node).qemu(vmid)
        self._guest("config", node, vmid, guest.config.get, configured)

    def status(self, node, vmid):
        guest = self.pve.nodes(node).qemu(vmid)
        self._guest("status", node, vmid, guest.status.current.get, listed)

    def snapshots(self, node, vmid):
        guest = self.pve.nodes(node).qemu(vmid)
        self._guest("snapshots", node, vmid, guest.snapshot.get, snapshot_names)

    def list(self, node):
        def read():
            return {int(item["vmid"]): listed(item) for item in self.pve.nodes(node).qemu.get()}

        self._judged("list", node, list(self.judge.guests), read)

    def resources(self):
        def read():
            items = self.pve.cluster.resources.get(type="vm")
            return {int(item["vmid"]): (item["node"], item.get("lock", "")) for item in items}

        self._judged("resources", None, list(self.judge.guests), read)

    def feed(self):
        """The list of all tasks: who sees an end in it has been told of it."""
        for task in self.pve.cluster.tasks.get():
            if "endtime" in task:
                self.judge.tasks.ended(task["upid"])
        self.judge.count(self.kind, 1)

    def task(self, node, upid, ended):
        """A task that was told of must be in its node's list, and its end once that was told."""
        self.judge.count(self.kind, 1)
        tasks = {task["upid"]: task for task in self.pve.nodes(node).tasks.get(source="all", limit=50)}
        status = tasks.get(upid, {}).get("status")
        if status not in ({"OK"} if ended else {"OK", "RUNNING"}):
            self.judge.found({"reader": self.name, "read": f"tasks of {node}", "shown": status, "told": upid})


def configured(config):
    return (config.get("name", ""), config.get("description", ""), config.get("lock", ""))


def listed(item):
    return (item["name"], item["status"], item.get("lock", ""))


def snapshot_names(items):
    return frozenset(item["name"] for item in items if item["name"] != "current")


class Writer:
    """One loop of rounds. After each answer and after each task's end it reads back what it changed, once."""

    def __init__(self, pve, judge):
        self.pve, self.judge = pve, judge
        self.reader = Reader("the writer", "read back", pve, judge)

    def read_back(self, vmid, nodes):
        """The guest where it is and where it was, and the lists."""
        for node in sorted(nodes):
            self.reader.config(node, vmid)
            self.reader.status(node, vmid)
            self.reader.list(node)
            self.reader.snapshots(node, vmid)
        self.reader.resources()

    def step(self, vmid, write, end, during=None):
        """A write that starts a task: `during` shows from the answer on, `end` once the task has ended."""
        guest = self.judge.guests[vmid]
        nodes = {guest.last().node, end.node} - {None}
        between = guest.may_be(during) if during else None
        last = guest.may_be(end)
        upid = write()
        if between is not None:
            guest.tell(between)
        self.judge.tasks.started(upid, guest, last)
        node = upid.split(":")[1]
        self.reader.config(node, vmid)
        self.reader.list(node)
        self.reader.task(node, upid, ended=False)
        ended = Waiting.blocking_status(self.pve, upid, timeout=60, polling_interval=LOOK)
        if ended is None or ended["exitstatus"] != "OK":
            raise AssertionError(f"the task {upid} did not end well: {ended}")
        self.judge.tasks.ended(upid)
        self.read_back(vmid, nodes)
        self.reader.task(node, upid, ended=True)

    def round(self, number):
        home, away = self.pve.nodes(HOME), self.pve.nodes(AWAY)
        base, copy = self.judge.guests[BASE], self.judge.guests[COPY]

        made = State(node=HOME, name=f"base-{number}", description=f"made in {number}")
        options = {"cores": 1, "memory": 256, "scsi0": "ceph-vm:1", "name": made.name}
        self.step(
            BASE, lambda: home.qemu.post(vmid=BASE, description=made.description, **options), made,
            made.but(lock="create"),
        )
        cloned = State(node=HOME, name=f"copy-{number}", description=f"cloned in {number}")
        options = {"newid": COPY, "name": cloned.name, "description": cloned.description, "full": 1}
        self.step(
            COPY, lambda: home.qemu(BASE).clone.post(**options), cloned, cloned.but(lock="clone")
        )
        # Without a task: all of it shows from the answer on.
        changed = cloned.but(description=f"changed in {number}")
        told = copy.may_be(changed)
        home.qemu(COPY).config.put(description=changed.description)
        copy.tell(told)
        self.read_back(COPY, {HOME})

        running = changed.but(status="running")
        self.step(COPY, home.qemu(COPY).status.start.post, running)
        snapped = running.but(snapshots=frozenset({f"s{number}"}))
        self.step(
            COPY, lambda: home.qemu(COPY).snapshot.post(snapname=f"s{number}"), snapped,
            running.but(lock="snapshot"),
        )
        moved = snapped.but(node=AWAY)
        self.step(
            COPY, lambda: home.qemu(COPY).migrate.post(target=AWAY, online=1), moved,
            snapped.but(lock="migrate"),
        )
        renamed = moved.but(description=f"moved in {number}")
        self.step(COPY, lambda: away.qemu(COPY).config.post(description=renamed.description), renamed)
        stopped = renamed.but(status="stopped")
        self.step(COPY, away.qemu(COPY).status.stop.post, stopped)
        bare = stopped.but(snapshots=frozenset())
        self.step(
            COPY, away.qemu(COPY).snapshot(f"s{number}").delete, bare,
            stopped.but(lock="snapshot-delete"),
        )
        self.step(COPY, away.qemu(COPY).delete, State(), bare.but(lock="destroyed"))
        self.step(BASE, home.qemu(BASE).delete, State(), base.last().but(lock="destroyed"))


def poll(reader, ended, failed):
    """Reads everything that shows the guests, over and over, at a pace."""
    reads = [lambda: reader.list(HOME), lambda: reader.list(AWAY), reader.resources, reader.feed]
    for vmid in reader.judge.guests:
        for node in (HOME, AWAY):
            for view in (reader.config, reader.status, reader.snapshots):
                reads.append(lambda view=view, node=node, vmid=vmid: view(node, vmid))
    try:
        while True:
            for read in reads:
                if ended.wait(PACE):
                    return
                read()
    except Exception as error:  # told at the end: a poller that stopped proves nothing
        failed.append(f"{reader.name}: {error!r}")


def connect(**who):
    return ProxmoxAPI(SETTINGS["address"], verify_ssl=SETTINGS["ca"], timeout=60, **who)


def by_password():
    return connect(user=SETTINGS["user"], password=SETTINGS["password"])


def by_token(name):
    user, token_name = name.split("!")
    return connect(user=user, token_name=token_name, token_value=SETTINGS["tokens"][name])


def main():
    judge, ended, failed = Judge(), threading.Event(), []
    pollers = [
        ("another ticket of the writer's user", by_password()),
        ("a token", by_token(SETTINGS["admin"])),
        ("an auditor's token", by_token(SETTINGS["auditor"])),
    ]
    threads = [
        threading.Thread(target=poll, args=(Reader(name, "polled", pve, judge), ended, failed))
        for name, pve in pollers
    ]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    try:
        writer = Writer(by_password(), judge)
        for number in range(ROUNDS):
            writer.round(number)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    took = time.monotonic() - began
    result = {"rounds": ROUNDS, "seconds": round(took, 1), **judge.counts, "violated": judge.violated}
    print(json.dumps({**result, "violations": judge.violations, "failed": failed}))


main()
