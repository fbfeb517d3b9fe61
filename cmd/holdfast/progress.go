package main

import (
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// progress shows bars on a terminal: one for the whole, one for each table at work. Elsewhere it shows nothing.
type progress struct {
	bars *mpb.Progress // nil when nothing is shown

	mu     sync.Mutex
	total  *mpb.Bar
	tables map[*rows.Table]*tableBar
	stages map[string]*mpb.Bar
}

type tableBar struct {
	bar  *mpb.Bar
	done int64
}

// newProgress returns a progress for the app's terminal. Call stop before printing anything else.
func (a *app) newProgress() *progress {
	p := &progress{tables: map[*rows.Table]*tableBar{}, stages: map[string]*mpb.Bar{}}
	if !a.quiet && !a.json && terminal(a.stderr) {
		p.bars = mpb.New(mpb.WithOutput(a.stderr), mpb.WithWidth(40))
	}
	return p
}

func (p *progress) observer() backup.Observer {
	if p.bars == nil {
		return backup.Observer{}
	}
	return backup.Observer{Begin: p.begin, Update: p.update}
}

func (p *progress) begin(name string, size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.total != nil {
		p.total.Abort(false)
	}
	p.total = p.bars.AddBar(size, mpb.BarPriority(1<<20),
		mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR), decor.Counters(decor.SizeB1000(0), "% .1f / % .1f", decor.WCSyncSpace)),
		mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5}), decor.AverageSpeed(decor.SizeB1000(0), " % .1f "), decor.AverageETA(decor.ET_STYLE_GO)))
}

// mostTables limits how many bars of tables are on the screen.
const mostTables = 8

func (p *progress) update(u rows.Update) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.total == nil {
		return
	}
	p.total.IncrInt64(u.Bytes)
	if u.Table == nil {
		return
	}
	t := p.tables[u.Table]
	if t == nil {
		if len(p.tables) >= mostTables || u.Done {
			return
		}
		t = &tableBar{bar: p.bars.AddBar(u.Table.EstBytes, mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name("  "+u.Table.String(), decor.WCSyncSpaceR), decor.Counters(decor.SizeB1000(0), "% .1f / % .1f", decor.WCSyncSpace)),
			mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5})))}
		p.tables[u.Table] = t
	}
	t.done += u.Bytes
	t.bar.SetCurrent(min(t.done, max(u.Table.EstBytes-1, 0)))
	if u.Done && t.done >= u.Table.EstBytes*9/10 { // sizes are estimates; parts of a table end one by one
		t.bar.Abort(true)
		delete(p.tables, u.Table)
	}
}

// stage shows what goes on after the rows: indexes, constraints.
func (p *progress) stage(name string, done, total int) {
	if p.bars == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	bar := p.stages[name]
	if bar == nil {
		bar = p.bars.AddBar(int64(total), mpb.BarPriority(2<<20), mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR), decor.CountersNoUnit("%d / %d", decor.WCSyncSpace)))
		p.stages[name] = bar
	}
	bar.SetTotal(int64(total), false)
	bar.SetCurrent(int64(done))
}

// count shows one bar that counts rows: done of about total, 0 when nobody knows.
func (p *progress) count(name string, done, total int64) {
	if p.bars == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	bar := p.stages[name]
	if bar == nil {
		bar = p.bars.AddBar(total, mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR), decor.CountersNoUnit("%d / %d rows", decor.WCSyncSpace)),
			mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5}), decor.AverageETA(decor.ET_STYLE_GO)))
		p.stages[name] = bar
	}
	bar.SetTotal(max(total, done+1), false) // totals are estimates; a full bar ends
	bar.SetCurrent(done)
}

// counter returns an observer of rows by label, which adds up to about total.
func (p *progress) counter(name string, total int64) func(label string, rows int64) {
	if p.bars == nil {
		return nil
	}
	var sum int64
	var mu sync.Mutex
	seen := map[string]int64{}
	return func(label string, rows int64) {
		mu.Lock()
		sum += rows - seen[label]
		seen[label] = rows
		n := sum
		mu.Unlock()
		p.count(name, n, total)
	}
}

// stop takes the bars of tables away and leaves the screen to others. It may be called twice.
func (p *progress) stop() {
	if p.bars == nil {
		return
	}
	p.mu.Lock()
	for _, t := range p.tables {
		t.bar.Abort(true)
	}
	for _, b := range p.stages {
		b.Abort(true)
	}
	if p.total != nil {
		p.total.Abort(true)
	}
	p.total = nil
	p.tables, p.stages = map[*rows.Table]*tableBar{}, map[string]*mpb.Bar{}
	bars := p.bars
	p.bars = nil
	p.mu.Unlock()
	bars.Wait()
}
