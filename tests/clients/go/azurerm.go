package main

import (
	"context"
	"encoding/json"
	"log"
	"net/http"

	"github.com/hashicorp/go-azure-sdk/sdk/auth"
	"github.com/hashicorp/go-azure-sdk/sdk/client"
	"github.com/hashicorp/go-azure-sdk/sdk/client/resourcemanager"
	"github.com/hashicorp/go-azure-sdk/sdk/environments"
	"github.com/hashicorp/go-azure-sdk/sdk/odata"
)

const publicCloud = "https://management.azure.com"

// provider is the SDK of Terraform's azurerm provider: its environments, authorizers, requests, pagers and
// pollers. What it generates for each service adds types and paths to these.
type provider struct {
	*resourcemanager.Client
	subscription string
}

// azurerm does with the SDK what the provider does with it.
func azurerm(ctx context.Context, path string) {
	var s azureSettings
	check(json.Unmarshal(read(path), &s))
	environment := environments.AzurePublic()
	if s.Endpoint != publicCloud {
		// What `metadata_host` does.
		environment = must(environments.FromEndpoint(ctx, s.Endpoint))
	}
	credentials := auth.Credentials{
		Environment: *environment, TenantID: s.Tenant, ClientID: s.Client, ClientSecret: s.Secret,
		EnableAuthenticatingUsingClientSecret: true,
	}
	api := must(resourcemanager.NewClient(environment.ResourceManager, "virtualmachines", "2024-03-01"))
	api.SetAuthorizer(must(auth.NewAuthorizerFromCredentials(ctx, credentials, environment.ResourceManager)))
	p := provider{api, "/subscriptions/" + s.Subscription}
	for _, turn := range []string{"first", "second"} {
		p.refresh(ctx, turn)
	}
	p.power(ctx)
	p.life(ctx)
}

func (p provider) machine(name string) string {
	return p.subscription + "/resourceGroups/" + group + "/providers/Microsoft.Compute/virtualMachines/" + name
}

// refresh reads what a plan reads.
func (p provider) refresh(ctx context.Context, turn string) {
	all := p.subscription + "/providers/Microsoft.Compute/virtualMachines"
	request := p.request(ctx, http.MethodGet, all, nil, http.StatusOK)
	request.Pager = &pager{}
	var list struct{ Value []map[string]any }
	check(must(request.ExecutePaged(ctx)).Unmarshal(&list))
	printLine(map[string]any{"step": turn + ": all machines", "result": list.Value})
	for _, name := range []string{"web-01", "web-02", machine, "db-01", "build-01"} {
		printLine(map[string]any{"step": turn + ": " + name, "result": p.show(ctx, name)})
	}
}

// power stops and starts a machine, and looks after each.
func (p provider) power(ctx context.Context) {
	for _, action := range []struct{ name, state string }{{"deallocate", "deallocated"}, {"start", "running"}} {
		p.show(ctx, machine)
		p.wait(ctx, p.request(ctx, http.MethodPost, p.machine(machine)+"/"+action.name, nil, 200, 202))
		view := p.show(ctx, machine)["properties"].(map[string]any)["instanceView"].(map[string]any)
		shown := view["statuses"].([]any)[1].(map[string]any)["code"]
		if shown != "PowerState/"+action.state {
			log.Fatalf("after %s it is %v", action.name, shown)
		}
		printLine(map[string]any{"step": action.name, "result": shown})
	}
}

// life makes a machine, changes it and unmakes it, as a resource's functions do.
func (p provider) life(ctx context.Context) {
	for _, round := range []string{"first", "second"} {
		request := p.request(ctx, http.MethodPut, p.machine("made"), nil, 200, 201)
		check(request.Marshal(map[string]any{
			"location": "eastus",
			"tags":     map[string]any{"round": round},
			"properties": map[string]any{
				"hardwareProfile": map[string]any{"vmSize": "Standard_D2s_v5"},
				"storageProfile":  map[string]any{"osDisk": map[string]any{"createOption": "FromImage"}},
			},
		}))
		p.wait(ctx, request)
		made := p.show(ctx, "made")
		if tags := made["tags"].(map[string]any); tags["round"] != round {
			log.Fatalf("the read after a write has %v", tags)
		}
		printLine(map[string]any{"step": round + ": made", "result": made})
	}
	// Here the SDK asks for the machine itself until it is gone.
	p.wait(ctx, p.request(ctx, http.MethodDelete, p.machine("made"), nil, 200, 202, 204))
	response := must(p.request(ctx, http.MethodGet, p.machine("made"), nil, http.StatusNotFound).Execute(ctx))
	printLine(map[string]any{"step": "gone", "result": response.StatusCode})
}

func (p provider) show(ctx context.Context, name string) map[string]any {
	var found map[string]any
	request := p.request(ctx, http.MethodGet, p.machine(name), expand("instanceView"), http.StatusOK)
	check(must(request.Execute(ctx)).Unmarshal(&found))
	return found
}

func (p provider) request(ctx context.Context, method, path string, options client.Options, expected ...int) *client.Request {
	return must(p.NewRequest(ctx, client.RequestOptions{
		ContentType:         "application/json; charset=utf-8",
		ExpectedStatusCodes: expected,
		HttpMethod:          method,
		OptionsObject:       options,
		Path:                path,
	}))
}

// wait sends a request and waits until what it began has ended.
func (p provider) wait(ctx context.Context, request *client.Request) {
	poller := must(resourcemanager.PollerFromResponse(must(request.Execute(ctx)), p.Client))
	check(poller.PollUntilDone(ctx))
}

// pager follows the pages of a list, as those do that the SDK generates.
type pager struct {
	Next *odata.Link `json:"nextLink"`
}

func (p *pager) NextPageLink() *odata.Link {
	defer func() { p.Next = nil }()
	return p.Next
}

// expand is the query of that name.
type expand string

func (expand) ToHeaders() *client.Headers { return &client.Headers{} }
func (expand) ToOData() *odata.Query      { return &odata.Query{} }
func (e expand) ToQuery() *client.QueryParams {
	query := client.QueryParams{}
	query.Append("$expand", string(e))
	return &query
}
