//go:build !linux && !darwin

package sqlite

import (
	"errors"
	"os"
)

var errInUse = errors.New("is in use")

func lockDatabase(*os.File) error { return errors.ErrUnsupported }

func claim(*os.File) error { return nil }
