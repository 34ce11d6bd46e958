package ext4

import (
	"crypto/sha256"
	"encoding/base64"
)

// noKeyBytes is how much of an encrypted name a no-key name holds as it is.
const noKeyBytes = 149

// NoKeyName is the form in which a name of an encrypted directory is listed without its key: base64url of the two
// directory hashes, the first 149 bytes of the encrypted name and, where it is longer, the SHA-256 of the rest (kernel
// documentation, "Filesystem-level encryption (fscrypt)", "Access semantics, without the key").
func NoKeyName(hash, minor uint32, encrypted []byte) string {
	raw := make([]byte, 8, 8+noKeyBytes+sha256.Size)
	putHashes(raw, hash, minor)
	raw = append(raw, encrypted[:min(len(encrypted), noKeyBytes)]...)
	if len(encrypted) > noKeyBytes {
		sum := sha256.Sum256(encrypted[noKeyBytes:])
		raw = append(raw, sum[:]...)
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}
