package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/luthermonson/go-proxmox"
)

const (
	base, copied = 50011, 50012
	home, away   = "pve1", "pve2"
	// How often a task is asked for, and the pause between two reads of a poller.
	lookAtTask, pace = 20 * time.Millisecond, 10 * time.Millisecond
	keptViolations   = 20
)

// judge is everything that was read, and what of it showed the past.
type judge struct {
	guests map[int]*timeline
	tasks  *leads

	mutex      sync.Mutex
	counts     map[string]int
	violated   int
	violations []map[string]any
}

func (j *judge) count(kind string) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.counts[kind]++
}

func (j *judge) found(violation map[string]any) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.violated++
	if len(j.violations) < keptViolations {
		j.violations = append(j.violations, violation)
	}
}

// reader reads guests in all the places where they show, and has each judged.
type reader struct {
	name, kind string
	client     *proxmox.Client
	judge      *judge
}

// judged makes a read and has what it shows of each guest judged.
func (r *reader) judged(view, node string, vmids []int, read func() (map[int]string, error)) error {
	told := map[int]int{}
	for _, vmid := range vmids {
		told[vmid] = r.judge.guests[vmid].toldNow()
	}
	seen, err := read()
	if err != nil {
		return fmt.Errorf("%s: %s on %q: %w", r.name, view, node, err)
	}
	for _, vmid := range vmids {
		if found := r.judge.guests[vmid].judge(r.name, view, node, told[vmid], seen[vmid]); found != nil {
			r.judge.found(found)
		}
	}
	r.judge.count(r.kind)
	return nil
}

// guest reads one thing of one guest into `into`; that it does not exist is an answer too.
func (r *reader) guest(ctx context.Context, view, node string, vmid int, path string, into any, shown func() string) error {
	return r.judged(view, node, []int{vmid}, func() (map[int]string, error) {
		err := r.client.Get(ctx, fmt.Sprintf("/nodes/%s/qemu/%d/%s", node, vmid, path), into)
		if err != nil && strings.Contains(err.Error(), "does not exist") {
			return nil, nil
		}
		return map[int]string{vmid: shown()}, err
	})
}

func (r *reader) config(ctx context.Context, node string, vmid int) error {
	var config proxmox.VirtualMachineConfig
	return r.guest(ctx, "config", node, vmid, "config", &config, func() string {
		return joined(config.Name, config.Description, config.Lock)
	})
}

func (r *reader) status(ctx context.Context, node string, vmid int) error {
	var vm proxmox.VirtualMachine
	return r.guest(ctx, "status", node, vmid, "status/current", &vm, func() string { return listed(&vm) })
}

func (r *reader) snapshots(ctx context.Context, node string, vmid int) error {
	var found []*proxmox.Snapshot
	return r.guest(ctx, "snapshots", node, vmid, "snapshot", &found, func() string {
		var names []string
		for _, snapshot := range found {
			if snapshot.Name != "current" {
				names = append(names, snapshot.Name)
			}
		}
		slices.Sort(names)
		return joined("snapshots", strings.Join(names, " "))
	})
}

func (r *reader) list(ctx context.Context, node string) error {
	return r.judged("list", node, []int{base, copied}, func() (map[int]string, error) {
		vms, err := new(proxmox.Node).New(r.client, node).VirtualMachines(ctx)
		seen := map[int]string{}
		for _, vm := range vms {
			seen[int(vm.VMID)] = listed(vm)
		}
		return seen, err
	})
}

func listed(vm *proxmox.VirtualMachine) string { return joined(vm.Name, vm.Status, vm.Lock) }

func (r *reader) resources(ctx context.Context) error {
	return r.judged("resources", "", []int{base, copied}, func() (map[int]string, error) {
		// The library's own type has no lock.
		var items []struct {
			VMID int
			Node string
			Lock string
		}
		err := r.client.Get(ctx, "/cluster/resources?type=vm", &items)
		seen := map[int]string{}
		for _, item := range items {
			seen[item.VMID] = joined(item.Node, item.Lock)
		}
		return seen, err
	})
}

