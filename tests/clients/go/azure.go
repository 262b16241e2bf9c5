package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v6"
)

const (
	group   = "rg-alpha"
	machine = "web-03"
)

// arms are the clients of the SDK for one place.
type arms struct {
	machines   *armcompute.VirtualMachinesClient
	interfaces *armnetwork.InterfacesClient
	addresses  *armnetwork.PublicIPAddressesClient
}

// azureSettings say where to connect and who to be. What to trust and which proxy to take stands in the environment.
type azureSettings struct{ Endpoint, Authority, Tenant, Subscription, Client, Secret string }

// azure does with the SDK what its users do.
func azure(ctx context.Context, path string) {
	var s azureSettings
	check(json.Unmarshal(read(path), &s))
	options := policy.ClientOptions{
		Cloud: cloud.Configuration{
			ActiveDirectoryAuthorityHost: s.Authority + "/",
			Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
				cloud.ResourceManager: {Endpoint: s.Endpoint, Audience: "https://management.azure.com"},
			},
		},
	}
	login := &azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true}
	credential := must(azidentity.NewClientSecretCredential(s.Tenant, s.Client, s.Secret, login))
	of := &arm.ClientOptions{ClientOptions: options}
	a := arms{
		machines:   must(armcompute.NewVirtualMachinesClient(s.Subscription, credential, of)),
		interfaces: must(armnetwork.NewInterfacesClient(s.Subscription, credential, of)),
		addresses:  must(armnetwork.NewPublicIPAddressesClient(s.Subscription, credential, of)),
	}
	for _, turn := range []string{"first", "second"} {
		a.readAll(ctx, turn)
	}
	for _, turn := range []string{"first", "second"} {
		a.writeAll(ctx, turn)
	}
	a.life(ctx)
	a.fail(ctx)
}

func (a arms) readAll(ctx context.Context, turn string) {
	step := func(name string, result any) { printLine(map[string]any{"step": turn + ": " + name, "result": result}) }
	machines := []*armcompute.VirtualMachine{}
	for pager := a.machines.NewListAllPager(nil); pager.More(); {
		machines = append(machines, must(pager.NextPage(ctx)).Value...)
	}
	step("all machines", machines)
	for pager := a.interfaces.NewListPager(group, nil); pager.More(); {
		for _, one := range must(pager.NextPage(ctx)).Value {
			step(*one.Name, must(a.interfaces.Get(ctx, group, *one.Name, nil)).Interface)
		}
	}
	for pager := a.addresses.NewListPager(group, nil); pager.More(); {
		for _, one := range must(pager.NextPage(ctx)).Value {
			step(*one.Name, must(a.addresses.Get(ctx, group, *one.Name, nil)).PublicIPAddress)
		}
	}
	view := armcompute.InstanceViewTypesInstanceView
	expanded := &armcompute.VirtualMachinesClientGetOptions{Expand: &view}
	step("a machine", must(a.machines.Get(ctx, group, machine, expanded)).VirtualMachine)
}

// writeAll starts, stops and changes a machine, and reads it back after each.
func (a arms) writeAll(ctx context.Context, turn string) {
	often := &runtime.PollUntilDoneOptions{Frequency: time.Second}
	shown := func(what, wanted string) {
		if found := a.power(ctx); found != "PowerState/"+wanted {
			log.Fatalf("after %s it is %s", what, found)
		}
		printLine(map[string]any{"step": turn + ": " + what, "result": wanted})
	}
	a.power(ctx)
	must(must(a.machines.BeginDeallocate(ctx, group, machine, nil)).PollUntilDone(ctx, often))
	shown("deallocate", "deallocated")
	must(must(a.machines.BeginStart(ctx, group, machine, nil)).PollUntilDone(ctx, often))
	shown("start", "running")
	must(must(a.machines.BeginPowerOff(ctx, group, machine, nil)).PollUntilDone(ctx, often))
	shown("power off", "stopped")
	model := must(a.machines.Get(ctx, group, machine, nil)).VirtualMachine
	model.Tags["round"] = &turn
	written := must(must(a.machines.BeginCreateOrUpdate(ctx, group, machine, model, nil)).PollUntilDone(ctx, often))
	if *written.Tags["round"] != turn {
		log.Fatalf("the answer to a write has %v", written.Tags)
	}
	if read := must(a.machines.Get(ctx, group, machine, nil)); *read.Tags["round"] != turn {
		log.Fatalf("the read after a write has %v", read.Tags)
	}
	printLine(map[string]any{"step": turn + ": written", "result": written.VirtualMachine})
}

// life makes a machine and unmakes it, and looks after each whether the list of its group has it.
func (a arms) life(ctx context.Context) {
	often := &runtime.PollUntilDoneOptions{Frequency: time.Second}
	size, from := armcompute.VirtualMachineSizeTypes("Standard_D2s_v5"), armcompute.DiskCreateOptionTypesFromImage
	model := armcompute.VirtualMachine{
		Location: to.Ptr("eastus"),
		Properties: &armcompute.VirtualMachineProperties{
			HardwareProfile: &armcompute.HardwareProfile{VMSize: &size},
			StorageProfile:  &armcompute.StorageProfile{OSDisk: &armcompute.OSDisk{CreateOption: &from}},
		},
	}
	if a.lists(ctx, "made") {
		log.Fatal("it is there before it was made")
	}
	made := must(must(a.machines.BeginCreateOrUpdate(ctx, group, "made", model, nil)).PollUntilDone(ctx, often))
	if !a.lists(ctx, "made") {
		log.Fatal("the list after it was made lacks it")
	}
	printLine(map[string]any{"step": "made", "result": made.VirtualMachine})
	must(must(a.machines.BeginDelete(ctx, group, "made", nil)).PollUntilDone(ctx, often))
	if a.lists(ctx, "made") {
		log.Fatal("the list after its end has it")
	}
}

// lists says whether the list of the group has a machine of this name.
func (a arms) lists(ctx context.Context, name string) bool {
	for pager := a.machines.NewListPager(group, nil); pager.More(); {
		for _, one := range must(pager.NextPage(ctx)).Value {
			if *one.Name == name {
				return true
			}
		}
	}
	return false
}

func (a arms) power(ctx context.Context) string {
	return *must(a.machines.InstanceView(ctx, group, machine, nil)).Statuses[1].Code
}

func (a arms) fail(ctx context.Context) {
	often := &runtime.PollUntilDoneOptions{Frequency: time.Second}
	must(must(a.machines.BeginDelete(ctx, group, machine, nil)).PollUntilDone(ctx, often))
	for _, place := range []string{group, "rg-none"} {
		_, err := a.machines.Get(ctx, place, machine, nil)
		var refused *azcore.ResponseError
		if !errors.As(err, &refused) {
			log.Fatalf("what is gone answered %v", err)
		}
		result := map[string]any{"status": refused.StatusCode, "code": refused.ErrorCode}
		printLine(map[string]any{"step": "gone from " + place, "result": result})
	}
}
