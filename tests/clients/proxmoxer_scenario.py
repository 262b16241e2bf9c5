"""proxmoxer as its users use it: reads, a guest's life, errors, uploads. One JSON line for each step.

The only argument is a JSON file that says where to connect, what to trust and who to be.
"""

import json
import sys

from proxmoxer import AuthenticationError, ProxmoxAPI, ResourceException
from proxmoxer.tools import Tasks

with open(sys.argv[1], encoding="utf-8") as handle:
    SETTINGS = json.load(handle)


def say(step, result):
    print(json.dumps({"step": step, "result": result}), flush=True)


def failure(call):
    """What a client learns from a call that fails."""
    try:
        return {"no failure": call()}
    except ResourceException as error:
        said = {"status": error.status_code, "message": error.status_message, "reason": error.content}
        return {**said, "errors": str(error.errors)}
    except AuthenticationError as error:
        return {"login": str(error).replace(SETTINGS["address"], "ADDRESS")}


def connect(**who):
    return ProxmoxAPI(SETTINGS["address"], verify_ssl=SETTINGS["ca"], **who)


def by_token(name):
    user, token_name = name.split("!")
    return connect(user=user, token_name=token_name, token_value=SETTINGS["tokens"][name])


def wait(pve, upid):
    """The library's own helper. The tasks take 0.3 s, so its second look sees the end."""
    ended = Tasks.blocking_status(pve, upid, timeout=30, polling_interval=0.5)
    log = pve.nodes(ended["node"]).tasks(upid).log.get()
    return {"ended": ended, "log": Tasks.decode_log(log)}


def read_everything(pve, who):
    say(f"{who}: version", pve.version.get())
    say(f"{who}: nodes", pve.nodes.get())
    say(f"{who}: resources", pve.cluster.resources.get())
    say(f"{who}: guests of the resources", pve.cluster.resources.get(type="vm"))
    say(f"{who}: cluster status", pve.cluster.status.get())
    for node in ("pve1", "pve2", "pve3"):
        say(f"{who}: {node}", pve.nodes(node).status.get())
        say(f"{who}: {node} virtual machines", pve.nodes(node).qemu.get())
        say(f"{who}: {node} containers", pve.nodes(node).lxc.get())
        say(f"{who}: {node} storages", pve.nodes(node).storage.get())
    vm = pve.nodes("pve1").qemu(100)
    say(f"{who}: vm status", vm.status.current.get())
    say(f"{who}: vm config", vm.config.get())
    say(f"{who}: vm agent", vm.agent("get-osinfo").get())
    say(f"{who}: ct config", pve.nodes("pve1").lxc(200).config.get())


def life_of_a_guest(pve, who):
    """Start, stop, clone, change and delete, and after each what a reader sees at once."""
    node = pve.nodes("pve1")
    build = node.qemu(103)
    for verb in ("start", "stop"):
        say(f"{who}: before {verb}", build.status.current.get())
        say(f"{who}: {verb}", wait(pve, build.status(verb).post()))
        say(f"{who}: after {verb}", build.status.current.get())
        say(f"{who}: list after {verb}", node.qemu.get())
    newid = pve.cluster.nextid.get()
    say(f"{who}: next number", newid)
    say(f"{who}: not there yet", failure(node.qemu(newid).config.get))
    say(f"{who}: clone", wait(pve, node.qemu(9000).clone.post(newid=newid, name="cloned", full=1)))
    clone = node.qemu(newid)
    say(f"{who}: the clone's status", clone.status.current.get())
    say(f"{who}: the clone's config", clone.config.get())
    say(f"{who}: list with the clone", node.qemu.get())
    say(f"{who}: change at once", clone.config.put(cores=3, description="by PUT"))
    say(f"{who}: after the change", clone.config.get())
    say(f"{who}: change by a task", wait(pve, clone.config.post(memory=4096, description="by POST")))
    say(f"{who}: after the task", clone.config.get())
    say(f"{who}: delete", wait(pve, clone.delete()))
    say(f"{who}: config of the deleted", failure(clone.config.get))
    say(f"{who}: status of the deleted", failure(clone.status.current.get))
    say(f"{who}: list without the clone", node.qemu.get())


def uploads(pve):
    local = pve.nodes("pve1").storage("local")
    # The second is larger than what proxmoxer reads into memory: it streams it.
    for path in SETTINGS["uploads"]:
        name = path.rpartition("/")[2]
        with open(path, "rb") as handle:
            say(f"upload {name}", wait(pve, local.upload.post(content="iso", filename=handle)))
        say(f"content with {name}", local.content.get())
        upid = local.content(f"local:iso/{name}").delete()
        # No task is named where the work ended at once.
        say(f"delete {name}", wait(pve, upid) if upid else None)
        say(f"content without {name}", local.content.get(content="iso"))


def errors(admin):
    powerless = by_token(SETTINGS["powerless"])
    say("403", failure(powerless.nodes("pve1").qemu(100).status.current.get))
    say("403 again", failure(powerless.nodes("pve1").qemu(100).status.current.get))
    say("403 on a write", failure(powerless.nodes("pve1").qemu(100).status.stop.post))
    say("still running", admin.nodes("pve1").qemu(100).status.current.get()["status"])
    say("what the powerless see", powerless.cluster.resources.get(type="vm"))
    say("500 missing guest", failure(admin.nodes("pve1").qemu(999).status.current.get))
    say("500 dead agent", failure(admin.nodes("pve2").qemu(104).agent("get-osinfo").get))
    say("500 taken number", failure(lambda: admin.nodes("pve1").qemu(9000).clone.post(newid=100)))
    say("400", failure(lambda: admin.cluster.nextid.get(vmid="many")))
    say("501", failure(admin.nodes("pve1").nothing.get))
    say("401 password", failure(lambda: connect(user=SETTINGS["user"], password="wrong")))
    user, name = SETTINGS["admin"].split("!")
    say("401 token", failure(connect(user=user, token_name=name, token_value="wrong").version.get))


def main():
    by_password = connect(user=SETTINGS["user"], password=SETTINGS["password"])
    admin = by_token(SETTINGS["admin"])
    for pve, who in ((by_password, "ticket"), (admin, "token")):
        read_everything(pve, who)
        read_everything(pve, who)
        life_of_a_guest(pve, who)
    uploads(admin)
    errors(admin)


main()
