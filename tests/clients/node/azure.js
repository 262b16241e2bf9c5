// @azure/arm-compute with @azure/identity as their users use them. Prints one JSON line for each step.
//
// The argument is a JSON file that says where to connect and who to be; what to trust and which proxy to take stand
// in the environment (NODE_EXTRA_CA_CERTS, HTTPS_PROXY).

import { readFileSync } from "node:fs";

import { ComputeManagementClient } from "@azure/arm-compute";
import { ClientSecretCredential } from "@azure/identity";

const settings = JSON.parse(readFileSync(process.argv[2], "utf8"));
const group = "rg-alpha";
const machine = "web-01";
// The subscription says a second too.
const often = { updateIntervalInMs: 1000 };

const credential = new ClientSecretCredential(settings.tenant, settings.client, settings.secret, {
  authorityHost: settings.authority,
  disableInstanceDiscovery: true,
});
const client = new ComputeManagementClient(credential, settings.subscription, { endpoint: settings.endpoint });
const machines = client.virtualMachines;

for (const turn of ["first", "second"]) {
  say(`${turn}: all machines`, await all(machines.listAll()));
  say(`${turn}: machines of the group`, await all(machines.list(group)));
  say(`${turn}: disks`, await all(client.disks.listByResourceGroup(group)));
  for (const { name } of await all(machines.list(group))) {
    say(`${turn}: ${name}`, await machines.get(group, name, { expand: "instanceView" }));
  }
}
for (const turn of ["first", "second"]) {
  for (const [action, state] of [
    ["beginDeallocateAndWait", "deallocated"],
    ["beginStartAndWait", "running"],
    ["beginPowerOffAndWait", "stopped"],
  ]) {
    await power();
    await machines[action](group, machine, often);
    const shown = await power();
    must(shown === `PowerState/${state}`, `after ${action} it is ${shown}`);
    say(`${turn}: ${action}`, shown);
  }
  const model = await machines.get(group, machine);
  model.tags = { ...model.tags, round: turn };
  say(`${turn}: written`, await machines.beginCreateOrUpdateAndWait(group, machine, model, often));
  must((await machines.get(group, machine)).tags.round === turn, "the read after a write has another tag");
}
say("made", await machines.beginCreateOrUpdateAndWait(group, "made", {
  location: "eastus",
  hardwareProfile: { vmSize: "Standard_D2s_v5" },
  storageProfile: { osDisk: { createOption: "FromImage" } },
}, often));
must((await names()).includes("made"), "the list after it was made lacks it");
await machines.beginDeleteAndWait(group, "made", often);
must(!(await names()).includes("made"), "the list after its end has it");
for (const place of [group, "rg-none"]) {
  try {
    await machines.get(place, "made");
    throw new Error("what is gone answered");
  } catch (error) {
    must(error.statusCode, error);
    say(`gone from ${place}`, { status: error.statusCode, code: error.code });
  }
}

async function all(pages) {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
}

async function names() {
  return (await all(machines.list(group))).map((one) => one.name);
}

async function power() {
  return (await machines.instanceView(group, machine)).statuses[1].code;
}

function must(holds, why) {
  if (!holds) throw why instanceof Error ? why : new Error(why);
}

function say(step, result) {
  console.log(JSON.stringify({ step, result }));
}
