//go:build !unix

package folder

import (
	"errors"
	"os"
)

func tryLock(*os.File) error { return errors.ErrUnsupported }

func lockDir(string) (unlock func(), err error) { return func() {}, nil }
