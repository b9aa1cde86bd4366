package bundle

import (
	"encoding/json"
	"regexp"
)

const (
	permitType = "application/vnd.arasul.update-permit.v1+json"
	maxPermit  = 64 << 10
	// AnyMachine is the machine of a permit that is good for all of them.
	AnyMachine = "*"
)

var machineForm = regexp.MustCompile(`^(\*|[0-9a-f]{32})$`)

// Permit lets one release onto machines whose floor is above it. Who may sign a
// release may sign it: they could as well sign the same release with another
// sequence.
type Permit struct {
	Bundle  string `json:"bundle_id"`
	Machine string `json:"machine_id"` // of /etc/machine-id, or AnyMachine
	// LastRoot is the last version of the trust root under which it is good: the next
	// root ends it.
	LastRoot int `json:"not_after_root_version"`
}

// SignedPermit is a permit with its signatures, which is what a file holds.
type SignedPermit struct {
	Permit     Base64      `json:"permit"`
	Signatures []Signature `json:"signatures"`
}

// PermitToBeSigned is what a signature of a permit is over.
func PermitToBeSigned(permit []byte) []byte { return pae(permitType, permit) }

// ParsePermit reads a permit. It does not say who has signed it.
func ParsePermit(text []byte) (*Permit, error) {
	p := &Permit{}
	if err := strict(text, p); err != nil {
		return nil, malformed("the permit: %s", err)
	}
	if !sumForm.MatchString(p.Bundle) || !machineForm.MatchString(p.Machine) || p.LastRoot < 0 {
		return nil, malformed("the permit does not say for which release and machine it is")
	}
	return p, nil
}

// ParseSignedPermit reads a permit with its signatures, which it does not check.
func ParseSignedPermit(text []byte) (s SignedPermit, err error) {
	if len(text) > maxPermit {
		return s, refuse(TooLarge, "", "the permit is longer than %d bytes", maxPermit)
	}
	if err := strict(text, &s); err != nil {
		return s, malformed("the permit: %s", err)
	}
	return s, nil
}

// permitted says why a permit does not let this release onto the machine, nil
// when it does.
func (v *Verified) permitted(m Machine, text []byte) error {
	s, err := ParseSignedPermit(text)
	if err != nil {
		return err
	}
	list, err := EncodeSignatures(s.Signatures)
	if err != nil {
		return err
	}
	if _, err := v.Root.vouched(v.Root.Roles.Release, permitType, s.Permit, list); err != nil {
		return err
	}
	p, err := ParsePermit(s.Permit)
	if err != nil {
		return err
	}
	switch {
	case p.Bundle != v.ID:
		return refuse(BelowFloor, "", "the permit is for another release")
	case p.Machine != AnyMachine && (m.ID == "" || p.Machine != m.ID):
		return refuse(BelowFloor, "", "the permit is for another machine")
	case v.Root.Version > p.LastRoot:
		return refuse(Revoked, "Ask for a new one.", "the permit ended when the keys were replaced")
	}
	return nil
}

// Encode is the form of a permit that is signed.
func (p Permit) Encode() ([]byte, error) {
	text, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		return nil, err
	}
	_, err = ParsePermit(text)
	return text, err
}
