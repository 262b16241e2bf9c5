"""What the benchmarks share: an origin, forebay and nginx started side by side, and the load tool.

The generator and the origin run on CPU 0, the proxies on CPU 1 with one worker each, so that what is measured is
the CPU time of a proxy and not who gets the machine. Where time is measured that clients wait, `share_cpus` gives
all of it to all. Everything that is written lives in one directory on a tmpfs.
"""

import argparse
import atexit
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
FOREBAY = pathlib.Path(os.environ.get("FOREBAY", TARGET / "forebay"))
LOAD = pathlib.Path(os.environ.get("LOAD", TARGET / "examples" / "load"))

GENERATOR_CPU = "0"
PROXY_CPU = "1"
WORKERS = 1
AUTHORIZATION = "PVEAPIToken=bench@pve!bench=00000000-0000-0000-0000-000000000000"

# What the rules pack of Proxmox says of a guest's configuration, with a lifetime that outlasts a run.
BENCH_RULES = """api: proxmox
reads:
  - path: /api2/{format}/nodes/{node}/qemu/{vmid}/config
    ttl: 1h
    stale_if_error: 1h
    share: principal
    groups: ["guest/{vmid}", guests-all]
    unless: {json: /data/lock, present: true}
"""
HIT = "/api2/json/nodes/pve1/qemu/100/config?size={size}"
MISS = "/api2/json/nodes/pve1/qemu/100/config?size={size}&n={{}}"
# A read that the rule pack passes through.
PASS = "/api2/json/nodes/pve1/journal?size={size}&n={{}}"


def arguments(description, **options):
    """The command line of a benchmark: every option with its default."""
    parser = argparse.ArgumentParser(description=description)
    for name, default in options.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"default: {default}")
    parser.add_argument("--json", help="also write all numbers to this file")
    return parser.parse_args()


def share_cpus():
    """Everything runs where the system puts it, with as many workers as there are CPUs, as it does by default."""
    global GENERATOR_CPU, PROXY_CPU, WORKERS
    GENERATOR_CPU = PROXY_CPU = f"0-{os.cpu_count() - 1}"
    WORKERS = os.cpu_count()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def descendants(pid):
    """A process and all processes below it."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid] + [each for child in children for each in descendants(int(child))]


class Rig:
    """A directory, an origin and the processes of a run; all end with the run."""

    def __init__(self):
        for needed, hint in [(FOREBAY, "cargo build --release"), (LOAD, "cargo build --release --example load")]:
            if not needed.exists():
                sys.exit(f"{needed} is missing: {hint}")
        for program, package in [("nginx", "nginx"), ("taskset", "util-linux"), ("openssl", "openssl")]:
            if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
                sys.exit(f"{program} is missing: install the package {package}")
        if os.cpu_count() < 2:
            sys.exit("two CPUs are needed: one for the proxy, one for everything else")
        os.environ["PATH"] += ":/usr/sbin:/sbin"
        tmpfs = "/dev/shm" if os.path.isdir("/dev/shm") else None
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="forebay-bench-", dir=tmpfs))
        # nginx' worker may run as another user.
        self.directory.chmod(0o755)
        self.processes = []
        atexit.register(self.stop)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        self.origin = None

    def start(self, *command, cpu, name):
        """Starts a process on one CPU."""
        log = open(self.directory / f"{name}.log", "ab")
        process = subprocess.Popen(["taskset", "-c", cpu, *map(str, command)], stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def start_origin(self):
        self.origin = free_port()
        self.start(LOAD, "origin", "--listen", f"127.0.0.1:{self.origin}", cpu=GENERATOR_CPU, name="origin")
        wait_for(self.origin)
        return self.origin

    def certificate(self):
        """A self-signed ECDSA P-256 certificate; its files."""
        certificate, key = self.directory / "certificate.pem", self.directory / "key.pem"
        if not key.exists():
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
                + ["-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost"]
                + ["-addext", "subjectAltName=DNS:localhost"],
                check=True,
                capture_output=True,
            )
            key.chmod(0o644)
        return certificate, key

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Proxy:
    """A running proxy."""

    def __init__(self, name, process, port, tls_port=None, admin=None, cache=None):
        self.name, self.process, self.port, self.tls_port = name, process, port, tls_port
        self.admin, self.cache = admin, cache

    def pids(self):
        return descendants(self.process.pid)

    def get(self, path, method="GET", headers=None):
        """One request; its status, fields and milliseconds."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        start = time.perf_counter()
        connection.request(method, path, headers={"Authorization": AUTHORIZATION, **(headers or {})})
        answer = connection.getresponse()
        answer.read()
        took = (time.perf_counter() - start) * 1000
        connection.close()
        return answer.status, answer.headers, took

    def memory(self):
        """Proportional set size of all its processes, in bytes; what a tmpfs holds is not part of it."""
        total = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total

    def resident(self):
        """Resident set size of its first process, in bytes."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def metric(self, name, **labels):
        """The sum of a metric of forebay over everything with these labels."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=30)
        connection.request("GET", "/metrics")
        total = 0.0
        for line in connection.getresponse().read().decode().splitlines():
            head, _, value = line.rpartition(" ")
            if head.split("{")[0] == name and all(f'{k}="{v}"' in head for k, v in labels.items()):
                total += float(value)
        return total


