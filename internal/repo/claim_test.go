package repo

import (
	"testing"

	"github.com/holdfast-db/holdfast/internal/fail"
)

func TestClaim(t *testing.T) {
	a := newRepo(t, InitOptions{})
	b := openRepo(t, a.st.location)
	release, err := a.Claim(t.Context(), "backup of shop")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Claim(t.Context(), "backup of shop"); fail.KindOf(err) != fail.Locked {
		t.Errorf("the same claim twice: %v", err)
	}
	other, err := b.Claim(t.Context(), "backup of wiki")
	if err != nil {
		t.Errorf("another claim: %v", err)
	} else {
		other()
	}
	// A claim is in nobody's way.
	if _, err := a.Reclaim(t.Context(), ReclaimOptions{Now: true}); err != nil {
		t.Errorf("reclaim beside a claim: %v", err)
	}
	release()
	again, err := b.Claim(t.Context(), "backup of shop")
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	again()
}

func TestSetRecord(t *testing.T) {
	r := newRepo(t, InitOptions{})
	count := func(kind string) int {
		t.Helper()
		list, err := r.Records(t.Context(), kind, nil)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	shop, wiki := map[string]string{"database": "shop"}, map[string]string{"database": "wiki"}
	more := map[string]string{"database": "shop", "work": "verify"}
	for i := range 3 {
		for _, labels := range []map[string]string{shop, wiki, more} {
			if err := r.SetRecord(t.Context(), "attempt", labels, i); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := count("attempt"); n != 3 {
		t.Errorf("%d records, want one for each set of labels", n)
	}
	list, err := r.Records(t.Context(), "attempt", wiki)
	var v int
	if err != nil || len(list) != 1 || list[0].Decode(&v) != nil || v != 2 {
		t.Errorf("got %+v (%d), %v", list, v, err)
	}
	if err := r.SetRecord(t.Context(), "attempt", shop, nil); err != nil || count("attempt") != 2 {
		t.Errorf("removed: %v, %d left", err, count("attempt"))
	}
}
