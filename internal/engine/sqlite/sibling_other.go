//go:build !unix

package sqlite

import (
	"io/fs"
	"os"
)

func makeSiblings(string) error { return nil }

func sameOwner(*os.File, fs.FileInfo) error { return nil }
