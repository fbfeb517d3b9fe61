package metrics

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/servers"
)

func sample() State {
	at := time.Unix(1_800_000_000, 500_000_000)
	return State{
		Reachable: true, StoreBytes: 123, DiskFree: 10, DiskSize: 100, Unsent: 1,
		Health: []backup.Health{
			{Database: `odd "name"` + "\n", Level: backup.Critical},
			{Database: "shop", Newest: &backup.Backup{Started: at, Seconds: 2.5, Size: 1000, Rows: 7, Tables: 2}, Copies: 3, Verified: at, Drilled: at, Recovery: 12,
				Promise:  backup.Promise{Interval: time.Hour, MaxAge: 2 * time.Hour},
				Attempts: []backup.Attempt{{Work: backup.WorkBackup, Started: at.Add(time.Hour)}, {Work: backup.WorkVerify, Started: at.Add(2 * time.Hour), OK: true}}},
		},
	}
}

func TestText(t *testing.T) {
	m := New("1.2")
	m.Ran("shop", "backup", true)
	m.NotDelivered()
	m.Set(State{Health: []backup.Health{{Database: "gone"}}})
	m.Set(sample())
	text, err := m.Text()
	if err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	if _, err := parser.TextToMetricFamilies(bytes.NewReader(text)); err != nil {
		t.Fatalf("Prometheus' own parser: %v\n%s", err, text)
	}
	for _, want := range []string{
		`holdfast_status{database="odd \"name\"\n"} 2`, `holdfast_status{database="shop"} 0`, `holdfast_last_success_timestamp_seconds{database="shop"} 1.8000000005e+09`,
		`holdfast_last_status{database="shop"} 0`, `holdfast_last_attempt_timestamp_seconds{database="shop"} 1.8000036005e+09`, `holdfast_retained_backups{database="shop"} 3`,
		`holdfast_expected_interval_seconds{database="shop"} 3600`, `holdfast_last_restore_drill_duration_seconds{database="shop"} 12`, `holdfast_repository_up 1`,
		`holdfast_runs_total{database="shop",result="success",work="backup"} 1`, `holdfast_build_info{version="1.2"} 1`, `holdfast_notify_failures_total 1`,
	} {
		if !strings.Contains(string(text), want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	if strings.Contains(string(text), "gone") {
		t.Error("a database that is no more is still told of")
	}
	if t.Failed() {
		t.Logf("%s", text)
	}
}

// What is not known is left out: a disk of 0 bytes is no disk.
func TestUnknownIsLeftOut(t *testing.T) {
	m := New("1.2")
	m.Set(sample())
	m.Set(State{})
	text, err := m.Text()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"store_bytes", "disk_free_bytes", "disk_size_bytes", "status"} {
		if strings.Contains(string(text), "\nholdfast_"+name) {
			t.Errorf("%s is told, and not known", name)
		}
	}
	if !strings.Contains(string(text), "\nholdfast_repository_up 0\n") {
		t.Errorf("nothing says that the repository is gone:\n%s", text)
	}
}

// A scrape never falls between the old state and the new one.
func TestScrapeWhileSet(t *testing.T) {
	m := New("1.2")
	m.Set(sample())
	var setting sync.WaitGroup
	ended := make(chan struct{})
	setting.Go(func() {
		for {
			select {
			case <-ended:
				return
			default:
				m.Set(sample())
			}
		}
	})
	for range 300 {
		text, err := m.Text()
		if err != nil || !strings.Contains(string(text), `holdfast_last_restore_drill_duration_seconds{database="shop"} 12`) || !strings.Contains(string(text), "\nholdfast_repository_up 1") {
			t.Errorf("half of a state (%v):\n%s", err, text)
			break
		}
	}
	close(ended)
	setting.Wait()
}

// promtool of Prometheus itself finds nothing to say about the metrics.
func TestPromtool(t *testing.T) {
	tool := servers.Program(t, "promtool")
	m := New("1.2")
	m.Ran("shop", "backup", true)
	m.Set(sample())
	text, err := m.Text()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tool, "check", "metrics")
	cmd.Stdin = bytes.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

func TestServeAndFile(t *testing.T) {
	m := New("1.2")
	m.Set(sample())
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	m.Handler().ServeHTTP(w, r)
	body, _ := io.ReadAll(w.Body)
	if w.Code != 200 || !strings.HasSuffix(string(body), "# EOF\n") {
		t.Errorf("OpenMetrics: %d\n%s", w.Code, body)
	}
	file := filepath.Join(t.TempDir(), "holdfast.prom")
	for range 2 {
		if err := m.WriteFile(file); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	entries, _ := os.ReadDir(filepath.Dir(file))
	if err != nil || !strings.Contains(string(text), "holdfast_status") || len(entries) != 1 {
		t.Errorf("file: %v, %d entries\n%s", err, len(entries), text)
	}
	if err := m.WriteFile(filepath.Join(t.TempDir(), "no", "such", "x.prom")); err == nil {
		t.Error("no error for a folder that is not there")
	}
}

// The rules and the dashboard in docs/ speak of metrics that there are, and the alerts are raised when they should be.
func TestDocs(t *testing.T) {
	m := New("1.2")
	m.Ran("shop", "backup", true)
	m.Set(sample())
	text, err := m.Text()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"prometheus-alerts.yaml", "grafana-dashboard.json"} {
		doc, err := os.ReadFile(filepath.Join("../../docs", file))
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`holdfast_[a-z_]+`).FindAllString(string(doc), -1)
		if len(names) < 8 {
			t.Errorf("%s names %d metrics", file, len(names))
		}
		for _, name := range names {
			if !strings.Contains(string(text), "# TYPE "+name+" ") {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
		if strings.HasSuffix(file, ".json") && !json.Valid(doc) {
			t.Errorf("%s is no JSON", file)
		}
	}
	promtool := servers.Program(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "../../docs/prometheus-alerts.yaml"}, {"test", "rules", "testdata/alerts_test.yaml"}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
