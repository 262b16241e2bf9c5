"""azure-mgmt-compute, -network and -resource with azure-identity as their users use them. Prints one JSON line for
each step.

The argument is a JSON file that says where to connect and who to be; what to trust and which proxy to take stand in
the environment (REQUESTS_CA_BUNDLE, HTTPS_PROXY).
"""

import json
import sys

from azure.core.exceptions import AzureError, HttpResponseError
from azure.identity import ClientSecretCredential
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource import ResourceManagementClient

SETTINGS = json.load(open(sys.argv[1], encoding="utf-8"))
GROUP, MACHINE = "rg-alpha", "web-02"
# Asked this often; the subscription says a second too.
POLLING = {"polling_interval": 1}


def main():
    credential = ClientSecretCredential(
        SETTINGS["tenant"],
        SETTINGS["client"],
        SETTINGS["secret"],
        authority=SETTINGS["authority"],
        disable_instance_discovery=True,
    )
    place = {"base_url": SETTINGS["endpoint"], "credential_scopes": ["https://management.azure.com/.default"]}
    compute = ComputeManagementClient(credential, SETTINGS["subscription"], **place)
    network = NetworkManagementClient(credential, SETTINGS["subscription"], **place)
    resources = ResourceManagementClient(credential, SETTINGS["subscription"], **place)
    for turn in ("first", "second"):
        say(f"{turn}: groups", resources.resource_groups.list())
        say(f"{turn}: everything", resources.resources.list_by_resource_group(GROUP))
        say(f"{turn}: all machines", compute.virtual_machines.list_all())
        say(f"{turn}: machines of the group", compute.virtual_machines.list(GROUP))
        say(f"{turn}: interfaces", network.network_interfaces.list_all())
        for interface in network.network_interfaces.list(GROUP):
            say(f"{turn}: {interface.name}", network.network_interfaces.get(GROUP, interface.name))
        for address in network.public_ip_addresses.list(GROUP):
            say(f"{turn}: {address.name}", network.public_ip_addresses.get(GROUP, address.name))
        say(f"{turn}: disks", compute.disks.list_by_resource_group(GROUP))
    machines = compute.virtual_machines
    for turn in range(2):
        for action, state in (("deallocate", "deallocated"), ("start", "running"), ("power_off", "stopped"), ("start", "running")):
            power(machines)
            getattr(machines, f"begin_{action}")(GROUP, MACHINE, **POLLING).result()
            shown = power(machines)
            assert shown == f"PowerState/{state}", f"after {action} it is {shown}"
            say(f"{turn}: {action}", shown)
        model = machines.get(GROUP, MACHINE)
        model.tags = {**(model.tags or {}), "round": str(turn)}
        say(f"{turn}: written", machines.begin_create_or_update(GROUP, MACHINE, model, **POLLING).result())
        assert machines.get(GROUP, MACHINE).tags["round"] == str(turn)
        say(f"{turn}: patched", machines.begin_update(GROUP, MACHINE, {"tags": {"patched": str(turn)}}, **POLLING).result())
        assert machines.get(GROUP, MACHINE).tags["patched"] == str(turn)
    assert "made" not in names(machines)
    size, disk = {"vmSize": "Standard_D2s_v5"}, {"osDisk": {"createOption": "FromImage"}}
    made = {"location": "eastus", "properties": {"hardwareProfile": size, "storageProfile": disk}}
    say("made", machines.begin_create_or_update(GROUP, "made", made, **POLLING).result())
    assert "made" in names(machines), "the list after it was made lacks it"
    machines.begin_delete(GROUP, "made", **POLLING).result()
    assert "made" not in names(machines), "the list after its end has it"
    rules = network.security_rules
    rule = {"protocol": "Tcp", "access": "Allow", "direction": "Inbound", "priority": 1100, "source_port_range": "*",
            "destination_port_range": "443", "source_address_prefix": "*", "destination_address_prefix": "*"}
    network.network_security_groups.get(GROUP, f"{MACHINE}NSG")
    rules.begin_create_or_update(GROUP, f"{MACHINE}NSG", "https", rule, **POLLING).result()
    whole = network.network_security_groups.get(GROUP, f"{MACHINE}NSG")
    assert [one.name for one in whole.security_rules] == ["default-allow-ssh", "https"], whole.security_rules
    say("a rule in its group", whole)
    machines.begin_delete(GROUP, MACHINE, **POLLING).result()
    assert MACHINE not in names(machines)
    say("what is left", names(machines))
    for name, call in (
        ("a machine that is gone", lambda: machines.get(GROUP, MACHINE)),
        ("a group that is not there", lambda: machines.get("rg-none", MACHINE)),
        ("an interface in use", lambda: network.network_interfaces.begin_delete(GROUP, "web-01VMNic", **POLLING).result()),
    ):
        try:
            call()
            raise AssertionError(f"{name} answered")
        except HttpResponseError as error:
            say(name, {"status": error.status_code, "code": error.error.code if error.error else None})
        except AzureError as error:
            say(name, {"error": type(error).__name__})


def names(machines):
    return [machine.name for machine in machines.list(GROUP)]


def power(machines):
    return machines.instance_view(GROUP, MACHINE).statuses[1].code


def say(step, result):
    print(json.dumps({"step": step, "result": plain(result)}, default=str), flush=True)


def plain(result):
    """Models and iterators as JSON has them."""
    if isinstance(result, (str, dict)):
        return result
    if hasattr(result, "as_dict"):
        return result.as_dict()
    return [plain(item) for item in result]


if __name__ == "__main__":
    main()
