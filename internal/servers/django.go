package servers

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The project that [DjangoRelease.Project] copies: every field type, natural keys, cycles, multi-table inheritance, many-to-many of
// every sort, custom tables and columns, PostgreSQL's own fields, an app whose models moved through many migrations.
//
//go:embed all:testdata/django
var djangoProject embed.FS

// DjangoVersions lists the versions of Django to test with: "3.2", "4.2" and "5.2".
func DjangoVersions() []string { return []string{"3.2", "4.2", "5.2"} }

// A DjangoRelease is a Django on this machine.
type DjangoRelease struct {
	Version string // "5.2"
	path    string // folder of its Python packages
}

// Django returns the Django of a version in [DjangoVersions]. Without it the test is skipped, or fails: see [Require].
func Django(t testing.TB, version string) *DjangoRelease {
	t.Helper()
	d, err := findDjango(version)
	why := ""
	if err != nil {
		why = err.Error() + " (scripts/test-deps.sh installs it)"
	}
	Require(t, "django"+version, err == nil, why)
	return d
}

// debianPackages is where Debian's Python packages lie, in a system's root.
const debianPackages = "/usr/lib/python3/dist-packages"

// systemPython is Debian's own: its packages hold the drivers of databases, which another Python on $PATH lacks.
const systemPython = "/usr/bin/python3"

var djangoVersionPattern = regexp.MustCompile(`(?m)^VERSION = \((\d+), (\d+),`)

// findDjango looks in the folder that scripts/test-deps.sh fills, then among the system's packages.
func findDjango(version string) (*DjangoRelease, error) {
	dirs := []string{filepath.Join(CacheDir(), "django-"+version, debianPackages), debianPackages}
	for _, dir := range dirs {
		text, err := os.ReadFile(filepath.Join(dir, "django", "__init__.py"))
		if err != nil {
			continue
		}
		if m := djangoVersionPattern.FindSubmatch(text); m != nil && fmt.Sprintf("%s.%s", m[1], m[2]) == version {
			return &DjangoRelease{Version: version, path: dir}, nil
		}
	}
	return nil, fmt.Errorf("no Django %s in %s", version, strings.Join(dirs, " or "))
}

// A DjangoProject is a copy of the test project, configured for one database.
type DjangoProject struct {
	Dir string   // holds manage.py and, in each app, migrations/
	DB  string   // URL or file that it was made for
	Env []string // more environment for its commands: "USE_TZ=0"

	release *DjangoRelease
	env     []string
}

// Project copies the test project into a folder of the test, configured for a database: an SQLite file, or the URL of
// a PostgreSQL or MySQL database that exists. Nothing is created in the database: see [DjangoProject.Migrate].
// On PostgreSQL the project has one app more, pgapp.
func (d *DjangoRelease) Project(t testing.TB, db string) *DjangoProject {
	t.Helper()
	env, err := djangoDatabase(db)
	if err != nil {
		t.Fatalf("configure Django for %s: %v", hidePassword(db), err)
	}
	p := &DjangoProject{Dir: t.TempDir(), DB: db, release: d, env: env}
	if err := d.copyProject(p.Dir); err != nil {
		t.Fatalf("copy the Django project: %v", err)
	}
	return p
}

// djangoDatabase returns the environment from which the project's settings make DATABASES.
func djangoDatabase(db string) ([]string, error) {
	u, err := url.Parse(db)
	if err != nil || len(u.Scheme) < 2 || u.Scheme == "sqlite" {
		file, err := filepath.Abs(strings.TrimPrefix(db, "sqlite:"))
		return []string{"DB=sqlite3", "DB_NAME=" + file}, err
	}
	backend := map[string]string{"postgres": "postgresql", "postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}[u.Scheme]
	if backend == "" {
		return nil, fmt.Errorf("no backend for %s", u.Scheme)
	}
	password, _ := u.User.Password()
	return []string{"DB=" + backend, "DB_NAME=" + strings.TrimPrefix(u.Path, "/"), "DB_HOST=" + u.Hostname(), "DB_PORT=" + u.Port(),
		"DB_USER=" + u.User.Username(), "DB_PASSWORD=" + password}, nil
}

func hidePassword(db string) string {
	if u, err := url.Parse(db); err == nil {
		return u.Redacted()
	}
	return db
}

// copyProject writes the project's files, without the migrations that the release can't run.
func (d *DjangoRelease) copyProject(dir string) error {
	root, err := fs.Sub(djangoProject, "testdata/django")
	if err != nil {
		return err
	}
	return fs.WalkDir(root, ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasSuffix(name, "_django52.py") && d.Version != "5.2":
			return nil
		case e.IsDir():
			return os.MkdirAll(filepath.Join(dir, name), 0o700)
		}
		data, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name), data, 0o600)
	})
}

// Migrate creates the project's tables.
func (p *DjangoProject) Migrate(t testing.TB) {
	t.Helper()
	p.Manage(t, "migrate", "-v", "0")
}

// Seed fills the tables that Migrate made with rows of every kind.
func (p *DjangoProject) Seed(t testing.TB) {
	t.Helper()
	p.Script(t, "seed.py")
}

// ModelMap returns what modelmap.py of the project prints: every model with its table, fields and columns, as JSON.
func (p *DjangoProject) ModelMap(t testing.TB) []byte {
	t.Helper()
	return []byte(p.Script(t, "modelmap.py"))
}

// Script runs a Python file of the project inside Django and returns its stdout, failing the test on error.
func (p *DjangoProject) Script(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.Dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return p.Python(t, string(text))
}

// Python runs Python statements inside Django and returns their stdout, failing the test on error.
func (p *DjangoProject) Python(t testing.TB, code string) string {
	t.Helper()
	return p.must(t, "python", p.command("-c", "import django; django.setup()\nimport sys; exec(sys.stdin.read())"), code)
}

// Manage runs manage.py with the arguments in the project's folder and returns its stdout, failing the test on error.
func (p *DjangoProject) Manage(t testing.TB, args ...string) string {
	t.Helper()
	return p.must(t, "manage.py "+strings.Join(args, " "), p.command(append([]string{"manage.py"}, args...)...), "")
}

func (p *DjangoProject) must(t testing.TB, what string, cmd *exec.Cmd, stdin string) string {
	t.Helper()
	stdout, stderr, err := output(cmd, stdin)
	if err != nil {
		t.Fatalf("Django %s: %s: %v\n%s", p.release.Version, what, err, stderr)
	}
	return stdout
}

// ManageErr is [DjangoProject.Manage] for commands that may fail: it returns what they print on stdout and on
// stderr, and the error that they end with.
func (p *DjangoProject) ManageErr(args ...string) (stdout, stderr string, err error) {
	return output(p.command(append([]string{"manage.py"}, args...)...), "")
}

func output(cmd *exec.Cmd, stdin string) (string, string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	return stdout.String(), stderr.String(), err
}

// Command prepares manage.py with the arguments, for callers that measure or pipe.
func (p *DjangoProject) Command(args ...string) *exec.Cmd {
	return p.command(append([]string{"manage.py"}, args...)...)
}

func (p *DjangoProject) command(args ...string) *exec.Cmd {
	cmd := exec.Command(systemPython, args...)
	cmd.Dir = p.Dir
	cmd.Env = cleanEnv("PYTHONPATH="+p.release.path, "DJANGO_SETTINGS_MODULE=settings", "LC_ALL=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1")
	cmd.Env = append(append(cmd.Env, p.env...), p.Env...)
	return cmd
}
