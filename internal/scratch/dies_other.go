//go:build !linux

package scratch

import "syscall"

// diesWithUs does nothing: only Linux can do it. A server whose parent was killed is left to its user.
func diesWithUs(*syscall.SysProcAttr, syscall.Signal) {}
