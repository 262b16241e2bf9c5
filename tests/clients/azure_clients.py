"""The real az before a simulated subscription, directly and through forebay: what a session costs, and that writes
show. Every client in every way is the part of azure_modes.py.

The simulated subscription writes the addresses of pages and operations as the public host's and its regions', so a
client that got one unchanged could not follow it.
"""

import concurrent.futures
import contextlib
import pathlib
import re
import subprocess
import sys
import time

import azure_modes
from azure_modes import learnt
from servers import DIRECT, Forebay, Process, Side, fetch

HERE = pathlib.Path(__file__).resolve().parent
TIMEOUT = 300

# Twelve commands of an operator: with ten machines they make 132 requests directly. What forebay lets through
# is what they ask for the first time, what the start has overtaken, and the start itself.
SESSION = [
    "group list",
    "account list --refresh",
    "vm list",
    "vm list-ip-addresses",
    "vm list-ip-addresses -g rg-alpha -n web-01",
    "vm show -d -g rg-alpha -n web-01",
    "vm show -d -g rg-alpha -n web-01",
    "vm list -d",
    "vm list -d",
    "vm start -g rg-alpha -n build-01",
    "vm list -d",
    "vm list -d -g rg-alpha",
]
SESSION_DIRECT, SESSION_THROUGH = 132, 51
# The same with keys that fold case and interfaces and addresses read as lists.
FEWER = [str(HERE.parent.parent / "deploy" / "azure-fewer-calls.yaml"), "azure"]
SESSION_FEWER, LISTS_FEWER = 28, 16
# An instance view lives for 10 s. A machine that needs longer for the commands from the first list with details
# to the last reads those of the nine others again.
INSTANCE_VIEW_LIVES, OTHERS = 10.0, 9
# Four at once are one that is asked for the first time.
LISTS = 4
LIST_DIRECT, LISTS_THROUGH = 32, 32
# How often a slow machine may try.
ATTEMPTS = 3
# What forebay itself may take for a warm `az vm list -d`, whatever the subscription takes for each call.
LATENCY, OWN_SECONDS = "150ms", 0.030
WRITES = [
    ("vm deallocate -g rg-alpha -n web-02", "vm get-instance-view -g rg-alpha -n web-02", "PowerState/deallocated"),
    ("vm start -g rg-alpha -n web-02", "vm get-instance-view -g rg-alpha -n web-02", "PowerState/running"),
    ("vm stop -g rg-alpha -n web-02", "vm get-instance-view -g rg-alpha -n web-02", "PowerState/stopped"),
    ("vm update -g rg-alpha -n web-02 --set tags.round=r{n}", "vm show -g rg-alpha -n web-02", '"round": "r{n}"'),
]


class Subscription:
    """A simulated subscription; `calls` is what it was asked."""

    def __init__(self, binary, directory, task_time="1s", latency="0ms", links="as-asked"):
        command = [binary, "sim", "azure", "--listen", "127.0.0.1:0", "--stats", "127.0.0.1:0", "--vms", "10"]
        command += ["--task-time", task_time, "--latency", latency, "--links", links]
        command += ["--tls", str(directory / "sim-certs")]
        self.process = Process("the simulated subscription", command, env=DIRECT)
        self.ca = directory / "sim-certs" / "ca.pem"
        self.address = self.process.says(r"Manager at https://(\S+)")[1]
        self.tenant = self.process.says(r"tenant (\S+)")[1]
        self.subscription = self.process.says(r"subscription (\S+)")[1]
        self.client, self.secret = self.process.says(r"client (\S+) secret (\S+)$").groups()
        self.stats = self.process.says(r"counts at (\S+)")[1]

    def calls(self):
        """How many requests to the API reached it."""
        return int(re.search(r"^calls (\d+)$", fetch(self.stats), re.M)[1])

    def overdrawn(self):
        """How many requests came when their bucket was empty."""
        return int(re.search(r"^overdrawn (\d+)$", fetch(self.stats), re.M)[1])


