// Command clients uses go-proxmox as its users use it. It prints one JSON line for each step.
//
//	clients scenario SETTINGS    reads, a guest's life, errors, an upload
//	clients read SETTINGS        what an operator reads of one virtual machine, once
//	clients rounds SETTINGS N    guests made and unmade beside pollers; what showed the past
//	clients zeros                a server of zeros, for
//	clients large ADDRESS BYTES  so many bytes in each way
//	clients azure SETTINGS       what the SDK for Azure does, with settings of its own
//	clients azurerm SETTINGS     what the SDK of Terraform's provider for Azure does, with the same settings
//	clients forward TOKEN URL... what the default client reads through HTTPS_PROXY
//
// SETTINGS is a JSON file that says where to connect, what to trust and who to be.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/luthermonson/go-proxmox"
)

type settings struct {
	Address   string            `json:"address"`
	CA        string            `json:"ca"`
	User      string            `json:"user"`
	Password  string            `json:"password"`
	Admin     string            `json:"admin"`
	Auditor   string            `json:"auditor"`
	Powerless string            `json:"powerless"`
	Tokens    map[string]string `json:"tokens"`
	Uploads   []string          `json:"uploads"`
	roots     *x509.CertPool
}

func main() {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "zeros":
		serveZeros()
	case len(os.Args) == 4 && os.Args[1] == "large":
		large(os.Args[2], must(strconv.ParseInt(os.Args[3], 10, 64)))
		return
	case len(os.Args) > 3 && os.Args[1] == "forward":
		forward(os.Args[2], os.Args[3:])
		return
	case len(os.Args) < 3:
		log.Fatal("usage: clients scenario|read|azure|azurerm SETTINGS, rounds SETTINGS N, zeros, or large ADDRESS BYTES")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	switch os.Args[1] {
	case "azure":
		azure(ctx, os.Args[2])
		return
	case "azurerm":
		azurerm(ctx, os.Args[2])
		return
	}
	settings := load(os.Args[2])
	switch os.Args[1] {
	case "scenario":
		scenario(ctx, settings)
	case "read":
		readOne(ctx, settings.byToken(settings.Admin))
	case "rounds":
		rounds(ctx, settings, must(strconv.Atoi(os.Args[3])))
	default:
		log.Fatalf("there is no %q", os.Args[1])
	}
}

func load(path string) settings {
	var found settings
	check(json.Unmarshal(read(path), &found))
	found.roots = x509.NewCertPool()
	if !found.roots.AppendCertsFromPEM(read(found.CA)) {
		log.Fatal("the CA file holds no certificate")
	}
	return found
}

// connect makes a client that trusts the CA only. Like Go's default client it would speak HTTP/2 if that
// were offered, in which reason phrases are lost.
func (s settings) connect(who proxmox.Option) *proxmox.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots}, ForceAttemptHTTP2: true}
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	return proxmox.NewClient("https://"+s.Address+"/api2/json", proxmox.WithHTTPClient(client), who)
}

func (s settings) byToken(name string) *proxmox.Client {
	return s.connect(proxmox.WithAPIToken(name, s.Tokens[name]))
}

func (s settings) byPassword(password string) *proxmox.Client {
	return s.connect(proxmox.WithCredentials(&proxmox.Credentials{Username: s.User, Password: password}))
}

func read(path string) []byte {
	content, err := os.ReadFile(path)
	check(err)
	return content
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// must gives what a call gave, or ends the program with its error.
func must[T any](value T, err error) T {
	check(err)
	return value
}

// say prints the result of a step; of a failure it prints what the client learns from it.
func say(step string, result any) {
	if err, failed := result.(error); failed {
		result = map[string]any{"error": err.Error(), "not authorized": proxmox.IsNotAuthorized(err)}
	}
	printLine(map[string]any{"step": step, "result": result})
}

func printLine(value any) { fmt.Println(string(must(json.Marshal(value)))) }
