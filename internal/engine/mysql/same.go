package mysql

import (
	"context"
	"crypto/rand"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// SameDatabase reports whether two URLs lead to one database. Names and addresses don't tell: there are sockets, tunnels and aliases. So
// the servers are asked: what one session locks under a name that nobody can guess, a session on the same server finds locked.
func SameDatabase(ctx context.Context, a, b string) (bool, error) {
	one, err := openPlain(ctx, a)
	if err != nil {
		return false, err
	}
	defer one.close()
	other, err := openPlain(ctx, b)
	if isNumber(err, errNoDatabase) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer other.close()
	name := quoteLiteral("holdfast_" + strings.ToLower(rand.Text()))
	ask := func(s *session, what string) ([]cell, error) {
		row, err := s.one(ctx, "SELECT DATABASE(), @@lower_case_table_names, "+what)
		return row, fail.Op(explainIn(ctx, err), "find out whether two databases are one")
	}
	mine, err := ask(one, "GET_LOCK("+name+", 0)")
	if err != nil {
		return false, err
	}
	if mine[2].s != "1" {
		return false, fail.New(fail.Internal, "", "find out whether two databases are one: the server does not give a lock")
	}
	theirs, err := ask(other, "IS_USED_LOCK("+name+")")
	if err != nil || theirs[2].null {
		return false, err
	}
	folds := mine[1].s != "0" // takes capitals for small letters
	return mine[0].s == theirs[0].s || folds && strings.EqualFold(mine[0].s, theirs[0].s), nil
}

func openPlain(ctx context.Context, url string) (*session, error) {
	cfg, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	return connect(ctx, cfg, true)
}
