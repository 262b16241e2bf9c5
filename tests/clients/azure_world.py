"""A subscription that is also the public cloud, and the three ways in which clients can come to it.

The processes of a test find the names of the public cloud at an address of the loopback network: each has a
mount namespace of its own with another /etc/hosts, and nothing of the machine changes. So clients run as they are
installed, what goes round forebay arrives like everything else, and is counted where it arrives.

    direct    the clients call the public names, which lead to the subscription
    reverse   they are pointed at forebay, which calls the subscription at another address
    forward   they have nothing but HTTPS_PROXY and another bundle of roots

A fourth, `pressed`, is as `reverse`, with a forebay that lets few reads through and soon refuses the others itself.
"""

import contextlib
import json
import os
import pathlib
import random
import re
import subprocess

from servers import DIRECT, Process, fetch, until

HOST = "management.azure.com"
LOGIN = "login.microsoftonline.com"
# The account of the subscription in which Terraform can keep its state.
ACCOUNT = "examplestate"
# The region that some addresses in answers name; no other is ever named.
NAMES = (HOST, f"eastus.{HOST}", LOGIN, f"{ACCOUNT}.blob.core.windows.net")
WAYS = ("direct", "reverse", "forward")
# So little that one client after another read is refused, and so much that it gets on when it comes again.
PRESSED = {"limits": [{"match": "reads", "rate": "4/s", "burst": 4}], "queue": {"length": 1, "wait": "100ms"}}
TASK_TIME = "500ms"
TIMEOUT = 300


def hindrance():
    """Why this machine cannot give names to some processes alone; nothing if it can."""
    if os.geteuid() != 0:
        return "it takes root, as listening at port 443 does"
    mount = ["unshare", "--mount", "mount", "--bind", "/etc/hosts", "/etc/hosts"]
    tried = subprocess.run(mount, capture_output=True, text=True)
    return tried.stderr.strip() if tried.returncode else None


class Names:
    """Where the public names lead."""

    def __init__(self, directory):
        # Several of these may stand on one machine.
        self.address = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
        self.hosts = directory / "hosts"
        known = pathlib.Path("/etc/hosts").read_text()
        self.hosts.write_text(f"{known}\n{self.address} {' '.join(NAMES)}\n")

    def command(self, command):
        """The command with these names; what it starts keeps its process id."""
        there = 'mount --bind "$0" /etc/hosts && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", there, str(self.hosts), *command]


