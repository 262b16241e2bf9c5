package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// state is everything of a guest that is compared. Without a node it does not exist.
type state struct {
	node, name, description, status, lock, snapshots string
}

// shown is what a view on a node shows of a guest in this state; nothing where it is not there. The names and
// states in /cluster/resources are old by the API's own doing; what exists, where, and its lock are not.
func (s state) shown(view, node string) string {
	if s.node == "" || node != "" && s.node != node {
		return ""
	}
	switch view {
	case "config":
		return joined(s.name, s.description, s.lock)
	case "status", "list":
		return joined(s.name, s.status, s.lock)
	case "snapshots":
		return joined("snapshots", s.snapshots)
	case "resources":
		return joined(s.node, s.lock)
	}
	panic("there is no view " + view)
}

func joined(parts ...string) string { return strings.Join(parts, " | ") }

// timeline is the states of one guest, in order; timeline.py explains it.
type timeline struct {
	vmid   int
	mutex  sync.Mutex
	states []state
	told   int
	seen   map[string]int
}

func newTimeline(vmid int) *timeline {
	return &timeline{vmid: vmid, states: []state{{}}, seen: map[string]int{}}
}

func (t *timeline) last() state {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.states[len(t.states)-1]
}

// mayBe says that from here on `next` may be seen; gives what to tell once it has been handed over.
func (t *timeline) mayBe(next state) int {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.states = append(t.states, next)
	return len(t.states) - 1
}

// tell says that from here on nothing older than the state of this number may be seen.
func (t *timeline) tell(number int) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.told = max(t.told, number)
}

func (t *timeline) toldNow() int {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.told
}

// judge says why a read that began when `told` was told must not have shown `seen`, or nothing.
func (t *timeline) judge(reader, view, node string, told int, seen string) map[string]any {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	place := joined(reader, view, node)
	floor := max(told, t.seen[place])
	matches := func(s state) bool { return s.shown(view, node) == seen }
	if at := slices.IndexFunc(t.states[floor:], matches); at >= 0 {
		t.seen[place] = floor + at
		return nil
	}
	then := "as it never was"
	for number := floor - 1; number >= 0; number-- {
		if matches(t.states[number]) {
			then = fmt.Sprintf("as it was %d states before", floor-number)
			break
		}
	}
	return map[string]any{
		"reader": reader, "guest": t.vmid, "read": view + " on " + node, "shown": seen + ", " + then,
		"told": fmt.Sprintf("%+v", t.states[told]), "seen before by this reader": fmt.Sprintf("%+v", t.states[floor]),
		"newest": fmt.Sprintf("%+v", t.states[len(t.states)-1]),
	}
}

// leads is which state each task leads to; whoever learns of its end tells that state.
type leads struct {
	mutex sync.Mutex
	to    map[string]func()
	ends  map[string]bool
}

func (l *leads) started(upid string, guest *timeline, number int) {
	tell := func() { guest.tell(number) }
	l.mutex.Lock()
	l.to[upid] = tell
	ended := l.ends[upid]
	l.mutex.Unlock()
	if ended {
		tell()
	}
}

func (l *leads) ended(upid string) {
	l.mutex.Lock()
	l.ends[upid] = true
	tell := l.to[upid]
	l.mutex.Unlock()
	if tell != nil {
		tell()
	}
}
