package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/format"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// formatVersion is the newest version of our part of the format that this code knows.
const formatVersion = 1

const (
	formatCopyMagic  = "holdfast format copy"
	formatCopyPrefix = ownPrefix + "format-copy."
	formatCopies     = 2
)

// formatCopy is the content, as JSON, of the blobs holdfast.format-copy.1 and .2. kopia keeps
// its keys in one small blob, kopia.repository, and losing a bit of it loses everything; so
// there are copies. The sum finds accidents, not attackers: the blobs inside are sealed by
// kopia with the password, and whoever can write here could alter those as well.
type formatCopy struct {
	Magic       string            `json:"magic"`
	Version     int               `json:"version"`
	Compression string            `json:"compression"` // of new data, as in InitOptions
	Blobs       map[string][]byte `json:"blobs"`       // name of kopia's blob → content
	Sum         string            `json:"sha256"`      // hex, of this JSON with an empty sum
}

func (c formatCopy) sum() string {
	c.Sum = ""
	data, err := json.Marshal(c) // maps are marshalled in the order of their keys
	if err != nil {
		panic("repo: format copy: " + err.Error()) // strings and bytes always can be
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func parseFormatCopy(data []byte) (*formatCopy, error) {
	var c formatCopy
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	switch {
	case c.Magic != formatCopyMagic:
		return nil, errors.New("wrong magic")
	case c.Version > formatVersion:
		return nil, fail.New(fail.Newer, "use a newer Holdfast", "the repository has format %d, this Holdfast knows %d", c.Version, formatVersion)
	case c.Sum != c.sum():
		return nil, errors.New("wrong checksum")
	case len(c.Blobs[formatBlob]) == 0:
		return nil, errors.New("no format blob inside")
	}
	return &c, nil
}

func formatCopyName(n int) blob.ID { return blob.ID(fmt.Sprintf("%s%d", formatCopyPrefix, n)) }

// formatCopy returns a good copy, or nil, and the names of the bad ones (missing ones count
// when others are there). The error is the storage's, or Newer.
func (s *store) formatCopy(ctx context.Context) (good *formatCopy, bad []blob.ID, err error) {
	missing := 0
	for n := 1; n <= formatCopies; n++ {
		name := formatCopyName(n)
		data, err := s.get(ctx, name)
		if errors.Is(err, blob.ErrBlobNotFound) {
			missing++
			bad = append(bad, name)
			continue
		} else if err != nil {
			return nil, nil, err
		}
		c, err := parseFormatCopy(data)
		switch {
		case fail.KindOf(err) == fail.Newer:
			return nil, nil, err
		case err != nil:
			bad = append(bad, name)
		case good == nil:
			good = c
		}
	}
	if missing == formatCopies { // made by the kopia command: nothing is wrong
		bad = nil
	}
	return good, bad, nil
}

// formatBlobs returns kopia's format blobs as they are stored.
func (s *store) formatBlobs(ctx context.Context) (map[string][]byte, error) {
	blobs := map[string][]byte{}
	for _, name := range []string{formatBlob, formatCfgBlob} {
		data, err := s.get(ctx, blob.ID(name))
		if errors.Is(err, blob.ErrBlobNotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		blobs[name] = data
	}
	return blobs, nil
}

// writeFormatCopies makes copies of the format blobs.
func (s *store) writeFormatCopies(ctx context.Context, blobs map[string][]byte, compression string) error {
	c := formatCopy{Magic: formatCopyMagic, Version: formatVersion, Compression: compression, Blobs: blobs}
	c.Sum = c.sum()
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	for n := 1; n <= formatCopies; n++ {
		if _, err := s.put(ctx, formatCopyName(n), data); err != nil {
			return err
		}
	}
	return nil
}

// differing returns the names of blobs whose content in c is another than in now.
func (c *formatCopy) differing(now map[string][]byte) (names []string) {
	for _, name := range []string{formatBlob, formatCfgBlob} {
		if !bytes.Equal(c.Blobs[name], now[name]) {
			names = append(names, name)
		}
	}
	return names
}

// replaced reports whether the format blob now was put there on purpose (by kopia, changing
// the password or upgrading the format), and is not a damaged form of was. Sealing it anew
// changes nearly every byte of the sealed part; damage changes some, or breaks the JSON around it.
func replaced(was, now []byte) bool {
	a, aerr := format.ParseKopiaRepositoryJSON(was)
	b, berr := format.ParseKopiaRepositoryJSON(now)
	if aerr != nil || berr != nil || a == nil || b == nil || !bytes.Equal(a.UniqueID, b.UniqueID) || a.EncryptionAlgorithm != b.EncryptionAlgorithm {
		return false
	}
	x, y := a.EncryptedFormatBytes, b.EncryptedFormatBytes
	if len(y) < len(x)/2 {
		return false
	}
	same := 0
	for i := range min(len(x), len(y)) {
		if x[i] == y[i] {
			same++
		}
	}
	return same < len(x)/4
}
