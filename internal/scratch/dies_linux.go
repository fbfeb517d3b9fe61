package scratch

import "syscall"

// diesWithUs has the system send a signal to the process when the thread that started it ends.
func diesWithUs(attr *syscall.SysProcAttr, death syscall.Signal) { attr.Pdeathsig = death }
