package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/luthermonson/go-proxmox"
)

// Tasks take 0.3 s, so the second look at one sees its end.
const look = 500 * time.Millisecond

func scenario(ctx context.Context, s settings) {
	admin := s.byToken(s.Admin)
	// The first call of a session goes out without a ticket and is refused: the client logs in then.
	byPassword := s.byPassword(s.Password)
	for _, who := range []struct {
		name   string
		client *proxmox.Client
	}{{"ticket", byPassword}, {"token", admin}} {
		readEverything(ctx, who.client, who.name)
		readEverything(ctx, who.client, who.name)
		lifeOfAGuest(ctx, who.client, who.name)
	}
	upload(ctx, admin, s.Uploads[0])
	failures(ctx, s, admin)
}

// readOne reads one virtual machine as operators do that ask for the node of each object anew: five calls.
func readOne(ctx context.Context, client *proxmox.Client) {
	node := must(client.Node(ctx, "pve1"))
	say("the guests of the node", must(node.VirtualMachines(ctx)))
	again := must(client.Node(ctx, "pve1"))
	say("the virtual machine", must(again.VirtualMachine(ctx, 100)))
}

func readEverything(ctx context.Context, client *proxmox.Client, who string) {
	step := func(name string, result any) { say(who+": "+name, result) }
	step("version", must(client.Version(ctx)))
	step("nodes", must(client.Nodes(ctx)))
	cluster := must(client.Cluster(ctx))
	step("cluster", cluster)
	step("resources", must(cluster.Resources(ctx)))
	step("guests of the resources", must(cluster.Resources(ctx, "vm")))
	for _, name := range []string{"pve1", "pve2", "pve3"} {
		node := must(client.Node(ctx, name))
		step(name, node)
		step(name+" virtual machines", must(node.VirtualMachines(ctx)))
		step(name+" containers", must(node.Containers(ctx)))
		step(name+" storages", must(node.Storages(ctx)))
	}
	vm := must(must(client.Node(ctx, "pve1")).VirtualMachine(ctx, 100))
	step("virtual machine", vm)
	step("virtual machine's agent", must(vm.AgentOsInfo(ctx)))
	step("virtual machine's addresses", must(vm.AgentGetNetworkIFaces(ctx)))
	step("container", must(must(client.Node(ctx, "pve1")).Container(ctx, 200)))
}

// wait uses the library's helper and shows the task as it ended.
func wait(ctx context.Context, task *proxmox.Task, err error) *proxmox.Task {
	check(err)
	check(task.Wait(ctx, look, time.Minute))
	return task
}

// lifeOfAGuest starts, stops, clones, changes and deletes, and shows after each what a reader sees at once.
func lifeOfAGuest(ctx context.Context, client *proxmox.Client, who string) {
	step := func(name string, result any) { say(who+": "+name, result) }
	node := must(client.Node(ctx, "pve1"))
	build := must(node.VirtualMachine(ctx, 103))
	step("before the start", build)
	task, err := build.Start(ctx)
	step("start", wait(ctx, task, err))
	check(build.Ping(ctx))
	step("after the start", build)
	step("list after the start", must(node.VirtualMachines(ctx)))
	task, err = build.Stop(ctx)
	step("stop", wait(ctx, task, err))
	check(build.Ping(ctx))
	step("after the stop", build)

	template := must(node.VirtualMachine(ctx, 9000))
	number, task, err := template.Clone(ctx, &proxmox.VirtualMachineCloneOptions{Name: "cloned", Full: 1})
	step("clone", wait(ctx, task, err))
	step("number", number)
	clone := must(node.VirtualMachine(ctx, number))
	step("the clone", clone)
	step("list with the clone", must(node.VirtualMachines(ctx)))

	task, err = clone.Config(ctx, proxmox.VirtualMachineOption{Name: "cores", Value: 3},
		proxmox.VirtualMachineOption{Name: "description", Value: "changed"})
	check(err)
	_, completed, err := task.WaitForCompleteStatus(ctx, 30)
	check(err)
	step("change", completed)
	check(clone.Ping(ctx))
	step("after the change", clone)
	task, err = clone.AddTag(ctx, "tagged")
	step("tag", wait(ctx, task, err))
	check(clone.Ping(ctx))
	step("after the tag", clone)

	task, err = clone.Delete(ctx)
	step("delete", wait(ctx, task, err))
	step("the deleted", clone.Ping(ctx))
	_, err = node.VirtualMachine(ctx, number)
	step("the deleted by number", err)
	step("list without the clone", must(node.VirtualMachines(ctx)))
}

func upload(ctx context.Context, client *proxmox.Client, path string) {
	storage := must(must(client.Node(ctx, "pve1")).Storage(ctx, "local"))
	say("storage", storage)
	say("content before", must(storage.GetContent(ctx)))
	task, err := storage.Upload("iso", path)
	say("upload", wait(ctx, task, err))
	say("content with the upload", must(storage.GetContent(ctx)))
	name := filepath.Base(path)
	task, err = storage.DeleteContent(ctx, fmt.Sprintf("local:iso/%s", name))
	check(err)
	if task != nil { // no task is named where the work ended at once
		say("delete", wait(ctx, task, nil))
	}
	say("content without the upload", must(storage.GetContent(ctx)))
}

func failures(ctx context.Context, s settings, admin *proxmox.Client) {
	powerless := s.byToken(s.Powerless)
	_, err := new(proxmox.Node).New(powerless, "pve1").VirtualMachine(ctx, 100)
	say("403", err)
	_, err = new(proxmox.Node).New(powerless, "pve1").VirtualMachine(ctx, 100)
	say("403 again", err)
	say("403 that the client lets pass", must(powerless.Node(ctx, "pve1")))

	_, err = must(admin.Node(ctx, "pve1")).VirtualMachine(ctx, 999)
	say("500 missing guest", err)
	windows := must(must(admin.Node(ctx, "pve2")).VirtualMachine(ctx, 104))
	_, err = windows.AgentGetNetworkIFaces(ctx)
	say("500 dead agent", err)
	// An operator tells a guest without an agent by exactly this text.
	if err == nil || err.Error() != "500 QEMU guest agent is not running" {
		check(fmt.Errorf("a dead agent must be told by the reason phrase, not by %v", err))
	}
	_, err = must(admin.Cluster(ctx)).CheckID(ctx, 100)
	say("a taken number", err)
	_, err = windows.Config(ctx, proxmox.VirtualMachineOption{Name: "cores", Value: "many"})
	say("a value of the wrong kind", err)
	say("501", admin.Get(ctx, "/nodes/pve1/nothing", nil))
	_, err = s.byPassword("wrong").Version(ctx)
	say("401 password", err)
	_, err = s.connect(proxmox.WithAPIToken(s.Admin, "wrong")).Version(ctx)
	say("401 token", err)
}