// feed reads the list of all tasks: who sees an end in it has been told of it.
func (r *reader) feed(ctx context.Context) error {
	var tasks []struct {
		UPID    string
		EndTime int64
	}
	if err := r.client.Get(ctx, "/cluster/tasks", &tasks); err != nil {
		return fmt.Errorf("%s: tasks: %w", r.name, err)
	}
	for _, task := range tasks {
		if task.EndTime != 0 {
			r.judge.tasks.ended(task.UPID)
		}
	}
	r.judge.count(r.kind)
	return nil
}

// task checks that a task that was told of is in its node's list, and its end once that was told.
func (r *reader) task(ctx context.Context, node, upid string, allowed ...string) error {
	var tasks []struct{ UPID, Status string }
	if err := r.client.Get(ctx, fmt.Sprintf("/nodes/%s/tasks?source=all&limit=50", node), &tasks); err != nil {
		return err
	}
	r.judge.count(r.kind)
	status := "nothing"
	for _, task := range tasks {
		if task.UPID == upid {
			status = task.Status
		}
	}
	if !slices.Contains(allowed, status) {
		r.judge.found(map[string]any{"reader": r.name, "read": "tasks of " + node, "shown": status, "told": upid})
	}
	return nil
}

// readBack reads a guest where it is and where it was, and the lists.
func (r *reader) readBack(ctx context.Context, vmid int, nodes ...string) {
	for _, node := range nodes {
		check(r.config(ctx, node, vmid))
		check(r.status(ctx, node, vmid))
		check(r.list(ctx, node))
		check(r.snapshots(ctx, node, vmid))
	}
	check(r.resources(ctx))
}

// step is a write that starts a task: `during` shows from its answer on, if it shows at all, and `end` once
// the task has ended.
func (r *reader) step(ctx context.Context, vmid int, during *state, end state, write func() (*proxmox.Task, error)) {
	guest := r.judge.guests[vmid]
	nodes := []string{guest.last().node}
	if nodes[0] == "" {
		nodes[0] = end.node
	} else if end.node != "" && end.node != nodes[0] {
		nodes = append(nodes, end.node)
	}
	between := 0
	if during != nil {
		between = guest.mayBe(*during)
	}
	last := guest.mayBe(end)
	task := must(write())
	guest.tell(between)
	r.judge.tasks.started(string(task.UPID), guest, last)
	check(r.config(ctx, task.Node, vmid))
	check(r.list(ctx, task.Node))
	check(r.task(ctx, task.Node, string(task.UPID), "RUNNING", "OK"))
	check(task.Wait(ctx, lookAtTask, time.Minute))
	if task.ExitStatus != "OK" {
		check(fmt.Errorf("the task %s ended with %q", task.UPID, task.ExitStatus))
	}
	r.judge.tasks.ended(string(task.UPID))
	r.readBack(ctx, vmid, nodes...)
	check(r.task(ctx, task.Node, string(task.UPID), "OK"))
}

