// Package backup holds the use cases: back up, list, show, restore, verify and prune. It joins
// databases, seen as rows or images, with the repository, and knows neither engines nor stores.
package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/image"
	"github.com/holdfast-db/holdfast/internal/repo"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// FormatVersion is the version of a backup's tree: docs/FORMAT.md, «A backup». A reader refuses newer ones.
const FormatVersion = 1

// ManifestName is the file at the root of every backup that describes the rest.
const ManifestName = "backup.json"

// maxManifest limits what is read of a backup.json, in bytes; 100,000 tables need about 100 MB.
const maxManifest = 1 << 30

// Kinds of backups.
const (
	KindRows  = "rows"
	KindImage = "image"
)

// Manifest is the content of backup.json.
type Manifest struct {
	Format    int            `json:"format"`
	Holdfast  string         `json:"holdfast"` // version that wrote it
	Kind      string         `json:"kind"`     // KindRows or KindImage
	Name      string         `json:"name"`     // what the user calls the database
	Started   time.Time      `json:"started"`
	Ended     time.Time      `json:"ended"`
	Selection rows.Selection `json:"selection,omitzero"` // what was asked for, when not everything
	DataOnly  bool           `json:"data_only,omitempty"`
	Schema    *rows.Schema   `json:"schema,omitempty"` // of rows
	Parts     []Part         `json:"parts,omitempty"`  // of rows, in the order of the tables
	Script    string         `json:"script,omitempty"` // file with which the engine's own client rebuilds the database
	Image     *image.Info    `json:"image,omitempty"`
	Files     []image.File   `json:"files,omitempty"` // of an image, below ImageDir
}

// ImageDir is the folder in a backup's tree that holds the files of an image.
const ImageDir = "image"

// Part is one stored part of a table.
type Part struct {
	Table  string `json:"table"` // text form
	Number int    `json:"number"`
	Path   string `json:"path"`
	rows.Count
}

// Origin returns where the backup came from.
func (m *Manifest) Origin() rows.Origin {
	switch {
	case m.Schema != nil:
		return m.Schema.Origin
	case m.Image != nil:
		return m.Image.Origin
	}
	return rows.Origin{}
}

// Totals adds up rows, bytes of content and tables.
func (m *Manifest) Totals() (nrows, size int64, tables int) {
	if m.Image != nil {
		for _, f := range m.Files {
			size += f.Size
		}
		for _, t := range m.Image.Tables {
			nrows += t.Rows
		}
		return nrows, size, len(m.Image.Tables)
	}
	for _, p := range m.Parts {
		nrows += p.Rows
		size += p.Bytes
	}
	for _, t := range m.Schema.Tables {
		if t.Kind != rows.LargeObjects {
			tables++
		}
	}
	return nrows, size, tables
}

// validate checks what the readers rely on: the file is untrusted input.
func (m *Manifest) validate() error {
	switch {
	case m.Format > FormatVersion:
		return fail.New(fail.Newer, "upgrade Holdfast", "format %d of the backup is newer than this Holdfast knows (%d)", m.Format, FormatVersion)
	case m.Format < 1:
		return fmt.Errorf("format %d", m.Format)
	case m.Kind == KindRows && m.Schema != nil:
		return m.validateRows()
	case m.Kind == KindImage && m.Image != nil:
		return m.validateImage()
	}
	return fmt.Errorf("kind %q without its description", m.Kind)
}

func (m *Manifest) validateRows() error {
	tables := map[string]bool{}
	for _, t := range m.Schema.Tables {
		if t == nil || t.Name == "" || tables[t.String()] {
			return fmt.Errorf("a table without a name, or twice")
		}
		tables[t.String()] = true
	}
	type key struct {
		table  string
		number int
	}
	seen := map[key]bool{}
	for _, p := range m.Parts {
		k := key{p.Table, p.Number}
		if !tables[p.Table] || seen[k] || !fs.ValidPath(p.Path) || p.Rows < 0 || p.Bytes < 0 {
			return fmt.Errorf("part %d of table %s: unknown table, repeated, or bad path %q", p.Number, p.Table, p.Path)
		}
		seen[k] = true
	}
	return nil
}

func (m *Manifest) validateImage() error {
	for _, f := range m.Files {
		if !fs.ValidPath(f.Name) || f.Size < 0 {
			return fmt.Errorf("file %q of %d bytes", f.Name, f.Size)
		}
	}
	return nil
}

// readManifest reads and checks the backup.json of a tree.
func readManifest(tree fs.FS) (*Manifest, error) {
	f, err := tree.Open(ManifestName)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxManifest {
		return nil, fail.New(fail.Damaged, "", "%s is larger than %d bytes", ManifestName, maxManifest)
	}
	m := new(Manifest)
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fail.Wrap(fail.Damaged, err, "", "parse %s", ManifestName)
	}
	if err := m.validate(); err != nil {
		if fail.KindOf(err) == fail.Newer {
			return nil, err
		}
		return nil, fail.Wrap(fail.Damaged, err, "", "check %s", ManifestName)
	}
	return m, nil
}

// Labels of a backup: all that a list shows, so that listing reads nothing else.
const (
	labelFormat   = "format"
	labelKind     = "kind"
	labelName     = "database"
	labelEngine   = "engine"
	labelHost     = "host"
	labelSource   = "source" // the database's name there, which Name may not be
	labelTakenAt  = "taken"
	labelStarted  = "started"
	labelSeconds  = "seconds"
	labelSize     = "size"
	labelNew      = "new"
	labelRows     = "rows"
	labelTables   = "tables"
	labelHoldfast = "holdfast"
	labelPartial  = "partial"
)

