package bundle

import (
	"encoding/json"
	"slices"
	"time"
)

const (
	maxRoots = 64 // in one file
	maxKeys  = 32 // of one role
)

// Root is whom a machine trusts. It is replaced by the next version only, which
// as many of its own root keys have signed as it asks for, and of the new ones.
type Root struct {
	Version int        `json:"version"` // 0: from the folder of keys, never in a file
	Expires *time.Time `json:"expires_hint,omitempty"`
	Roles   struct {
		Root    Role `json:"root"`
		Release Role `json:"release"`
	} `json:"roles"`
	RevokedKeys    []string `json:"revoked_keys,omitempty"`    // IDs
	RevokedBundles []string `json:"revoked_bundles,omitempty"` // IDs
	MinSequence    uint64   `json:"min_sequence,omitempty"`    // of releases

	raw []byte
}

// Role is who may do one thing.
type Role struct {
	Keys      []Base64 `json:"keys"`      // SubjectPublicKeyInfo
	Threshold int      `json:"threshold"` // how many of them have to agree

	keys []Key
}

// NewRole is a role of keys. One that is named twice is one.
func NewRole(threshold int, keys ...Key) Role {
	r := Role{Threshold: threshold}
	for _, k := range keys {
		if r.add(k) {
			r.Keys = append(r.Keys, k.DER)
		}
	}
	return r
}

// Bootstrap is the root of a machine that has a folder of keys: each of them is
// enough.
func Bootstrap(keys ...Key) *Root {
	r := &Root{}
	if len(keys) > 0 {
		r.Roles.Root, r.Roles.Release = NewRole(1, keys...), NewRole(1, keys...)
	}
	return r
}

// ParseRoot reads a trust root. It does not say who has signed it.
func ParseRoot(text []byte) (*Root, error) {
	r := &Root{raw: text}
	if err := strict(text, r); err != nil {
		return nil, malformed("the trust root: %s", err)
	}
	for _, role := range []*Role{&r.Roles.Root, &r.Roles.Release} {
		if err := role.parse(); err != nil {
			return nil, err
		}
	}
	if r.Version < 1 {
		return nil, malformed("the trust root has the version %d", r.Version)
	}
	return r, nil
}

// add says whether the key is a new one: thresholds count keys, not names.
func (r *Role) add(k Key) bool {
	if slices.ContainsFunc(r.keys, func(old Key) bool { return old.ID == k.ID }) {
		return false
	}
	r.keys = append(r.keys, k)
	return true
}

func (r *Role) parse() error {
	if len(r.Keys) > maxKeys {
		return malformed("a role has %d keys, %d are allowed", len(r.Keys), maxKeys)
	}
	for _, der := range r.Keys {
		key, err := parseDER(der)
		if err != nil {
			return malformed("a key of the trust root: %s", err)
		}
		r.add(key)
	}
	if r.Threshold < 1 || r.Threshold > len(r.keys) {
		return malformed("%d of %d keys can never agree", r.Threshold, len(r.keys))
	}
	return nil
}

// Raw is the root as it was signed.
func (r *Root) Raw() []byte { return r.raw }

// KeyIDs are the IDs of the keys of releases.
func (r *Root) KeyIDs() []string { return r.Roles.Release.IDs() }

// IDs are the IDs of a role's keys.
func (r *Role) IDs() []string {
	ids := make([]string, len(r.keys))
	for i, k := range r.keys {
		ids[i] = k.ID
	}
	return ids
}

func (r *Root) revokedKey(id string) bool { return slices.Contains(r.RevokedKeys, id) }

// SignedRoot is a root with its signatures, as a trust section lists them.
type SignedRoot struct {
	Root       Base64      `json:"root"`
	Signatures []Signature `json:"signatures"`
}

// EncodeTrust is the form of newer roots in a file, oldest first.
func EncodeTrust(roots []SignedRoot) ([]byte, error) {
	if len(roots) == 0 {
		return nil, nil
	}
	return json.Marshal(roots)
}

func parseTrust(section []byte) (list []SignedRoot, err error) {
	if len(section) == 0 {
		return nil, nil
	}
	if err := strict(section, &list); err != nil {
		return nil, malformed("the trust roots: %s", err)
	}
	if len(list) > maxRoots {
		return nil, malformed("there are %d trust roots, %d are allowed", len(list), maxRoots)
	}
	return list, nil
}

// follow walks from r to the newest root of a trust section, and returns those on
// the way. Roots that are older than r, or r itself, are passed over.
func (r *Root) follow(section []byte) (newer []*Root, err error) {
	list, err := parseTrust(section)
	if err != nil {
		return nil, err
	}
	at := r
	for _, s := range list {
		next, err := ParseRoot(s.Root)
		if err != nil {
			return nil, err
		}
		if next.Version <= at.Version {
			continue
		}
		if err := at.accept(next, s.Signatures); err != nil {
			return nil, err
		}
		newer, at = append(newer, next), next
	}
	return newer, nil
}

// accept says whether next may follow r.
func (r *Root) accept(next *Root, signatures []Signature) error {
	if next.Version != r.Version+1 {
		return refuse(BadSignature, "Install the releases in between first.", "this machine trusts version %d of the keys, and the file begins with %d", r.Version, next.Version)
	}
	text, err := EncodeSignatures(signatures)
	if err != nil {
		return err
	}
	for _, judge := range []*Root{r, next} {
		if _, err := judge.vouched(judge.Roles.Root, rootType, next.raw, text); err != nil {
			return refuse(BadSignature, signatureHint, "version %d of the keys is not signed as it has to be: %s", next.Version, err)
		}
	}
	return nil
}

// ParseSignedRoot reads a root with its signatures, which it does not check.
func ParseSignedRoot(text []byte) (s SignedRoot, err error) {
	if len(text) > maxTrust {
		return s, refuse(TooLarge, "", "the trust root is longer than %d bytes", maxTrust)
	}
	if err := strict(text, &s); err != nil {
		return s, malformed("the trust root: %s", err)
	}
	_, err = ParseRoot(s.Root)
	return s, err
}

// Follow says whether s may take the place of r, and returns it.
func (r *Root) Follow(s SignedRoot) (*Root, error) {
	next, err := ParseRoot(s.Root)
	if err != nil {
		return nil, err
	}
	return next, r.accept(next, s.Signatures)
}

// Encode is the form of a root that is signed.
func (r *Root) Encode() ([]byte, error) {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return nil, err
	}
	_, err = ParseRoot(text)
	return text, err
}
