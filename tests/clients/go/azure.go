package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
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

// azure does with the SDK what its users do.
func azure(ctx context.Context, path string) {
	var s struct{ Endpoint, Authority, CA, Tenant, Subscription, Client, Secret string }
	check(json.Unmarshal(read(path), &s))
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(read(s.CA)) {
		log.Fatal("the CA file holds no certificate")
	}
	// The SDK's own transport tries HTTP/2 as this one does.
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	options := policy.ClientOptions{
		Cloud: cloud.Configuration{
			ActiveDirectoryAuthorityHost: s.Authority + "/",
			Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
				cloud.ResourceManager: {Endpoint: s.Endpoint, Audience: "https://management.azure.com"},
			},
		},
		Transport: &http.Client{Transport: transport, Timeout: time.Minute},
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
