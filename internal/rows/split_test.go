package rows

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

type chunk struct {
	data  []byte
	count Count
}

func split(t testing.TB, s *Splitter, r io.Reader) ([]chunk, Count) {
	t.Helper()
	var chunks []chunk
	total, err := s.Split(r, func(p []byte, c Count) error {
		chunks = append(chunks, chunk{bytes.Clone(p), c})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return chunks, total
}

func countOf(t testing.TB, data []byte) Count {
	t.Helper()
	var c Counter
	_, _ = c.Write(data)
	n, err := c.Count()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// genRows makes n rows of about size bytes each, different for each seed.
func genRows(seed uint64, n, size int) []byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "%d\t", i)
		for range size/2 + rnd.IntN(size+1) {
			b.WriteByte('a' + byte(rnd.IntN(26)))
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func TestSplit(t *testing.T) {
	s := NewSplitter([16]byte{1})
	t.Run("chunks_join_to_the_input_and_hold_whole_rows_within_bounds", func(t *testing.T) {
		data := genRows(1, 100_000, 120)
		chunks, total := split(t, s, bytes.NewReader(data))
		if len(chunks) < 5 {
			t.Fatalf("got %d chunks of %d bytes: not split", len(chunks), len(data))
		}
		var joined []byte
		var sum Count
		for i, c := range chunks {
			if i < len(chunks)-1 && (len(c.data) < MinChunk || len(c.data) > MaxChunk) {
				t.Errorf("chunk %d has %d bytes", i, len(c.data))
			}
			if c.data[len(c.data)-1] != '\n' {
				t.Errorf("chunk %d ends within a row", i)
			}
			if got := countOf(t, c.data); got != c.count {
				t.Errorf("chunk %d: count %+v, want %+v", i, c.count, got)
			}
			joined = append(joined, c.data...)
			sum = sum.Add(c.count)
		}
		if !bytes.Equal(joined, data) {
			t.Error("joined chunks differ from the input")
		}
		if want := countOf(t, data); total != want || sum != want {
			t.Errorf("total %+v, sum %+v, want %+v", total, sum, want)
		}
	})
	t.Run("average_does_not_depend_on_row_length", func(t *testing.T) {
		for _, size := range []int{10, 100, 1000, 20_000} {
			data := genRows(uint64(size), 48<<20/size, size)
			chunks, _ := split(t, s, bytes.NewReader(data))
			if avg := len(data) / len(chunks); avg < AvgChunk*7/10 || avg > AvgChunk*14/10 {
				t.Errorf("rows of %d bytes: chunks of %d bytes on average", size, avg)
			}
		}
	})
	t.Run("an_insert_changes_only_the_chunks_near_it", func(t *testing.T) {
		data := genRows(7, 100_000, 120)
		at := bytes.IndexByte(data[len(data)/2:], '\n') + len(data)/2 + 1
		changed := bytes.Join([][]byte{data[:at], []byte("new row\n"), data[at:]}, nil)
		before := map[string]bool{}
		chunks, _ := split(t, s, bytes.NewReader(data))
		for _, c := range chunks {
			before[string(c.data)] = true
		}
		fresh := 0
		chunks, _ = split(t, s, bytes.NewReader(changed))
		for _, c := range chunks {
			if !before[string(c.data)] {
				fresh++
			}
		}
		if fresh == 0 || fresh > 2 {
			t.Errorf("%d of %d chunks are new", fresh, len(chunks))
		}
	})
	t.Run("another_key_cuts_elsewhere", func(t *testing.T) {
		data := genRows(3, 100_000, 120)
		a, _ := split(t, s, bytes.NewReader(data))
		b, _ := split(t, NewSplitter([16]byte{2}), bytes.NewReader(data))
		if len(a[0].data) == len(b[0].data) && len(a[1].data) == len(b[1].data) {
			t.Error("chunk lengths do not depend on the key")
		}
	})
	t.Run("a_row_longer_than_a_chunk_is_cut", func(t *testing.T) {
		for _, size := range []int{MaxChunk - 1, MaxChunk, MaxChunk + 1, MaxChunk + readSize, 3*MaxChunk + 17} {
			long := append(bytes.Repeat([]byte("x"), size), '\n')
			data := bytes.Join([][]byte{genRows(1, 10, 100), long, genRows(2, 10, 100)}, nil)
			chunks, total := split(t, s, bytes.NewReader(data))
			var joined []byte
			var sum Count
			for _, c := range chunks {
				if len(c.data) > MaxChunk {
					t.Errorf("chunk of %d bytes", len(c.data))
				}
				joined = append(joined, c.data...)
				sum = sum.Add(c.count)
			}
			want := countOf(t, data)
			if !bytes.Equal(joined, data) || total != want || sum != want {
				t.Errorf("row of %d bytes: total %+v, sum %+v, want %+v", size, total, sum, want)
			}
		}
	})
	t.Run("a_stream_that_ends_within_a_row_is_an_error", func(t *testing.T) {
		for _, data := range []string{"a", "a\nb", "\nb"} {
			_, err := s.Split(bytes.NewReader([]byte(data)), func([]byte, Count) error { return nil })
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%q: got %v", data, err)
			}
		}
	})
	t.Run("errors_of_reader_and_emit_are_returned", func(t *testing.T) {
		boom := errors.New("boom")
		if _, err := s.Split(iotest.ErrReader(boom), func([]byte, Count) error { return nil }); !errors.Is(err, boom) {
			t.Errorf("reader: got %v", err)
		}
		if _, err := s.Split(bytes.NewReader([]byte("a\n")), func([]byte, Count) error { return boom }); !errors.Is(err, boom) {
			t.Errorf("emit: got %v", err)
		}
	})
	t.Run("nothing_and_empty_rows", func(t *testing.T) {
		if chunks, total := split(t, s, bytes.NewReader(nil)); len(chunks) != 0 || total != (Count{}) {
			t.Errorf("empty input: %d chunks, %+v", len(chunks), total)
		}
		if _, total := split(t, s, bytes.NewReader([]byte("\n\n\n"))); total.Rows != 3 {
			t.Errorf("three empty rows: %+v", total)
		}
	})
}

// Whatever the rows and however they arrive, chunks join to the input and counts agree.
func TestSplitProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 400).Draw(t, "rows")
		size := rapid.SampledFrom([]int{0, 1, 50, 5_000, 40_000}).Draw(t, "size")
		data := genRows(rapid.Uint64().Draw(t, "seed"), n, size)
		var r io.Reader = bytes.NewReader(data)
		if rapid.Bool().Draw(t, "small reads") {
			r = &raggedReader{r, rapid.IntRange(1, 100_000).Draw(t, "read")}
		}
		var joined []byte
		var sum Count
		total, err := NewSplitter([16]byte{9}).Split(r, func(p []byte, c Count) error {
			joined = append(joined, p...)
			sum = sum.Add(c)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var c Counter
		for rest := data; len(rest) > 0; { // in pieces of odd length
			k := min(len(rest), 777)
			_, _ = c.Write(rest[:k])
			rest = rest[k:]
		}
		want, err := c.Count()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(joined, data) || total != want || sum != want {
			t.Fatalf("total %+v, sum %+v, want %+v", total, sum, want)
		}
	})
}

