package repo

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kopia/kopia/repo/blob"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// A lease is a blob holdfast.lease.KIND.RANDOM that says who is at work. Whoever wants one puts
// its own, then lists all, and withdraws when another live one stands against it; so of two at
// once at most one goes on. It works on any storage that lists what was put.
//
//	writer       a session; any number at once
//	reader       a long read; any number at once
//	maintenance  gives space back with kopia's full margins of safety; one at a time, beside writers
//	exclusive    gives space back at once; alone
//	job          one piece of work on one database, named by its purpose; one of each name
//
// A lease on this machine lives as long as its process. One of another machine lives for
// leaseExpiry after it was last renewed, by the storage's times alone: a put of ours tells what
// time it is there, so that clocks of machines don't matter. A lease from the future (the
// storage's clock was set back) counts as live.
const (
	leasePrefix = ownPrefix + "lease."
	leaseExpiry = 15 * time.Minute
	leaseRenew  = 2 * time.Minute
)

type leaseKind string

const (
	leaseWriter      leaseKind = "writer"
	leaseReader      leaseKind = "reader"
	leaseMaintenance leaseKind = "maintenance"
	leaseExclusive   leaseKind = "exclusive"
	leaseJob         leaseKind = "job"
)

// against reports whether two leases can't live together. Jobs are in nobody's way: what they do takes leases of its own.
func (l leaseInfo) against(o leaseInfo) bool {
	switch {
	case l.Kind == leaseJob || o.Kind == leaseJob:
		return l.Kind == o.Kind && l.Purpose == o.Purpose
	case l.Kind == leaseExclusive || o.Kind == leaseExclusive:
		return true
	}
	return l.Kind == leaseMaintenance && o.Kind == leaseMaintenance
}

// leaseInfo is the content of a lease blob, as JSON.
type leaseInfo struct {
	Version int       `json:"version"`
	Kind    leaseKind `json:"kind"`
	Purpose string    `json:"purpose"`
	Since   time.Time `json:"since"` // by the holder's clock, for people
	process
}

// process names a process well enough to know whether it still runs.
type process struct {
	Host   string `json:"host"`
	PID    int    `json:"pid"`
	Boot   string `json:"boot,omitempty"`   // the machine's boot id
	Space  string `json:"pidns,omitempty"`  // the container's own numbering of processes
	Starts string `json:"starts,omitempty"` // when the process began, in ticks since boot
}

func whoAmI() process {
	p := process{PID: os.Getpid(), Boot: firstLine("/proc/sys/kernel/random/boot_id"), Starts: startTicks(os.Getpid())}
	p.Space, _ = os.Readlink("/proc/self/ns/pid")
	p.Host, _ = os.Hostname()
	p.Host = cmp.Or(p.Host, "localhost")
	return p
}

func firstLine(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return string(line)
}

// startTicks returns field 22 of /proc/PID/stat, or "" when there is no such process.
func startTicks(pid int) string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// The second field is the program's name in brackets and may hold anything.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
}

// sameMachine reports whether p's number means the same process here as there.
func (p process) sameMachine(self process) bool {
	return p.Boot != "" && p.Boot == self.Boot && p.Space != "" && p.Space == self.Space
}

func (p process) running() bool { return p.Starts != "" && startTicks(p.PID) == p.Starts }

// live reports whether a lease still counts. age is by the storage's times.
func (l leaseInfo) live(self process, age time.Duration) bool {
	if l.sameMachine(self) {
		return l.running()
	}
	return age < leaseExpiry
}

// lease is one held by this process. It is kept by a goroutine until release.
type lease struct {
	st   *store
	name blob.ID
	info leaseInfo
	stop context.CancelFunc
	done sync.WaitGroup

	mu   sync.Mutex
	lost error // guarded by mu
}