// round makes a guest, clones it, changes, starts, snapshots, migrates, stops and deletes.
func (r *reader) round(ctx context.Context, number int) {
	at := func(node string, vmid int) *proxmox.VirtualMachine {
		vm := &proxmox.VirtualMachine{}
		vm.New(r.client, node, vmid)
		return vm
	}
	option := func(name string, value any) proxmox.VirtualMachineOption {
		return proxmox.VirtualMachineOption{Name: name, Value: value}
	}
	locked := func(now state, lock string) *state { now.lock = lock; return &now }
	of := func(what string) string { return fmt.Sprintf("%s %d", what, number) }
	snapshot := fmt.Sprintf("s%d", number)

	made := state{node: home, name: fmt.Sprintf("base-%d", number), description: of("made in"), status: "stopped"}
	r.step(ctx, base, locked(made, "create"), made, func() (*proxmox.Task, error) {
		return new(proxmox.Node).New(r.client, home).NewVirtualMachine(ctx, base, option("name", made.name),
			option("description", made.description), option("cores", 1), option("memory", 256),
			option("scsi0", "ceph-vm:1"))
	})
	now := state{node: home, name: fmt.Sprintf("copy-%d", number), description: of("cloned in"), status: "stopped"}
	r.step(ctx, copied, locked(now, "clone"), now, func() (*proxmox.Task, error) {
		_, task, err := at(home, base).Clone(ctx, &proxmox.VirtualMachineCloneOptions{
			NewID: copied, Name: now.name, Description: now.description, Full: 1})
		return task, err
	})

	// Without a task: all of it shows from the answer on.
	now.description = of("changed in")
	told := r.judge.guests[copied].mayBe(now)
	path := fmt.Sprintf("/nodes/%s/qemu/%d/config", home, copied)
	check(r.client.Put(ctx, path, map[string]string{"description": now.description}, nil))
	r.judge.guests[copied].tell(told)
	r.readBack(ctx, copied, home)

	now.status = "running"
	r.step(ctx, copied, nil, now, func() (*proxmox.Task, error) { return at(home, copied).Start(ctx) })
	during := locked(now, "snapshot")
	now.snapshots = snapshot
	r.step(ctx, copied, during, now, func() (*proxmox.Task, error) {
		return at(home, copied).NewSnapshot(ctx, snapshot)
	})
	during = locked(now, "migrate")
	now.node = away
	r.step(ctx, copied, during, now, func() (*proxmox.Task, error) {
		return at(home, copied).Migrate(ctx, &proxmox.VirtualMachineMigrateOptions{Target: away, Online: true})
	})
	now.description = of("moved in")
	r.step(ctx, copied, nil, now, func() (*proxmox.Task, error) {
		return at(away, copied).Config(ctx, option("description", now.description))
	})
	now.status = "stopped"
	r.step(ctx, copied, nil, now, func() (*proxmox.Task, error) { return at(away, copied).Stop(ctx) })
	during = locked(now, "snapshot-delete")
	now.snapshots = ""
	r.step(ctx, copied, during, now, func() (*proxmox.Task, error) {
		return at(away, copied).DeleteSnapshot(ctx, snapshot)
	})
	r.step(ctx, copied, locked(now, "destroyed"), state{}, func() (*proxmox.Task, error) {
		return at(away, copied).Delete(ctx)
	})
	r.step(ctx, base, locked(made, "destroyed"), state{}, func() (*proxmox.Task, error) {
		return at(home, base).Delete(ctx)
	})
}

// poll reads everything that shows the guests, over and over, at a pace, until it is told to end.
func (r *reader) poll(ctx context.Context) error {
	reads := []func(context.Context) error{r.resources, r.feed}
	for _, node := range []string{home, away} {
		reads = append(reads, func(ctx context.Context) error { return r.list(ctx, node) })
		for vmid := range r.judge.guests {
			for _, view := range []func(context.Context, string, int) error{r.config, r.status, r.snapshots} {
				reads = append(reads, func(ctx context.Context) error { return view(ctx, node, vmid) })
			}
		}
	}
	for number := 0; ; number++ {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pace):
		}
		if err := reads[number%len(reads)](ctx); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
}

// rounds runs the writer's loop beside pollers, and prints one line: how much was read, and what showed the past.
func rounds(ctx context.Context, s settings, number int) {
	j := &judge{
		guests: map[int]*timeline{base: newTimeline(base), copied: newTimeline(copied)},
		tasks:  &leads{to: map[string]func(){}, ends: map[string]bool{}},
		counts: map[string]int{},
	}
	polling, end := context.WithCancel(ctx)
	var pollers sync.WaitGroup
	failed := make(chan error, 8)
	for name, client := range map[string]*proxmox.Client{
		"the writer's own token": s.byToken(s.Admin),
		"an auditor's token":     s.byToken(s.Auditor),
		"a ticket":               s.byPassword(s.Password),
		"another ticket":         s.byPassword(s.Password),
	} {
		pollers.Go(func() {
			if err := (&reader{name, "polled", client, j}).poll(polling); err != nil {
				failed <- err
			}
		})
	}
	began := time.Now()
	writer := &reader{"the writer", "read back", s.byToken(s.Admin), j}
	for done := range number {
		writer.round(ctx, done)
	}
	took := time.Since(began)
	end()
	pollers.Wait()
	close(failed)
	// A poller that stopped proves nothing.
	reasons := []string{}
	for err := range failed {
		reasons = append(reasons, err.Error())
	}
	printLine(map[string]any{
		"rounds": number, "seconds": took.Seconds(), "read back": j.counts["read back"], "polled": j.counts["polled"],
		"violated": j.violated, "violations": append([]map[string]any{}, j.violations...), "failed": reasons,
	})
}
