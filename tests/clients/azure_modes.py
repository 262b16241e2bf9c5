"""Each client of Azure in each way: directly, pointed at forebay, and with nothing but HTTPS_PROXY.

What a client learns must be the same in all of them, no request may go round forebay, and forebay must not make more
calls than the client did without it. In each place some reads are refused as for want of a token, so every client
also shows that it goes on after such an answer.
"""

import concurrent.futures
import json
import pathlib
import re
import shutil
import subprocess
import time
from functools import partial

from azure_world import ACCOUNT, WAYS, hindrance, place
from canonical import canonical

HERE = pathlib.Path(__file__).resolve().parent
# Of so many reads one is refused: now and then for clients that make a hundred, early for those that make few.
RARELY, OFTEN = 15, 3
MACHINE = "-g rg-alpha -n web-02"
IMAGE = "Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2:latest"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPL example\n"
# A list of several pages, the life of a machine that a deployment makes, and one that was there.
AZ = [
    "group list",
    "vm list",
    "vm list -d",
    f"vm show -d {MACHINE}",
    f"vm deallocate {MACHINE}",
    f"vm show -d {MACHINE} --query powerState",
    f"vm start {MACHINE}",
    f"vm show -d {MACHINE} --query powerState",
    "group create -n rg-gamma -l eastus",
    f"vm create -g rg-gamma -n made --image {IMAGE} --admin-username azureuser --ssh-key-values key.pub"
    " --size Standard_D2s_v5",
    "vm list -d -g rg-gamma",
    "vm deallocate -g rg-gamma -n made --no-wait",
    "vm wait -g rg-gamma -n made --custom instanceView.statuses[?code=='PowerState/deallocated'] --interval 1",
    "vm show -d -g rg-gamma -n made --query powerState",
    "vm delete -y -g rg-gamma -n made",
    "vm list -g rg-gamma",
    "network nic list -g rg-gamma",
    "group delete -y -n rg-gamma",
    "group list",
]
EXPECTED = {5: "VM deallocated", 7: "VM running", 13: "VM deallocated", 15: []}
AZ_SETTINGS = {
    "AZURE_CORE_COLLECT_TELEMETRY": "no",
    "AZURE_CORE_SURVEY_MESSAGE": "no",
    "AZURE_CORE_INSTANCE_DISCOVERY": "false",
    "AZURE_AUTO_UPGRADE_ENABLE": "no",
}
# What `terraform` keeps in a blob, and what it says of it.
TERRAFORM = [
    ["init", "-input=false"],
    ["apply", "-input=false", "-auto-approve"],
    ["plan", "-input=false", "-detailed-exitcode"],
    ["output", "-json"],
]
# Ids, etags and addresses that a subscription draws by lot when something is made, and times.
DRAWN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b203\.0\.\d+\.\d+\b"
                   r"|\b\d{4}-\d\d-\d\dT[\d:.]+[+Z][\d:]*|[0-9a-f]{32}|([0-9A-F]{2}-){5}[0-9A-F]{2}|W/\"[^\"]*\""
                   r"|after \d+s")


def run(suite, az, python):
    if why := hindrance():
        print(f"NOT RUN: the clients of Azure in every way, since names cannot be given to them alone: {why}", flush=True)
        return
    node = install_node(suite.directory / "node")
    lines = {
        "azure-mgmt": [python, str(suite.script("azure_scenario.py"))],
        "armcompute": [suite.go, "azure"],
        "@azure/arm-compute": node,
    }
    # Most of their time they wait for operations, so all go at once.
    with concurrent.futures.ThreadPoolExecutor(len(lines) + 3) as pool:
        # Nobody but forebay asks after what `--no-wait` began.
        taking = [pool.submit(compare, suite, "az", partial(by_az, az=az), RARELY, asked=3)]
        pressed = {"ways": (*WAYS, "pressed")}
        taking += [pool.submit(compare, suite, client, partial(by_lines, command=command), RARELY, **pressed)
                   for client, command in lines.items()]
        # The provider's SDK and the program ask where the API is, if they are told of a cloud of its own.
        provider = partial(by_lines, command=[suite.go, "azurerm"])
        taking.append(pool.submit(compare, suite, "go-azure-sdk", provider, RARELY, asks_where=1, **pressed))
        if program := shutil.which("terraform"):
            terraform = partial(by_terraform, terraform=program)
            taking.append(pool.submit(compare, suite, "terraform", terraform, OFTEN, asks_where=1))
        else:
            print("there is no terraform on this machine: its backend's SDK alone was run", flush=True)
        for taken in taking:
            taken.result()