def start_forebay(rig, upstream, name="forebay", rules=BENCH_RULES, threads=None, tls=False, cpu=None, more="",
                  concurrency=256, binary=FOREBAY):
    """forebay with the full Proxmox pack behind `rules`, metrics and its default log."""
    port, tls_port, admin = free_port(), free_port(), free_port()
    directory = rig.directory / name
    directory.mkdir()
    (directory / "bench.yaml").write_text(rules)
    listeners = f"  - {{address: '127.0.0.1:{port}', upstream: origin}}\n"
    if tls:
        certificate, key = rig.certificate()
        listeners += (
            f"  - {{address: '127.0.0.1:{tls_port}', upstream: origin, "
            f"tls: {{certificate: {certificate}, key: {key}}}}}\n"
        )
    packs = "[bench.yaml, proxmox]" if rules else "[proxmox]"
    (directory / "forebay.yaml").write_text(
        f"listen:\n{listeners}threads: {threads or WORKERS}\n"
        f"admin: {{address: '127.0.0.1:{admin}'}}\n"
        "cache: {memory: 1GiB}\n"
        "upstreams:\n  origin:\n"
        f"    endpoints: ['http://127.0.0.1:{upstream}']\n"
        f"    rules: {packs}\n"
        # Proxmox bears 16 calls at once; this origin is not Proxmox, and nginx has no such bound.
        f"    concurrency: {concurrency}\n"
        # Nor does it close connections after a hundred calls, and nginx keeps them as well.
        "    requests_per_connection: 1000000000\n"
        # Nobody watches for changes made elsewhere, and nobody makes any.
        "    feed: {ceiling: 1d}\n"
        "    queue: {length: 10000}\n"
        # Misses accept a credential; a run of hits alone may be longer than the default minute.
        "    accept_for: 1h\n" + more
    )
    process = rig.start(binary, "run", "--config", directory / "forebay.yaml", cpu=cpu or PROXY_CPU, name=name)
    wait_for(port, process, rig, name)
    return Proxy(name, process, port, tls_port if tls else None, admin)


