package wire

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/servers"
)

// djangoReads reads every row of every model and asks the kinds of questions whose SQL depends on the types of columns.
const djangoReads = `
import datetime, decimal, json
from django.apps import apps
from django.utils import timezone
timezone.activate(datetime.timezone.utc) # MariaDB knows no other one here
from django.db.models import F, Sum, Max
from django.db.models.functions import TruncMonth, ExtractYear
def number(v): # jsonb does not keep the spelling
    if isinstance(v, dict): return {k: number(x) for k, x in v.items()}
    if isinstance(v, list): return [number(x) for x in v]
    return float(v) if isinstance(v, (int, float)) and not isinstance(v, bool) else v
def plain(v):
    if isinstance(v, memoryview): v = bytes(v)
    if isinstance(v, decimal.Decimal): return 'dec', str(decimal.Context(prec=DIGITS).plus(v).normalize())
    if isinstance(v, float): return 'float', repr(v + 0)
    if isinstance(v, (dict, list)): return 'json', json.dumps(number(v), sort_keys=True)
    return type(v).__name__, str(v)
for m in sorted(apps.get_models(), key=lambda m: m._meta.label):
    if m._meta.app_label == 'pgapp': continue
    out = []
    for o in m._base_manager.all():
        out.append(str([(f.name, plain(getattr(o, f.attname))) for f in m._meta.concrete_fields if not getattr(f, 'generated', False)]))
        for f in m._meta.many_to_many:
            out.append(str((f.name, str(o.pk), sorted(str(x.pk) for x in getattr(o, f.name).all()))))
    print(m._meta.label, len(out)); print('\n'.join(sorted(out)))
from shop.models import *
K = Kitchen.objects
def ask(name, q): print(name, sorted(str(x) for x in q.values_list('pk', flat=True)))
ask('json', K.filter(js__b=1)); ask('json list', K.filter(js=[])); ask('json key', K.filter(js__has_key='a'))
ask('duration', K.filter(dur__gt=datetime.timedelta(hours=1))); ask('duration is', K.filter(dur=datetime.timedelta(days=-1, seconds=5, microseconds=7)))
ask('bool', K.filter(bool=True)); ask('null', K.filter(nbool__isnull=True)); ask('decimal', K.filter(dec__lt=decimal.Decimal('0.0001')))
ask('month', K.filter(dt__month=3, dt__year=2024)); ask('date', K.filter(dt__date=datetime.date(2024, 3, 31))); ask('time', K.filter(t__hour=1))
ask('uuid', Uu.objects.filter(pk='12345678-1234-5678-1234-567812345678')); ask('uuid ref', UuRef.objects.filter(uu__tag__slug='b', uus=F('uu')))
ask('bytes', K.filter(bin=b'\x00\xff abc')); ask('text', K.filter(txt__contains='"q"')); ask('ip', K.filter(ip='2001:db8::1'))
ask('sum', K.annotate(later=F('dt') + datetime.timedelta(hours=1)).filter(later__gt=datetime.datetime(2024, 5, 1, tzinfo=datetime.timezone.utc)))
print(K.aggregate(n=Max('big'))['n'], sorted(str(x) for x in K.filter(dt__isnull=False).annotate(x=TruncMonth('dt')).values_list('x', flat=True)))
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
print(User.objects.get(username='ann').has_perm('shop.add_author'), Author.objects.filter(friends__name='B', user__username='ann').count())
`