def compare(suite, client, steps, refuse_every, asks_where=0, asked=0, ways=WAYS):
    """Has a client take its steps in each way, side by side, and compares what it learnt and cost. `asks_where` are
    calls that it makes only if it is pointed at forebay, `asked` those that forebay may make by itself.
    """
    began = time.monotonic()

    def take(way):
        with place(way, suite.binary, suite.directory / f"{client.replace('/', '-')}-{way}", refuse_every) as target:
            found = [(step, anonymous(result)) for step, result in steps(target)]
            if way == "pressed" and not target.pushed_back():
                raise AssertionError(f"{client} was not pressed: forebay refused nothing")
            return found, target.quiet_calls(), target.refused()

    with concurrent.futures.ThreadPoolExecutor(len(ways)) as pool:
        taken = dict(zip(ways, pool.map(take, ways)))
    directly, calls, refused = taken["direct"]
    for way in ways[1:]:
        found, through, refused_there = taken[way]
        suite.compare_steps(f"{client}, {way}", directly, found)
        suite.rows.append((f"{client}, {way}", calls, through))
        if through > calls + asked + (0 if way == "forward" else asks_where):
            suite.failed(f"{client}, {way}: {through} calls through forebay, {calls} directly")
        if not refused or not refused_there:
            suite.failed(f"{client}, {way}: {refused} reads were refused directly, {refused_there} through forebay")
    told = ", ".join(f"{way} {calls} calls, {refused} of them refused" for way, (_, calls, refused) in taken.items())
    print(f"{client}: {len(directly)} steps, {told}, none round forebay, {time.monotonic() - began:.1f} s", flush=True)


def by_az(target, az):
    """The commands of an operator whose az has no other cloud than the public one."""
    (target.directory / "key.pub").write_text(KEY)
    settings = {**AZ_SETTINGS, "AZURE_CONFIG_DIR": str(target.directory / "az")}
    login = f"login --service-principal -u {target.client} -p {target.secret} --tenant {target.tenant}"
    commands = [login, *AZ]
    if target.way in ("reverse", "pressed"):
        point = f"cloud update -n AzureCloud --skip-endpoint-discovery --endpoint-resource-manager {target.endpoint}"
        commands.insert(0, point)
    found = [(command, learnt(target.run([az, *command.split()], **settings))) for command in commands]
    found = found[-len(AZ):]
    for at, expected in EXPECTED.items():
        if found[at][1] != expected:
            raise AssertionError(f"{target.way}: az {AZ[at]} shows {found[at][1]}, not {expected}")
    return found


def by_lines(target, command):
    """A program that prints a line of JSON for each step."""
    lines = [json.loads(line) for line in target.run([*command, target.settings()]).splitlines()]
    if not lines:
        raise AssertionError(f"{command} did nothing")
    return [(line["step"], canonical(line["result"])) for line in lines]


def by_terraform(target, terraform):
    """Terraform with its state in a blob of the subscription's account."""
    backend = {
        "resource_group_name": "rg-alpha",
        "storage_account_name": ACCOUNT,
        "container_name": "states",
        "key": "lab.tfstate",
        "subscription_id": target.subscription,
        "tenant_id": target.tenant,
        "client_id": target.client,
        "client_secret": target.secret,
    }
    if target.way in ("reverse", "pressed"):
        backend["metadata_host"] = target.front
    work = target.directory / "terraform"
    work.mkdir()
    (work / "main.tf.json").write_text(json.dumps({
        "terraform": {"backend": {"azurerm": backend}},
        "resource": {"terraform_data": {"one": {"input": "kept"}}},
        "output": {"kept": {"value": "${terraform_data.one.output}"}},
    }))
    (work / "terraformrc").write_text("")
    settings = {"TF_CLI_CONFIG_FILE": str(work / "terraformrc"), "CHECKPOINT_DISABLE": "1"}
    found = []
    for command in TERRAFORM:
        said = target.run([terraform, f"-chdir={work}", *command, "-no-color"], **settings)
        # What is said of things that take long is said where they do.
        found.append((f"terraform {command[0]}", re.sub(r"^(Acquiring|Releasing|.*Still) .*\.\.\..*\n", "", said, flags=re.M)))
    if json.loads(found[-1][1])["kept"]["value"] != "kept":
        raise AssertionError(f"{target.way}: the state was lost: {found}")
    return found


def learnt(text):
    """What a command printed, in canonical form."""
    try:
        return canonical(json.loads(text))
    except ValueError:
        return text.strip()


def anonymous(value):
    return json.loads(re.sub(DRAWN, "*", json.dumps(value)).replace('W/\\"*\\"', "*"))


def install_node(directory):
    """The client for Node.js, of exactly the packages in package-lock.json."""
    began = time.monotonic()
    directory.mkdir()
    for source in (HERE / "node").iterdir():
        shutil.copy(source, directory)
    command = ["npm", "ci", "--silent", "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, check=True)
    print(f"the client for Node.js was installed in {time.monotonic() - began:.0f} s", flush=True)
    return ["node", str(directory / "azure.js")]
