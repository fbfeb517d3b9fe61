package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/holdfast-db/holdfast/internal/envelope"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/folder"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/wire"
)

// dumpTo writes a dump, wrapped, and returns the number of bytes that came out.
func dumpTo(ctx context.Context, view rows.View, w io.Writer, env envelope.Options, opt wire.DumpOptions) (*wire.Dumped, int64, error) {
	c := &countingWriter{w: w}
	buf := bufio.NewWriterSize(c, 256<<10)
	wrapped, err := envelope.Writer(buf, env)
	if err != nil {
		return nil, 0, err
	}
	done, err := wire.Dump(ctx, view, wrapped, opt)
	if err != nil {
		return nil, 0, err
	}
	if err := wrapped.Close(); err != nil {
		return nil, 0, err
	}
	return done, c.n, buf.Flush()
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// dumpFile writes a file aside and gives it its name when it is whole.
func dumpFile(ctx context.Context, view rows.View, f dumpFlags, env envelope.Options) (*wire.Dumped, int64, error) {
	switch info, err := os.Stat(f.out); {
	case err == nil && info.IsDir():
		return nil, 0, fail.New(fail.Usage, "use --output-dir for a folder", "write %s: it is a folder", f.out)
	case err == nil && !info.Mode().IsRegular(): // /dev/stdout, >(gzip), a named pipe
		return dumpPipe(ctx, view, f, env)
	}
	if _, err := os.Lstat(f.out); err == nil && !f.overwrite {
		return nil, 0, fail.New(fail.Exists, "choose another name, or add --overwrite", "%s is there already", f.out)
	}
	out, err := folder.CreateAside(f.out)
	if err != nil {
		return nil, 0, err
	}
	defer out.Abort()
	done, size, err := dumpTo(ctx, view, out, env, f.opt)
	if err != nil {
		return nil, 0, err
	}
	return done, size, out.Commit(f.overwrite)
}

// A sink gives errors of writing their kind.
type sink struct {
	w    io.Writer
	name string
}

func (s sink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err // the name is in the message already
	}
	return n, folder.Classify(err, "write %s", s.name)
}

// dumpPipe writes to what is there and is no file.
func dumpPipe(ctx context.Context, view rows.View, f dumpFlags, env envelope.Options) (*wire.Dumped, int64, error) {
	w, err := os.OpenFile(f.out, os.O_WRONLY, 0)
	if err != nil {
		return nil, 0, folder.Classify(err, "write %s", f.out)
	}
	done, size, err := dumpTo(ctx, view, sink{w, f.out}, env, f.opt)
	if cerr := w.Close(); err == nil {
		err = folder.Classify(cerr, "write %s", f.out)
	}
	return done, size, err
}

// dumpFolder writes a file with a name of its own and a sidecar.
func dumpFolder(ctx context.Context, view rows.View, f dumpFlags, env envelope.Options) (*wire.Dumped, folder.Entry, error) {
	origin := view.Schema().Origin
	out, err := folder.Create(f.dir, folder.Options{Database: f.name, Kind: f.format, Engine: origin.Engine, Tool: "holdfast " + version, Time: origin.TakenAt, Local: f.local, Envelope: env})
	if err != nil {
		return nil, folder.Entry{}, err
	}
	defer out.Abort()
	done, err := wire.Dump(ctx, view, out, f.opt)
	if err != nil {
		return nil, folder.Entry{}, err
	}
	e, err := out.Commit(done.Content)
	return done, e, err
}
