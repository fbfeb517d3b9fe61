package sqlsplit

// A word is a key word that matters to where a statement ends.
type word uint8

const (
	other word = iota
	wordAtomic
	wordBegin
	wordCase
	wordCopy
	wordCreate
	wordEnd
	wordExplain
	wordFrom
	wordFunction
	wordOr
	wordProcedure
	wordReplace
	wordStdin
	wordTemp
	wordTrigger
)

// wordOf recognizes a key word without making garbage: it is called for each word of a script.
func wordOf(text []byte) word {
	var low [10]byte
	if len(text) > len(low) {
		return other
	}
	for i, c := range text {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		low[i] = c
	}
	switch string(low[:len(text)]) {
	case "atomic":
		return wordAtomic
	case "begin":
		return wordBegin
	case "case":
		return wordCase
	case "copy":
		return wordCopy
	case "create":
		return wordCreate
	case "end":
		return wordEnd
	case "explain":
		return wordExplain
	case "from":
		return wordFrom
	case "function":
		return wordFunction
	case "or":
		return wordOr
	case "procedure":
		return wordProcedure
	case "replace":
		return wordReplace
	case "stdin":
		return wordStdin
	case "temp", "temporary":
		return wordTemp
	case "trigger":
		return wordTrigger
	}
	return other
}

// finder finds the semicolon that ends a statement. In PostgreSQL that is none within parentheses, nor within the
// BEGIN ATOMIC … END body of a routine; in SQLite, that of a trigger is the one in «; END ;».
type finder struct {
	dialect Dialect
	head    [4]word // the first words
	n       int     // how many words there were
	parens  int
	body    int  // depth of BEGIN ATOMIC and CASE
	routine bool // CREATE [OR REPLACE] FUNCTION or PROCEDURE
	trigger bool // SQLite's CREATE TRIGGER
	ended   int  // within a trigger: 1 behind a semicolon, 2 behind the END that follows it
	last    word // the last word, when nothing but blanks followed it
	copy    bool // COPY … FROM stdin
}

// sees takes the next token and reports whether the statement ends with it.
func (f *finder) sees(kind TokenKind, text []byte) bool {
	switch kind {
	case Space, Comment:
		return false
	case Ident:
		f.word(wordOf(text))
		return false
	case Punct:
		switch text[0] {
		case '(':
			f.parens++
		case ')':
			f.parens = max(0, f.parens-1)
		case ';':
			if f.dialect != PostgreSQL {
				done := !f.trigger || f.ended == 2
				f.ended = 1
				return done
			}
			return f.parens == 0 && f.body == 0
		}
	}
	f.last, f.ended = other, 0
	return false
}

func (f *finder) word(w word) {
	if f.n < len(f.head) {
		f.head[f.n] = w
		f.n++
		f.begins()
	}
	if f.ended == 1 && w == wordEnd {
		f.ended = 2
	} else {
		f.ended = 0
	}
	if f.parens == 0 {
		switch {
		case f.head[0] == wordCopy && w == wordStdin && f.last == wordFrom:
			f.copy = f.dialect == PostgreSQL
		case !f.routine:
		case w == wordAtomic && f.last == wordBegin: // «begin» alone may be a name
			f.body++
		case w == wordCase && f.body > 0:
			f.body++
		case w == wordEnd && f.body > 0:
			f.body--
		}
	}
	f.last = w
}

// begins tells from the first words what is to come.
func (f *finder) begins() {
	head := f.head[:]
	if f.dialect == SQLite {
		if head[0] == wordExplain {
			head = head[1:]
		}
		f.trigger = head[0] == wordCreate && (head[1] == wordTrigger || head[1] == wordTemp && head[2] == wordTrigger)
		return
	}
	k := 1
	if head[1] == wordOr && head[2] == wordReplace {
		k = 3
	}
	f.routine = f.dialect == PostgreSQL && head[0] == wordCreate && (head[k] == wordFunction || head[k] == wordProcedure)
}