func (m *Manifest) labels(newBytes int64) map[string]string {
	nrows, size, tables := m.Totals()
	o := m.Origin()
	l := map[string]string{
		labelFormat: strconv.Itoa(m.Format), labelKind: m.Kind, labelName: m.Name, labelEngine: o.Engine, labelHost: o.Host, labelSource: o.Database,
		labelTakenAt: o.TakenAt.UTC().Format(time.RFC3339Nano), labelStarted: m.Started.UTC().Format(time.RFC3339Nano),
		labelSeconds: strconv.FormatFloat(m.Ended.Sub(m.Started).Seconds(), 'f', 3, 64),
		labelSize:    strconv.FormatInt(size, 10), labelNew: strconv.FormatInt(newBytes, 10),
		labelRows: strconv.FormatInt(nrows, 10), labelTables: strconv.Itoa(tables), labelHoldfast: m.Holdfast,
	}
	if !m.Selection.Empty() || m.DataOnly {
		l[labelPartial] = m.selectionID()
	}
	return l
}

// selectionID names what was asked for: backups of different selections are different series.
func (m *Manifest) selectionID() string {
	in, out := slices.Sorted(slices.Values(m.Selection.Include)), slices.Sorted(slices.Values(m.Selection.Exclude))
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %v", in, out, m.DataOnly))
	return hex.EncodeToString(sum[:8])
}

// State is how far a backup has come up the ladder of proof.
type State string

// The states. Damaged is a step down: the last check found something wrong.
const (
	Stored   State = "stored"   // written, durable, listed
	Verified State = "verified" // every byte read back since
	Drilled  State = "drilled"  // restored somewhere and compared
	Damaged  State = "damaged"  // the newest check failed
)

// Backup is one line of a list.
type Backup struct {
	ID       repo.ID   `json:"id"`
	Name     string    `json:"database"`
	Engine   string    `json:"engine"`
	Kind     string    `json:"kind"`
	Host     string    `json:"host,omitempty"`
	Source   string    `json:"source"`
	TakenAt  time.Time `json:"taken_at"` // the instant the data is from
	Started  time.Time `json:"started"`
	Seconds  float64   `json:"seconds"`
	Size     int64     `json:"size"`      // bytes of content
	NewBytes int64     `json:"new_bytes"` // bytes it added to the repository, compressed
	Rows     int64     `json:"rows"`
	Tables   int       `json:"tables"`
	Partial  bool      `json:"partial,omitempty"` // a selection, or without definitions
	series   string    // of the same selection; "" for whole backups
	State    State     `json:"state"`
	StateAt  time.Time `json:"state_at"` // when it got there

	VerifiedAt   time.Time `json:"verified_at,omitzero"`    // the last time that every byte was read and was well
	DrilledAt    time.Time `json:"drilled_at,omitzero"`     // the last time that it was restored and compared
	DrillSeconds float64   `json:"drill_seconds,omitempty"` // that this restore took
}

// group names what a retention policy counts together.
func (b Backup) group() string {
	return strings.Join([]string{b.Engine, b.Kind, b.Host, b.Source, b.Name, b.series}, "\x00")
}

func backupOf(e repo.Entry) Backup {
	l := e.Labels
	num := func(key string) int64 { n, _ := strconv.ParseInt(l[key], 10, 64); return n }
	at := func(key string) time.Time { t, _ := time.Parse(time.RFC3339Nano, l[key]); return t }
	secs, _ := strconv.ParseFloat(l[labelSeconds], 64)
	return Backup{
		ID: e.ID, Name: l[labelName], Engine: l[labelEngine], Kind: l[labelKind], Host: l[labelHost], Source: l[labelSource],
		TakenAt: at(labelTakenAt), Started: at(labelStarted), Seconds: secs, Size: num(labelSize), NewBytes: num(labelNew),
		Rows: num(labelRows), Tables: int(num(labelTables)), Partial: l[labelPartial] != "", series: l[labelPartial],
		State: Stored, StateAt: at(labelStarted).Add(time.Duration(secs * float64(time.Second))),
	}
}

// maxDir keeps a table's folder name within what every file system takes (255 bytes).
const maxDir = 180

// tableDir returns a table's folder below tables/. taken holds lower-cased names in use: some
// file systems fold case, and a restored tree must not mix two tables up there.
func tableDir(t *rows.Table, taken map[string]bool) string {
	dir := escapeName(t.Name)
	if t.Schema != "" {
		dir = escapeName(t.Schema) + "." + dir
	}
	if len(dir) > maxDir {
		dir = strings.TrimRight(dir[:maxDir], "%")
	}
	base := dir
	for n := 2; taken[strings.ToLower(dir)]; n++ {
		dir = fmt.Sprintf("%s~%d", base, n)
	}
	taken[strings.ToLower(dir)] = true
	return path.Join("tables", dir)
}

// escapeName writes every byte that is not a letter, a digit, - or _ as %XX.
func escapeName(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// TableCounts adds up the parts of each table by its text form.
func (m *Manifest) TableCounts() map[string]rows.Count {
	sums := make(map[string]rows.Count)
	for _, p := range m.Parts {
		sums[p.Table] = sums[p.Table].Add(p.Count)
	}
	return sums
}