type raggedReader struct {
	r io.Reader
	n int
}

func (r *raggedReader) Read(p []byte) (int, error) { return r.r.Read(p[:min(len(p), r.n)]) }

func TestHashIsIndependentOfOrder(t *testing.T) {
	a := countOf(t, []byte("one\ntwo\nthree\n"))
	b := countOf(t, []byte("three\none\ntwo\n"))
	if a != b {
		t.Errorf("order changed the hash: %v, %v", a, b)
	}
	if c := countOf(t, []byte("three\none\ntwx\n")); c.Hash == a.Hash {
		t.Error("other rows, same hash")
	}
	if c := countOf(t, []byte("one\none\ntwo\nthree\n")); c.Hash == a.Hash {
		t.Error("a row twice, same hash")
	}
	var back Hash
	text, err := a.Hash.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	if err := back.UnmarshalText(text); err != nil || back != a.Hash {
		t.Errorf("text round trip: %v, %v", back, err)
	}
	if err := back.UnmarshalText([]byte("zz")); err == nil {
		t.Error("bad text accepted")
	}
}

// BenchmarkSplit shows that the Splitter costs far less than compression (about 150 MB/s a core).
func BenchmarkSplit(b *testing.B) {
	for _, size := range []int{30, 100, 400} {
		data := genRows(1, 32<<20/size, size)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			s := NewSplitter([16]byte{1})
			for b.Loop() {
				if _, err := s.Split(bytes.NewReader(data), func([]byte, Count) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
