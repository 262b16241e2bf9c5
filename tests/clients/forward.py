"""Clients whose base URL nobody changes, with nothing but HTTPS_PROXY and a bundle of roots.

The host that they call is the public one; the simulated cluster plays it, because forebay connects to the
endpoint that its configuration names. A second host is tunnelled, a third is refused.
"""

import json
import subprocess

from servers import DIRECT, Cluster, Process, fetch, until

HOST = "management.azure.com"
READ = "/api2/json/nodes"
ADMIN = "terraform@pve!tf"


def run(suite):
    directory = suite.directory / "forward"
    directory.mkdir()
    cluster = Cluster(suite.binary, directory)
    try:
        with_cluster(suite, directory, cluster)
    finally:
        cluster.process.end()


def with_cluster(suite, directory, cluster):
    tunnelled = "localhost:" + cluster.address.rsplit(":", 1)[1]
    settings = {
        "listen": [{"address": "127.0.0.1:0", "intercept": {HOST: "lab"}, "tunnel": [tunnelled]}],
        "certs": "certs",
        "admin": {"address": "127.0.0.1:0"},
        "upstreams": {
            "lab": {"endpoints": [f"https://{cluster.address}"], "rules": ["proxmox"], "tls": {"ca": str(cluster.ca)}}
        },
    }
    config = directory / "forebay.yaml"
    config.write_text(json.dumps(settings))
    forebay = Process("forebay", [suite.binary, "run", "--config", str(config)], cwd=directory, env=DIRECT)
    try:
        proxy = forebay.says(r"HTTPS_PROXY=(http://[0-9.:]+)")[1]
        ca = directory / forebay.says(r"must trust the CA in (\S+)")[1]
        admin = forebay.says(r"operators at (http://[0-9.:]+)")[1]
        bundle = directory / "both.pem"
        bundle.write_text(ca.read_text() + cluster.ca.read_text())
        environment = {**DIRECT, "HTTPS_PROXY": proxy, "SSL_CERT_FILE": str(bundle), "REQUESTS_CA_BUNDLE": str(bundle)}
        for name in ("https_proxy", "ALL_PROXY", "all_proxy", "SSL_CERT_DIR", "NO_PROXY", "no_proxy"):
            environment.pop(name, None)
        token = f"PVEAPIToken={ADMIN}={cluster.credentials['tokens'][ADMIN]}"
        for client, ask, tunnels in clients(suite, bundle, token):
            # Go's own rule: what is on this machine is never reached through a proxy.
            asked = [f"https://{HOST}{READ}", f"https://{HOST}{READ}"]
            asked += [f"https://{tunnelled}{READ}"] if tunnels else []
            asked += ["https://refused.example/"]
            before = cluster.calls()
            done = subprocess.run(
                ask(asked), env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
            )
            told = [json.loads(line) for line in done.stdout.splitlines()]
            judge(suite, client, told, tunnels, cluster.calls() - before, done.stderr)
        # Another CA alone must not do, or all of this would prove nothing.
        wrong = {**environment, "SSL_CERT_FILE": str(cluster.ca), "REQUESTS_CA_BUNDLE": str(cluster.ca)}
        for client, ask, _ in clients(suite, cluster.ca, token):
            done = subprocess.run(
                ask([f"https://{HOST}{READ}"]), env=wrong, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=120,
            )
            said = (done.stdout + done.stderr).lower()
            if any(f'"status":{space}{quote}200' in said for space in ("", " ") for quote in ("", '"')) or "cert" not in said:
                suite.failed(f"{client} trusts forebay without its CA: {said}")
        until("no tunnel is open", lambda: 'forebay_tunnels{upstream="(tunnel)"} 0' in fetch(f"{admin}/metrics"))
    finally:
        forebay.end()


def clients(suite, bundle, token):
    """Each with the command that asks for URLs, and whether it goes through a proxy to a name of this machine."""
    script = str(suite.script("forward_scenario.py"))
    yield "requests, HTTPS_PROXY", lambda urls: [suite.python, script, token, *urls], True
    yield "Go, HTTPS_PROXY", lambda urls: [suite.go, "forward", token, *urls], False
    yield "curl, HTTPS_PROXY", lambda urls: ["sh", "-c", CURL, "sh", str(bundle), token, *urls], True


CURL = r"""
bundle=$1 token=$2; shift 2
told='{"url": "%{url}", "status": "%{http_code}", "connect": "%{http_connect}", "cache": "%header{cache-status}"}\n'
for url; do
    curl --silent --show-error --cacert "$bundle" --header "Authorization: $token" --output /dev/null \
        --write-out "$told" "$url" || true
done
"""


def judge(suite, client, told, tunnels, calls, stderr):
    def failed(why):
        suite.failed(f"{client}: {why}: {told} {stderr}")

    if len(told) != (4 if tunnels else 3):
        return failed("it did not tell of every URL")
    *answers, refused = told
    if any(int(answer.get("status", 0)) != 200 for answer in answers):
        return failed("something was not answered")
    if "hit" not in answers[1]["cache"] or answers[0]["cache"] == "":
        return failed("the host was not served from the cache")
    if tunnels and answers[2]["cache"]:
        return failed("the tunnel was looked into")
    said = refused.get("error", "") + refused.get("connect", "")
    if "403" not in said and "neither intercepted nor tunnelled" not in said:
        return failed("what is not named was not refused")
    suite.rows.append((client, len(answers), calls))