@contextlib.contextmanager
def side(name, binary, directory, rules=("azure",), **options):
    """A fresh subscription of these options, with forebay of these rules before it when `name` is `forebay`."""
    directory.mkdir(parents=True)
    with contextlib.ExitStack() as ending:
        # Directly the addresses must lead back to the simulation; through forebay, forebay sees to that.
        options.setdefault("links", "mixed" if name == "forebay" else "as-asked")
        subscription = Subscription(binary, directory, **options)
        ending.callback(subscription.process.end)
        front = None
        if name == "forebay":
            tls = {"ca": str(subscription.ca)}
            upstream = {"endpoints": [f"https://{subscription.address}"], "rules": list(rules), "tls": tls}
            front = Forebay(binary, directory, upstream)
            ending.callback(front.process.end)
        # Clients check the certificates of the login authority and of the API with one file.
        trusted = directory / "trusted.pem"
        trusted.write_text("".join(pathlib.Path(ca).read_text() for ca in {subscription.ca, front.ca if front else subscription.ca}))
        try:
            yield Arm(name, subscription, front, trusted, directory)
        except BaseException:
            for process in filter(None, (subscription.process, front and front.process)):
                print(f"--- {process.name} said last:", *list(process.lines)[-40:], sep="\n")
            raise


class Arm(Side):
    """Where clients connect, and how az is set up for it."""

    def __init__(self, name, subscription, front, trusted, directory):
        super().__init__(name, subscription, front)
        self.trusted, self.directory = trusted, directory

    def environment(self):
        config = self.directory / "az"
        return {
            **DIRECT,
            "AZURE_CONFIG_DIR": str(config),
            "REQUESTS_CA_BUNDLE": str(self.trusted),
            "SSL_CERT_FILE": str(self.trusted),
            "AZURE_CORE_COLLECT_TELEMETRY": "no",
            "AZURE_CORE_SURVEY_MESSAGE": "no",
            "AZURE_CORE_INSTANCE_DISCOVERY": "false",
            "AZURE_AUTO_UPGRADE_ENABLE": "no",
        }

    def az(self, az, command, check=True):
        """Runs one command and gives what it printed."""
        done = subprocess.run(
            [az, *command.split()],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        if check and done.returncode:
            raise AssertionError(f"az {command} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    def log_in(self, az):
        """Points az here with a cloud of its own, and logs in at the simulated authority."""
        self.az(az, f"cloud register -n Lab --endpoint-resource-manager https://{self.address}"
                    f" --endpoint-active-directory https://{self.cluster.address}")
        self.az(az, "cloud set -n Lab")
        self.az(az, f"login --service-principal -u {self.cluster.client} -p {self.cluster.secret}"
                    f" --tenant {self.cluster.tenant}")
        self.quiet_calls()


def run(suite):
    tools = install(suite.directory / "azure-venv")
    az, python = tools
    session(suite, az)
    lists(suite, az)
    warm(suite, az)
    rounds(suite, az)
    azure_modes.run(suite, az, python)


def install(venv):
    """az and the SDKs for Python, pinned, in an environment of their own."""
    began = time.monotonic()
    python = str(venv / "bin" / "python")
    requirements = str(HERE / "requirements-azure.txt")
    for command in (
        [sys.executable, "-m", "venv", str(venv)],
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements],
    ):
        subprocess.run(command, stdin=subprocess.DEVNULL, check=True)
    print(f"az was installed in {time.monotonic() - began:.0f} s", flush=True)
    return str(venv / "bin" / "az"), python


def session(suite, az):
    """The twelve commands: equal results, and few calls."""
    with side("direct", suite.binary, suite.directory / "session-direct") as target:
        target.log_in(az)
        before = target.quiet_calls()
        direct = [(command, learnt(target.az(az, command))) for command in SESSION]
        direct_calls = target.quiet_calls() - before
    if direct_calls != SESSION_DIRECT:
        suite.failed(f"the session of az was meant to take {SESSION_DIRECT} calls, it took {direct_calls}")
    session_through(suite, az, direct, direct_calls, "session", ["azure"], SESSION_THROUGH)
    session_through(suite, az, direct, direct_calls, "session-fewer", FEWER, SESSION_FEWER)


def session_through(suite, az, direct, direct_calls, name, rules, most):
    """The twelve commands through forebay with these rules."""
    for attempt in range(ATTEMPTS):
        where = suite.directory / f"{name}-{attempt}"
        with side("forebay", suite.binary, where, rules, links="public") as target:
            target.log_in(az)
            before = target.quiet_calls()
            through, counts, moments = [], [before], [time.monotonic()]
            for command in SESSION:
                through.append((command, learnt(target.az(az, command))))
                counts.append(target.cluster.calls())
                moments.append(time.monotonic())
            through_calls = target.quiet_calls() - before
        suite.compare_steps("az", direct, through)
        first, last = SESSION.index("vm list -d"), len(SESSION) - 1
        took = moments[last] - moments[first]
        allowed = most + (OTHERS if took > INSTANCE_VIEW_LIVES else 0)
        each = [after - before for before, after in zip(counts, counts[1:])]
        print(f"az {name}: {direct_calls} calls directly, {through_calls} through forebay {each},"
              f" {took:.1f} s between the lists", flush=True)
        if through_calls <= most:
            break
    if through_calls > allowed:
        suite.failed(f"the {name} of az cost {through_calls} calls through forebay, {allowed} at most were meant")
    suite.rows.append((f"az, {name}", direct_calls, through_calls))


def lists(suite, az):
    """Four `az vm list -d` at once, and one more within the lifetimes, as directly."""
    with side("direct", suite.binary, suite.directory / "lists-direct") as target:
        target.log_in(az)
        direct = learnt(target.az(az, "vm list -d"))
    lists_through(suite, az, direct, "lists", ["azure"], LISTS_THROUGH)
    lists_through(suite, az, direct, "lists-fewer", FEWER, LISTS_FEWER)


def lists_through(suite, az, direct, name, rules, most):
    """The same through forebay with these rules."""
    for attempt in range(ATTEMPTS):
        where = suite.directory / f"{name}-{attempt}"
        with side("forebay", suite.binary, where, rules, links="public") as target:
            target.log_in(az)
            before = target.quiet_calls()
            with concurrent.futures.ThreadPoolExecutor(LISTS) as pool:
                outputs = list(pool.map(lambda _: learnt(target.az(az, "vm list -d")), range(LISTS)))
            at_once = target.quiet_calls() - before
            again = learnt(target.az(az, "vm list -d"))
            repeated = target.quiet_calls() - before - at_once
        if any(output != direct for output in [*outputs, again]):
            suite.failed(f"az vm list -d learnt other things through forebay ({name}) than directly")
        print(f"az vm list -d, {name}: {at_once} calls for {LISTS} at once, {repeated} for one more", flush=True)
        if at_once <= most and repeated == 0:
            break
    else:
        suite.failed(f"{LISTS} az vm list -d at once ({name}) cost {at_once} calls, one more {repeated}")
    suite.rows.append((f"az vm list -d, {name}, {LISTS} at once", LISTS * LIST_DIRECT, at_once))
    suite.rows.append((f"az vm list -d, {name}, once more", LIST_DIRECT, repeated))


def warm(suite, az):
    """What forebay itself takes of a warm `az vm list -d`, by its own clock."""
    for attempt in range(ATTEMPTS):
        with side("forebay", suite.binary, suite.directory / f"warm-{attempt}", latency=LATENCY, links="public") as target:
            target.log_in(az)
            # The first one takes five seconds of calls, more than the lifetime of what it read first.
            target.az(az, "vm list -d")
            target.az(az, "vm list -d")
            calls, spent, served = target.quiet_calls(), target.front.seconds(), target.front.client_calls()
            target.az(az, "vm list -d")
            calls, spent = target.quiet_calls() - calls, target.front.seconds() - spent
            served = target.front.client_calls() - served
        print(f"az vm list -d, warm: {served} requests, {calls} calls, {spent * 1000:.1f} ms in forebay", flush=True)
        if calls == 0:
            break
    if served != LIST_DIRECT or calls or spent > OWN_SECONDS:
        suite.failed(f"a warm az vm list -d of {served} requests cost {calls} calls and {spent * 1000:.0f} ms in forebay")


def rounds(suite, az):
    """Each write shows in the first read after it."""
    with side("forebay", suite.binary, suite.directory / "rounds", task_time="300ms") as target:
        target.log_in(az)
        for number in range(2):
            for write, read, expected in WRITES:
                target.az(az, "vm list -d")
                target.az(az, read)
                target.az(az, write.format(n=number))
                shown = target.az(az, read)
                if expected.format(n=number) not in shown:
                    suite.failed(f"after az {write.format(n=number)} there is no {expected.format(n=number)} in\n{shown}")