class Place:
    """A fresh subscription with clients before it that come in one of the ways."""

    def __init__(self, way, binary, directory, ending, refuse_every):
        directory.mkdir(parents=True)
        self.way, self.binary, self.directory = way, binary, directory
        self.names = Names(directory)
        self.processes = []
        self._simulate(ending, refuse_every)
        self.front = self.admin = None
        roots = [self.ca]
        if way != "direct":
            roots.append(self._put_before(ending))
        self.endpoint = f"https://{self.front}" if way in ("reverse", "pressed") else f"https://{HOST}"
        # Forebay speaks for the API, the cloud for everything else.
        self.trusted = directory / "trusted.pem"
        self.trusted.write_text("".join(root.read_text() for root in roots))

    def _start(self, ending, name, command, **options):
        process = Process(name, self.names.command([self.binary, *command]), env=DIRECT, **options)
        self.processes.append(process)
        ending.callback(process.end)
        return process

    def _simulate(self, ending, refuse_every):
        command = ["sim", "azure", "--listen", "127.0.0.1:0", "--stats", "127.0.0.1:0", "--vms", "10"]
        command += ["--public", f"{self.names.address}:443", "--tls", str(self.directory / "sim-certs")]
        command += ["--task-time", TASK_TIME, "--links", "mixed", "--refuse-every", str(refuse_every)]
        # What clients may send is another test's; here each is refused as often directly as through forebay.
        command += ["--throttle", "count"]
        cloud = self._start(ending, "the simulated cloud", command)
        self.ca = self.directory / "sim-certs" / "ca.pem"
        self.inner = cloud.says(r"Manager at https://(\S+)")[1]
        self.tenant = cloud.says(r"tenant (\S+)")[1]
        self.subscription = cloud.says(r"subscription (\S+)")[1]
        self.client, self.secret = cloud.says(r"client (\S+) secret (\S+)$").groups()
        self.stats = cloud.says(r"counts at (\S+)")[1]

    def _put_before(self, ending):
        """Starts forebay; gives the CA that clients must trust."""
        config = self.directory / "forebay.yaml"
        listener = {"address": "127.0.0.1:0", "upstream": "azure", "tls": "auto"}
        if self.way == "forward":
            hosts = {HOST: "azure", f"*.{HOST}": "azure"}
            listener = {"address": "127.0.0.1:0", "intercept": hosts, "tunnel": [LOGIN, "*.blob.core.windows.net"]}
        upstream = {"endpoints": [f"https://{self.inner}"], "rules": ["azure"], "tls": {"ca": str(self.ca)}}
        if self.way == "pressed":
            upstream |= PRESSED
        # JSON is YAML.
        config.write_text(json.dumps({
            "listen": [listener], "certs": "certs", "admin": {"address": "127.0.0.1:0"}, "upstreams": {"azure": upstream},
        }))
        forebay = self._start(ending, "forebay", ["run", "--config", str(config)], cwd=self.directory)
        says = r"HTTPS_PROXY=http://([0-9.:]+)" if self.way == "forward" else r"serving https://([0-9.:]+)"
        self.front = forebay.says(says)[1]
        self.admin = forebay.says(r"operators at http://([0-9.:]+)")[1]
        until("forebay is ready", self._is_ready)
        return self.directory / "certs" / "ca.pem"

    def _is_ready(self):
        with contextlib.suppress(OSError):
            return fetch(f"http://{self.admin}/readyz") is not None
        return False

    def environment(self):
        """What a client of any kind finds in its environment."""
        environment = {
            **DIRECT,
            "REQUESTS_CA_BUNDLE": str(self.trusted),
            "SSL_CERT_FILE": str(self.trusted),
            "NODE_EXTRA_CA_CERTS": str(self.trusted),
        }
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            environment.pop(name, None)
            environment.pop(name.lower(), None)
        if self.way == "forward":
            environment["HTTPS_PROXY"] = f"http://{self.front}"
        return environment

    def run(self, command, check=True, **more):
        """Runs a client and gives what it printed."""
        done = subprocess.run(
            self.names.command(command), env={**self.environment(), **more}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=TIMEOUT, cwd=self.directory,
        )
        if check and done.returncode:
            raise AssertionError(f"{self.way}: {command} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr}")
        return done.stdout

    def settings(self):
        """The file that tells a client where to connect and who to be."""
        path = self.directory / "settings.json"
        path.write_text(json.dumps({
            "endpoint": self.endpoint,
            "authority": f"https://{LOGIN}",
            "tenant": self.tenant,
            "subscription": self.subscription,
            "client": self.client,
            "secret": self.secret,
        }))
        return str(path)

    def counts(self):
        """How many requests to the API came to the address behind forebay, and how many to the public names."""
        text = fetch(self.stats)
        return [int(re.search(rf"^{name} (\d+)$", text, re.M)[1]) for name in ("calls", "public_calls")]

    def quiet_calls(self):
        """The calls that reached the API. Directly all came by the public names; else none did, and forebay knows
        of all."""
        if self.way == "direct":
            inner, public = self.counts()
            if inner:
                raise AssertionError(f"{inner} calls came where no client was pointed")
            return public
        try:
            until("forebay's count of upstream calls equals the API's", lambda: self._sent() == self.counts()[0], 10)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self._sent()} and {self.counts()[0]}") from None
        inner, public = self.counts()
        if public:
            past = "\n".join(re.findall(r"^public .*", fetch(self.stats), re.M))
            raise AssertionError(f"{public} requests went round forebay ({self.way}):\n{past}")
        return inner

    def _sent(self):
        """What forebay says that it sent to the API; what it tunnelled elsewhere is not of that."""
        return self._counter("forebay_upstream_requests_total")

    def pushed_back(self):
        """How many requests forebay refused itself, because they would have had to wait too long."""
        return self._counter("forebay_limit_rejected_total")

    def _counter(self, name):
        lines = re.findall(rf"^{name}\{{(.*)\}} (\S+)$", fetch(f"http://{self.admin}/metrics"), re.M)
        return sum(int(float(value)) for labels, value in lines if 'upstream="azure"' in labels)

    def refused(self):
        """How many reads were refused as for want of a token."""
        return int(re.search(r"^refused (\d+)$", fetch(self.stats), re.M)[1])


@contextlib.contextmanager
def place(way, binary, directory, refuse_every):
    """A place for clients; one in so many reads is refused there, as for want of a token."""
    with contextlib.ExitStack() as ending:
        made = None
        try:
            made = Place(way, binary, directory, ending, refuse_every)
            yield made
        except BaseException:
            with contextlib.suppress(Exception):
                inner, public = made.counts()
                print(f"--- {way}: {inner} calls came by the address behind forebay, {public} by the public names")
            for process in made.processes if made else ():
                print(f"--- {process.name} ({way}) said last:", *list(process.lines)[-40:], sep="\n")
            raise
