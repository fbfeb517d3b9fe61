// Package metrics gives the state of backups to Prometheus: over HTTP, or as a file for node_exporter's textfile
// collector. What the metrics say comes from the repository, not from what one process happened to see.
package metrics

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/fail"
)

// A State is what is told, at one moment.
type State struct {
	Health     []backup.Health
	Reachable  bool  // the repository
	StoreBytes int64 // it takes; 0 unknown
	DiskFree   int64 // bytes on its disk; 0 unknown
	DiskSize   int64
	Unsent     int // alarms that somebody was not told of
}

// Metrics is the set of all metrics. It may be used by several goroutines.
type Metrics struct {
	registry *prometheus.Registry
	setting  sync.Mutex                      // held while a state is set or read: nobody sees half of one
	by       map[string]*prometheus.GaugeVec // per database
	state    map[string]*prometheus.GaugeVec // without labels; a vector can be without a value
	runs     *prometheus.CounterVec
	undone   prometheus.Counter
}

const prefix = "holdfast_"

// perDatabase are the gauges with the label database.
var perDatabase = [...]struct{ name, help string }{
	{"status", "How the database is protected, as Nagios has it: 0 as promised, 1 warning, 2 critical, 3 unknown."},
	{"last_success_timestamp_seconds", "When the newest good backup began."},
	{"last_attempt_timestamp_seconds", "When the newest backup that was tried began."},
	{"last_status", "Whether the newest backup that was tried went well: 1 or 0."},
	{"last_duration_seconds", "How long the newest good backup took."},
	{"last_size_bytes", "Size of the newest good backup's content."},
	{"last_new_bytes", "What the newest good backup added to the repository, compressed."},
	{"last_rows", "Rows in the newest good backup."},
	{"last_tables", "Tables in the newest good backup."},
	{"last_verify_success_timestamp_seconds", "When the newest verified good backup was verified."},
	{"last_restore_drill_success_timestamp_seconds", "When the newest drilled good backup was drilled."},
	{"last_restore_drill_duration_seconds", "How long that drill's restore took: a measured recovery time."},
	{"expected_interval_seconds", "Longest time between two planned backups."},
	{"objective_age_seconds", "How old the newest good backup may be."},
	{"retained_backups", "Good backups that are kept."},
}

var global = [...]struct{ name, help string }{
	{"repository_up", "Whether the repository could be read: 1 or 0."},
	{"store_bytes", "Size of the repository."},
	{"disk_free_bytes", "Free space on the repository's disk."},
	{"disk_size_bytes", "Size of the repository's disk."},
	{"alarms_unsent", "Alarms that some place could not be told of yet."},
}

// New returns the metrics of a program of the given version.
func New(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), by: map[string]*prometheus.GaugeVec{}, state: map[string]*prometheus.GaugeVec{}}
	for _, d := range perDatabase {
		m.by[d.name] = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + d.name, Help: d.help}, []string{"database"})
		m.registry.MustRegister(m.by[d.name])
	}
	for _, d := range global {
		m.state[d.name] = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + d.name, Help: d.help}, nil)
		m.registry.MustRegister(m.state[d.name])
	}
	m.runs = prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "runs_total", Help: "Runs of this process, by work and result."}, []string{"database", "work", "result"})
	m.undone = prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "notify_failures_total", Help: "Messages that could not be delivered."})
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + "build_info", Help: "1, with the version."}, []string{"version"})
	info.WithLabelValues(version).Set(1)
	m.registry.MustRegister(m.runs, m.undone, info)
	return m
}

// Ran counts a run.
func (m *Metrics) Ran(database, work string, ok bool) {
	result := "failure"
	if ok {
		result = "success"
	}
	m.runs.WithLabelValues(database, work, result).Inc()
}

// NotDelivered counts a message that somebody did not get.
func (m *Metrics) NotDelivered() { m.undone.Inc() }

// Set replaces what is told. Values that are not known are left out, and databases that are no more vanish.
func (m *Metrics) Set(s State) {
	m.setting.Lock()
	defer m.setting.Unlock()
	for _, v := range m.by {
		v.Reset()
	}
	for _, v := range m.state {
		v.Reset()
	}
	m.state["repository_up"].WithLabelValues().Set(number(s.Reachable))
	m.state["alarms_unsent"].WithLabelValues().Set(float64(s.Unsent))
	if s.StoreBytes > 0 {
		m.state["store_bytes"].WithLabelValues().Set(float64(s.StoreBytes))
	}
	if s.DiskSize > 0 {
		m.state["disk_free_bytes"].WithLabelValues().Set(float64(s.DiskFree))
		m.state["disk_size_bytes"].WithLabelValues().Set(float64(s.DiskSize))
	}
	for _, h := range s.Health {
		set := func(name string, v float64) { m.by[name].WithLabelValues(h.Database).Set(v) }
		at := func(name string, t time.Time) {
			if !t.IsZero() {
				set(name, seconds(t))
			}
		}
		set("status", float64(h.Level))
		set("retained_backups", float64(h.Copies))
		if d := h.Promise.Interval; d > 0 {
			set("expected_interval_seconds", d.Seconds())
		}
		if d := h.Promise.MaxAge; d > 0 {
			set("objective_age_seconds", d.Seconds())
		}
		attempt, well := time.Time{}, true
		if b := h.Newest; b != nil {
			attempt = b.Started
			at("last_success_timestamp_seconds", b.Started)
			set("last_duration_seconds", b.Seconds)
			set("last_size_bytes", float64(b.Size))
			set("last_new_bytes", float64(b.NewBytes))
			set("last_rows", float64(b.Rows))
			set("last_tables", float64(b.Tables))
		}
		for _, a := range h.Attempts {
			if a.Work == backup.WorkBackup && (h.Newest == nil || !a.Before(*h.Newest)) {
				attempt, well = a.Started, a.OK
			}
		}
		if !attempt.IsZero() {
			at("last_attempt_timestamp_seconds", attempt)
			set("last_status", number(well))
		}
		at("last_verify_success_timestamp_seconds", h.Verified)
		at("last_restore_drill_success_timestamp_seconds", h.Drilled)
		if !h.Drilled.IsZero() {
			set("last_restore_drill_duration_seconds", h.Recovery)
		}
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// locked is fn, called while nobody else has the lock.
func locked[T any](mu *sync.Mutex, fn func() (T, error)) func() (T, error) {
	return func() (T, error) {
		mu.Lock()
		defer mu.Unlock()
		return fn()
	}
}

// Handler serves the metrics in the form that the client asks for.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(prometheus.GathererFunc(locked(&m.setting, m.registry.Gather)), promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// Text returns the metrics in Prometheus' text form.
func (m *Metrics) Text() ([]byte, error) {
	families, err := locked(&m.setting, m.registry.Gather)()
	if err != nil {
		return nil, fail.Wrap(fail.Internal, err, "", "gather metrics")
	}
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			return nil, fail.Wrap(fail.Internal, err, "", "write metrics")
		}
	}
	return b.Bytes(), nil
}

// WriteFile writes the text form for node_exporter's textfile collector: aside, then renamed, readable by all.
func (m *Metrics) WriteFile(path string) error {
	text, err := m.Text()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".holdfast-*.tmp") // node_exporter reads *.prom alone
	if err != nil {
		return fail.Wrap(fail.Denied, err, "", "write metrics to %s", path)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(0o644) // there is no secret in it, and node_exporter is another user
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return fail.Wrap(fail.NoSpace, err, "", "write metrics to %s", path)
}
