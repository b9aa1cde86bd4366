// Package bundle is the format of a release in one file, .araupdate: reading it,
// judging it, writing it. docs/araupdate.md describes it for other programs.
//
//	64 bytes   header: magic, lengths of the sections, CRC-32C
//	           trust: newer trust roots, each signed by the one before; may be empty
//	           signatures
//	           manifest: JSON, what is signed
//	           index: SHA-256 of each MiB of the payload
//	           payload: packages and images, one after the other
//
// Signatures and manifest come first, so a file is judged by its head, which is
// 1.3 MiB at most and 32 bytes more for each MiB of payload, and every chunk of the
// payload before anything is done with it.
// There is no compression, no archive and no path in it, at this level.
//
// What a file says is believed in this order: lengths within their bounds; newer
// roots, signed by the old; signatures of the manifest; the manifest; whether it
// is for this machine; the index; each chunk. A reader that follows it needs as
// much memory as the head and one chunk.
//
// It opens no files, knows no folders and no clock.
package bundle

import "fmt"

// Code says of which kind a refusal is. Codes are stable.
type Code string

// The kinds.
const (
	BadFormat    Code = "bad-format"
	BadSignature Code = "bad-signature"
	Corrupt      Code = "corrupt" // the signature is good, and what follows is not what was signed
	TooLarge     Code = "too-large"
	WrongProduct Code = "wrong-product"
	WrongArch    Code = "wrong-arch"
	WrongOS      Code = "wrong-os"
	MinVersion   Code = "min-version"
	NotNewer     Code = "not-newer"
	Downgrade    Code = "downgrade"
	BelowFloor   Code = "below-floor"
	Expired      Code = "expired"
	Revoked      Code = "revoked"
	FailedBefore Code = "failed-before"
)

// Error is a refusal: which kind, why, and what to do about it.
type Error struct {
	Code Code
	Text string // without its end
	Hint string
}

// Error implements error.
func (e *Error) Error() string { return e.Text }

func refuse(code Code, hint, format string, args ...any) *Error {
	return &Error{code, fmt.Sprintf(format, args...), hint}
}

func malformed(format string, args ...any) *Error {
	return refuse(BadFormat, "Get the file anew: it is damaged, or is no release for Arasul.", format, args...)
}
