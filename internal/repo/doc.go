// Package repo is the repository: where backups are kept, encrypted, compressed and
// deduplicated. It is built on kopia as a library and is the only package that knows kopia.
//
// A [Repo] is opened at a location with a password. A [Session] adds backups to it: each is a
// [Tree] of files, each file a [Stream] of chunks; nothing is listed or reachable before
// [Session.Commit], and a run that dies leaves no half backup. What is stored is read through
// [SnapshotFS], an fs.FS, or chunk by chunk.
//
// # What lies in a repository
//
// Every backup is an ordinary kopia snapshot, so the stock kopia command lists, verifies and
// restores it. Names of blobs by their beginning:
//
//	kopia.repository, kopia.blobcfg   kopia's format: keys sealed by the password
//	kopia.maintenance                 kopia's times of maintenance
//	p…                                packs of chunks
//	q…                                packs of metadata: folders (k), indexes of objects (x), manifests (m)
//	xn…, xs…, xr…, xe…, xw…           the index: which chunk is in which pack, and its epochs
//	s…                                marker of a kopia session that is not committed
//	holdfast.format-copy.N            our copies of kopia's format blobs; see formatCopy
//	holdfast.lease.KIND.RANDOM        who is at work now; see leaseInfo
//	holdfast.aside.RANDOM.NAME        a damaged blob that was replaced, kept for study
//
// Our own records (results of checks, chunks known to be bad) are kopia manifests whose type
// begins with «holdfast:». They keep no data alive: only snapshots do.
package repo
