package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/certs"
	"github.com/arasul/arasul/pkg/config"
)

// certificates are what lies in a folder: what the signer does, and what there
// is afterwards.
type certificates struct{ dir string }

func (certificates) AsSigner() (int, bool, error) { return 0, false, nil }

func (c certificates) Issue(cfg *config.Config, sure bool, force certs.Force) (did certs.Issued, err error) {
	if err := readJSON(filepath.Join(c.dir, "issued.json"), &did); err != nil {
		return did, fmt.Errorf("opening the root's place: %w", os.ErrPermission)
	}
	switch {
	case !sure:
		did.Leaf = "unsure of the names"
	case force == certs.Leaf:
		did.Leaf = "it was asked for"
	case force == certs.Root:
		did.Root, did.Leaf = "it was asked for", "the root is new"
	}
	did.Names = append([]string{cfg.MDNS.Name + ".local"}, did.Names...)
	return did, nil
}

func (c certificates) Show(string) (said api.Certificates) {
	_ = readJSON(filepath.Join(c.dir, "shown.json"), &said)
	return said
}

func (c certificates) CA() ([]byte, error) { return os.ReadFile(filepath.Join(c.dir, "ca.crt")) }