def start_nginx(rig, upstream, name="nginx", sendfile="on", tls=False, lifetimes=None, cpu=None, more="",
                server=""):
    """nginx with its cache on a tmpfs, split by credential like forebay's."""
    port, tls_port = free_port(), free_port()
    directory = rig.directory / name
    (directory / "cache").mkdir(parents=True)
    (directory / "cache").chmod(0o777)
    directory.chmod(0o755)
    listen_tls = ""
    if tls:
        certificate, key = rig.certificate()
        listen_tls = (
            f"listen 127.0.0.1:{tls_port} ssl backlog=4096; ssl_certificate {certificate}; "
            f"ssl_certificate_key {key}; ssl_protocols TLSv1.3;"
        )
    cached = "proxy_pass http://origin; proxy_cache store; proxy_cache_valid 200 {ttl}; " + more
    places = "".join(f"location ~ {p} {{ {cached.format(ttl=ttl)} }}\n" for p, ttl in (lifetimes or {}).items())
    (directory / "nginx.conf").write_text(
        f"""daemon off; worker_processes {WORKERS}; worker_rlimit_nofile 20000;
error_log {directory}/error.log warn; pid {directory}/nginx.pid;
events {{ worker_connections 8000; }}
http {{
  access_log off; sendfile {sendfile}; tcp_nodelay on; keepalive_timeout 300s; keepalive_requests 1000000000;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/temp;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  open_file_cache max=8000 inactive=300s; open_file_cache_valid 300s;
  proxy_cache_path {directory}/cache levels=1:2 keys_zone=store:64m max_size=8g inactive=1h use_temp_path=off;
  proxy_cache_key $request_uri$http_authorization; proxy_cache_lock on;
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffer_size 16k; proxy_buffers 16 16k;
  proxy_busy_buffers_size 64k;
  add_header X-Cache $upstream_cache_status;
  upstream origin {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096; {listen_tls} {server}
    location ~ /journal {{ proxy_pass http://origin; }}
    {places}
    location / {{ {cached.format(ttl="1h")} }}
  }}
}}
"""
    )
    process = rig.start("nginx", "-p", directory, "-c", directory / "nginx.conf", cpu=cpu or PROXY_CPU, name=name)
    wait_for(port, process, rig, name)
    return Proxy(name, process, port, tls_port if tls else None, cache=directory / "cache")


def wait_for(port, process=None, rig=None, name=""):
    """Waits until something listens."""
    for _ in range(2000):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process and process.poll() is not None:
                sys.exit(f"{name} ended:\n{(rig.directory / f'{name}.log').read_text()[-2000:]}")
            time.sleep(0.005)
    sys.exit(f"{name} does not listen on port {port}")


def load(command, *options):
    """Runs the load tool on its CPU; what it counted."""
    done = subprocess.run(
        ["taskset", "-c", GENERATOR_CPU, LOAD, command, *map(str, options)], capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(f"load {command} {' '.join(map(str, options))}\n{done.stderr}")
    return json.loads(done.stdout)


def drive(proxy, path, *options, tls=False):
    """Requests without a pause; what was counted, with the CPU time of the proxy."""
    port = proxy.tls_port if tls else proxy.port
    pids = [each for pid in proxy.pids() for each in ("--pid", pid)]
    extra = ["--tls"] if tls else []
    header = f"Authorization: {AUTHORIZATION}"
    return load("drive", "--to", f"127.0.0.1:{port}", "--path", path, "--header", header, *pids, *extra, *options)


def counted(port, reset=False):
    """What an origin or a tap has counted since the last reset."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/__reset" if reset else "/__report")
    return json.loads(connection.getresponse().read())


def spread(values, digits=2):
    """Median and range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def verdict(value, goal, at_least):
    met = value >= goal if at_least else value <= goal
    return f"{'>=' if at_least else '<='} {goal:g} {'met' if met else 'NOT MET'}"


def table(head, rows):
    """Prints a table in Markdown."""
    widths = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]
    line = lambda row: "| " + " | ".join(str(cell).ljust(width) for cell, width in zip(row, widths)) + " |"
    print(line(head))
    print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    for row in rows:
        print(line(row))
    sys.stdout.flush()


def save(options, numbers):
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(numbers, indent=1) + "\n")
