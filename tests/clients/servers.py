"""The simulated cluster and forebay as child processes, and their counts.

Ports are chosen by the system and read from what the processes say; readiness is asked for, not slept for.
Every process ends with the context that started it.
"""

import collections
import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request

PATIENCE = 60.0
POLL = 0.02

# Loopback is never reached through a proxy, whatever the environment says.
DIRECT = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
for name in ("FOREBAY_CONFIG", "FOREBAY_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
    DIRECT.pop(name, None)

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url):
    """The body of a plain GET as text."""
    with _opener.open(url, timeout=PATIENCE) as answer:
        return answer.read().decode()


def until(what, condition, patience=PATIENCE):
    """Asks for `condition` until it holds or patience ends; gives what it gave."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:.0f} s in vain: {what}")
        time.sleep(POLL)
    return found


class Process:
    """A child process whose output is kept, and waited for line by line."""

    def __init__(self, name, command, **options):
        self.name = name
        self.lines = collections.deque(maxlen=2000)
        self._news = threading.Condition()
        self._closed = False
        self._child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self):
        return self._child.pid

    def _read(self):
        for line in self._child.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._closed = True
            self._news.notify_all()

    def says(self, pattern):
        """Waits for a line that holds `pattern` and gives the match."""

        def found():
            matches = (re.search(pattern, line) for line in self.lines)
            return next((match for match in matches if match), None)

        with self._news:
            self._news.wait_for(lambda: found() or self._closed, PATIENCE)
            match = found()
        if match is None:
            raise AssertionError(f"{self.name} never said {pattern!r}; it said:\n" + "\n".join(self.lines))
        return match

    def end(self, expected=0):
        """Asks it to end, waits until it has, and checks how."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
        try:
            code = self._child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
            raise AssertionError(f"{self.name} did not end when told to") from None
        finally:
            self._reader.join(PATIENCE)
            self._child.stdout.close()
        if code != expected:
            raise AssertionError(f"{self.name} ended with {code}:\n" + "\n".join(self.lines))


class Cluster:
    """A simulated cluster; `calls` is what it was asked."""

    def __init__(self, binary, directory, task_time="300ms", latency="0ms", straggling="0ms"):
        command = [binary, "sim", "proxmox", "--listen", "127.0.0.1:0", "--stats", "127.0.0.1:0", "--vms", "16"]
        command += ["--task-time", task_time, "--latency", latency, "--straggling", straggling]
        command += ["--tls", str(directory / "sim-certs")]
        self.process = Process("the simulated cluster", command, env=DIRECT)
        self.ca = directory / "sim-certs" / "ca.pem"
        self.address = self.process.says(r"cluster at https://(\S+)")[1]
        user, password = self.process.says(r"user\s+(\S+) password (\S+)").groups()
        self.stats = self.process.says(r"counts at (\S+)")[1]
        tokens = dict(re.search(r"token ([^=]+)=(\S+)", line).groups() for line in self.process.lines if "token " in line)
        self.credentials = {"user": user, "password": password, "tokens": tokens}

    def calls(self):
        """How many requests reached it."""
        return int(re.search(r"^calls (\d+)$", fetch(self.stats), re.M)[1])

    def calls_by_target(self):
        """How many requests reached it, by method and target."""
        lines = re.findall(r"^(\d+) (.+)$", fetch(self.stats), re.M)
        return {line: int(count) for count, line in lines}


class Forebay:
    """forebay before an upstream of these settings."""

    def __init__(self, binary, directory, upstream, tls="auto"):
        config = directory / "forebay.yaml"
        settings = {
            "listen": [{"address": "127.0.0.1:0", "upstream": "lab"} | ({"tls": tls} if tls else {})],
            "certs": "certs",
            "admin": {"address": "127.0.0.1:0"},
            "upstreams": {"lab": upstream},
        }
        # JSON is YAML.
        config.write_text(json.dumps(settings))
        self.process = Process("forebay", [binary, "run", "--config", str(config)], cwd=directory, env=DIRECT)
        self.address = self.process.says(r"serving https?://([0-9.:]+)")[1]
        self.admin = self.process.says(r"http://([0-9.:]+)")[1]
        self.ca = directory / "certs" / "ca.pem"
        until("forebay is ready", lambda: self._ready())

    def _ready(self):
        with contextlib.suppress(OSError):
            return fetch(f"http://{self.admin}/readyz") is not None
        return False

    def upstream_calls(self):
        """How many requests it says it sent to the cluster."""
        return self._sum("forebay_upstream_requests_total")

    def client_calls(self):
        """How many requests it says it had from clients."""
        return self._sum("forebay_requests_total")

    def seconds(self):
        """How long it says that clients waited for the heads of its answers, in all."""
        return self._total("forebay_request_seconds_sum")

    def _sum(self, metric):
        return int(self._total(metric))

    def _total(self, metric):
        values = re.findall(rf"^{metric}\{{.*\}} (\S+)$", fetch(f"http://{self.admin}/metrics"), re.M)
        return sum(float(value) for value in values)


class Side:
    """Where a client connects, what it trusts, and the cluster that is counted behind it."""

    def __init__(self, name, cluster, front):
        self.name, self.cluster, self.front = name, cluster, front
        self.address = front.address if front else cluster.address
        self.ca = front.ca if front else cluster.ca

    def quiet_calls(self):
        """The cluster's count once forebay, if there is one, has sent the same number."""
        if self.front:
            counts = {}

            def equal():
                counts.update(forebay=self.front.upstream_calls(), cluster=self.cluster.calls())
                return counts["forebay"] == counts["cluster"]

            try:
                until("forebay's count of upstream calls equals the cluster's", equal, 10)
            except AssertionError as error:
                raise AssertionError(f"{error}: {counts}") from None
        return self.cluster.calls()


@contextlib.contextmanager
def side(name, binary, directory, **cluster_options):
    """A fresh cluster of these options, with forebay before it when `name` is `forebay`."""
    directory.mkdir(parents=True)
    with contextlib.ExitStack() as ending:
        cluster = Cluster(binary, directory, **cluster_options)
        ending.callback(cluster.process.end)
        front = None
        if name == "forebay":
            tls = {"ca": str(cluster.ca)}
            upstream = {"endpoints": [f"https://{cluster.address}"], "rules": ["proxmox"], "tls": tls}
            front = Forebay(binary, directory, upstream)
            ending.callback(front.process.end)
        try:
            yield Side(name, cluster, front)
        except BaseException:
            for process in filter(None, (cluster.process, front and front.process)):
                print(f"--- {process.name} said last:", *list(process.lines)[-40:], sep="\n")
            raise