func randomName() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// takeLease takes a lease of kind, or returns Locked and says who stands against it. When two
// come at the same moment both withdraw and try again after a random while.
func takeLease(ctx context.Context, st *store, kind leaseKind, purpose string, wait time.Duration) (*lease, error) {
	l := &lease{st: st, name: blob.ID(leasePrefix + string(kind) + "." + randomName())}
	l.info = leaseInfo{Version: 1, Kind: kind, Purpose: purpose, Since: time.Now().UTC().Truncate(time.Second), process: whoAmI()}
	deadline := time.Now().Add(wait)
	for try := 0; ; try++ {
		err := l.try(ctx)
		if err == nil {
			break
		}
		if fail.KindOf(err) != fail.Locked || (try >= 2 && !time.Now().Before(deadline)) {
			return nil, err
		}
		var b [1]byte
		_, _ = rand.Read(b[:])
		select {
		case <-time.After(time.Duration(20+int(b[0])) * time.Millisecond * time.Duration(min(try+1, 5))):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	kctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	l.done.Go(func() { l.keep(kctx) })
	return l, nil
}

// try puts the lease and takes it back when another stands against it.
func (l *lease) try(ctx context.Context) error {
	now, err := l.renew(ctx)
	if err != nil {
		// It may be there all the same.
		return errors.Join(wrapWrite(err, "announce the %s", l.info.Purpose), l.remove(ctx))
	}
	if err = l.contested(ctx, now); err != nil {
		return errors.Join(err, l.remove(ctx))
	}
	return nil
}

// remove deletes the lease's blob. When that fails, the next lease of this repository does it:
// it would count as live for as long as this process lives.
func (l *lease) remove(ctx context.Context) error {
	err := l.st.DeleteBlob(context.WithoutCancel(ctx), l.name)
	if err != nil {
		l.st.abandoned.Store(l.name, true)
	}
	return err
}

func (l *lease) renew(ctx context.Context) (time.Time, error) {
	data, err := json.Marshal(l.info)
	if err != nil {
		return time.Time{}, err
	}
	return l.st.put(ctx, l.name, data)
}

// contested returns Locked when a live lease stands against l. It removes stale ones on its way.
func (l *lease) contested(ctx context.Context, now time.Time) error {
	others, err := readLeases(ctx, l.st)
	if err != nil {
		return wrapRead(err, "look who else is at work")
	}
	for _, o := range others {
		if o.name == l.name {
			continue
		}
		_, abandoned := l.st.abandoned.Load(o.name)
		if abandoned || !o.info.live(l.info.process, now.Sub(o.renewed)) {
			if err := l.st.DeleteBlob(ctx, o.name); err != nil {
				return wrapWrite(err, "remove a stale lease")
			}
			continue
		}
		if l.info.against(o.info) {
			return fail.New(fail.Locked, "try again when it has ended", "%s: %s is at work (host %s, process %d) since %s",
				l.info.Purpose, o.info.Purpose, o.info.Host, o.info.PID, o.info.Since.Local().Format(time.DateTime))
		}
	}
	return nil
}

type otherLease struct {
	name    blob.ID
	info    leaseInfo
	renewed time.Time // by the storage
}

func readLeases(ctx context.Context, st *store) ([]otherLease, error) {
	blobs, err := st.list(ctx, leasePrefix)
	if err != nil {
		return nil, err
	}
	var leases []otherLease
	for _, b := range blobs {
		o := otherLease{name: b.BlobID, renewed: b.Timestamp}
		data, err := st.get(ctx, b.BlobID)
		if errors.Is(err, blob.ErrBlobNotFound) {
			continue // released meanwhile
		} else if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(data, &o.info); err != nil {
			// Unreadable: nobody knows who it is, so time decides, and its name says the kind.
			o.info = leaseInfo{Purpose: "somebody", process: process{Host: "unknown"}}
		}
		kind, _, _ := strings.Cut(strings.TrimPrefix(string(b.BlobID), leasePrefix), ".")
		o.info.Kind = leaseKind(kind)
		leases = append(leases, o)
	}
	return leases, nil
}

// keep renews the lease until ctx ends. It is lost when somebody took it for stale and removed
// it, or when it could not be renewed for so long that others may have.
func (l *lease) keep(ctx context.Context) {
	tick := time.NewTicker(leaseRenew)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		there, err := l.st.exists(ctx, l.name)
		if err == nil && !there {
			l.lose(fail.New(fail.Locked, "run it again", "%s: the lease was taken away; this machine seemed to be gone", l.info.Purpose))
			return
		}
		if err == nil {
			_, err = l.renew(ctx)
		}
		if err == nil {
			last = time.Now()
		} else if time.Since(last) > leaseExpiry-leaseRenew {
			l.lose(wrapWrite(err, "%s: renew the lease", l.info.Purpose))
			return
		}
	}
}

func (l *lease) lose(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = err
}

// check returns an error when the lease is no longer held. What follows it must be short.
func (l *lease) check(ctx context.Context) error {
	l.mu.Lock()
	lost := l.lost
	l.mu.Unlock()
	if lost != nil {
		return lost
	}
	m, err := l.st.GetMetadata(ctx, l.name)
	if errors.Is(err, blob.ErrBlobNotFound) {
		return fail.New(fail.Locked, "run it again", "%s: the lease was taken away; this machine seemed to be gone", l.info.Purpose)
	} else if err != nil {
		return wrapRead(err, "look at the lease")
	}
	return l.contested(ctx, m.Timestamp)
}

// release gives the lease back and waits for its keeper.
func (l *lease) release(ctx context.Context) error {
	l.stop()
	l.done.Wait()
	return wrapWrite(l.remove(ctx), "release the lease")
}
