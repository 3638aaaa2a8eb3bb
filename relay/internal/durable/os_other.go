//go:build !linux

package durable

import "syscall"

// Allocate implements Handle: there is no fallocate(2).
func (f osHandle) Allocate(int64) error { return syscall.ENOSYS }

// SyncData implements Handle. On macOS Sync asks the drive itself (F_FULLFSYNC).
func (f osHandle) SyncData() error { return f.Sync() }