// djangoWrites makes rows of every sort in the copy.
const djangoWrites = `
import datetime, uuid, decimal
from shop.models import *
from django.db import IntegrityError, transaction
now = datetime.datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.timezone.utc)
before = set(Kitchen.objects.values_list('pk', flat=True))
k = Kitchen.objects.create(bool=True, small=1, big=2, dec=decimal.Decimal('1.5'), fl=1.5, txt='x', email='a@b', dt=now, dur=datetime.timedelta(hours=3), u=uuid.UUID(int=9), js={'new': [1]}, bin=b'\x00\x01', ip='::1', t=datetime.time(1,2,3,4), d=datetime.date(2030,1,1))
assert k.pk not in before and k.pk > max(before)
k = Kitchen.objects.get(pk=k.pk)
assert (k.dt, k.dur, k.u, k.js, bytes(k.bin), k.ip, k.bool) == (now, datetime.timedelta(hours=3), uuid.UUID(int=9), {'new': [1]}, b'\x00\x01', '::1', True), k.__dict__
t = Tag.objects.create(slug='new'); u = Uu.objects.create(tag=t); UuRef.objects.create(uu=u).uus.add(u)
a = Author.objects.create(name='new', created=now); Book.objects.create(title='new', author=a).tags.add(t)
Restaurant.objects.create(name='new', stars=2)
try:
    with transaction.atomic(): Tag.objects.create(slug='new')
    raise SystemExit('a unique constraint is missing')
except IntegrityError: pass
try:
    with transaction.atomic(): Book.objects.create(title='lost', author_id=987654)
    raise SystemExit('a foreign key is missing')
except IntegrityError: pass
a.delete()
print('ok')
`

// A Django project goes on with the copy as if nothing had happened.
func TestCopy_Django(t *testing.T) {
	const version = "4.2"
	release := servers.Django(t, version)
	for _, from := range engines() {
		t.Run("from_"+from, func(t *testing.T) {
			source := newPlace(t, from)
			project := release.Project(t, source.url)
			project.Migrate(t)
			project.Seed(t)
			for _, to := range engines() {
				if to == from {
					continue
				}
				t.Run("to_"+to, func(t *testing.T) {
					target := newPlace(t, to)
					digits := "30"
					if from == SQLite || to == SQLite {
						digits = "15" // all that SQLite keeps of a decimal
					}
					if from == Postgres && to == MySQL {
						refusesNaN(t, source, target)
					}
					reads := strings.ReplaceAll(djangoReads, "DIGITS", digits)
					want := project.Python(t, reads)
					opt := CopyOptions{Target: TargetOptions{Models: ModelOptions{Map: project.ModelMap(t)}}}
					if from == MySQL { // both ways to tell
						opt.Target.Models = ModelOptions{ProjectDir: project.Dir}
					}
					done := mustCopy(t, source, target, opt)
					if done.Compared.Values != done.Compared.Tables || done.Compared.Values != done.Tables {
						t.Errorf("compared %+v of %d tables", done.Compared, done.Tables)
					}
					moved := release.Project(t, target.url)
					withoutPostgresApp(t, moved)
					moved.Manage(t, "check")
					if plan := moved.Manage(t, "migrate", "--plan"); !strings.Contains(plan, "No planned migration operations") {
						t.Errorf("migrations are left: %s", plan)
					}
					moved.Manage(t, "migrate", "--check")
					if diff := cmp.Diff(want, moved.Python(t, reads)); diff != "" {
						t.Errorf("Django reads something else (-source +copy):\n%s", diff)
					}
					if out := moved.Python(t, djangoWrites); !strings.Contains(out, "ok") {
						t.Errorf("writing: %s", out)
					}
				})
			}
		})
	}
}

// refusesNaN makes sure that numbers which MySQL has no value for are an error, and takes them out of the source.
func refusesNaN(t *testing.T, source, target place) {
	t.Helper()
	if _, err := Copy(t.Context(), source.url, target.url, CopyOptions{}); err == nil {
		t.Error("NaN and infinity went to MySQL")
	}
	source.sql(t, "DELETE FROM shop_kitchen WHERE fl IN ('NaN', 'Infinity')")
}

// withoutPostgresApp leaves out the app that only PostgreSQL can have.
func withoutPostgresApp(t *testing.T, p *servers.DjangoProject) {
	t.Helper()
	name := filepath.Join(p.Dir, "settings.py")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "INSTALLED_APPS += ['django.contrib.postgres', 'pgapp']", "pass", 1)
	if changed == string(text) {
		t.Fatal("the settings have changed: the test no longer finds PostgreSQL's app in them")
	}
	if err := os.WriteFile(name, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
}
