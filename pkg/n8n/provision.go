package n8n

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/arasul/arasul/pkg/atomicfile"
)

// Provision is what n8n is brought.
type Provision struct {
	Password    string // the owner's
	Credentials []Credential
	Templates   string // folder of workflows, as JSON
	State       string // file where it is kept what was brought before
}

// brought is what is kept. A credential is brought again when its data have
// changed here, and a template never.
type brought struct {
	Credentials map[string]string `json:"credentials"` // name: SHA-256 of its data
	Templates   []string          `json:"templates"`
}

// maxTemplate bounds a workflow's file.
const maxTemplate = 1 << 20

// Bring brings it all, and says what it did, a line each; nothing when there was
// nothing to do. It waits until n8n is ready, for as long as ctx allows.
func (c *Client) Bring(ctx context.Context, p Provision) (did []string, err error) {
	if err := c.Wait(ctx); err != nil {
		return nil, err
	}
	if err := c.SignIn(ctx, p.Password); err != nil {
		return nil, err
	}
	known, err := readBrought(p.State)
	if err != nil {
		return nil, err
	}
	for _, k := range p.Credentials {
		text, err := json.Marshal(k)
		if err != nil {
			return did, err
		}
		sum := sha256.Sum256(text)
		digest := hex.EncodeToString(sum[:])
		if known.Credentials[k.Name] == digest {
			continue
		}
		if _, err := c.PutCredential(ctx, k); err != nil {
			return did, err
		}
		known.Credentials[k.Name] = digest
		did = append(did, "credential "+k.Name)
	}
	more, err := c.bringTemplates(ctx, p, known)
	did = append(did, more...)
	if err != nil || len(did) == 0 {
		return did, err
	}
	text, err := json.MarshalIndent(known, "", "\t")
	if err != nil {
		return did, err
	}
	return did, atomicfile.Write(p.State, append(text, '\n'), 0o600)
}

func readBrought(path string) (*brought, error) {
	known := &brought{Credentials: map[string]string{}}
	data, err := os.ReadFile(path) //nolint:gosec // a path of ours
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return known, nil
	case err != nil:
		return nil, err
	}
	if err := json.Unmarshal(data, known); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if known.Credentials == nil {
		known.Credentials = map[string]string{}
	}
	return known, nil
}

func (c *Client) bringTemplates(ctx context.Context, p Provision, known *brought) (did []string, err error) {
	files, err := filepath.Glob(filepath.Join(p.Templates, "*.json"))
	if err != nil {
		return nil, err
	}
	var there, ids map[string]string
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if slices.Contains(known.Templates, name) {
			continue
		}
		if there == nil {
			if there, err = c.Workflows(ctx); err != nil {
				return did, err
			}
			if ids, err = c.credentialIDs(ctx); err != nil {
				return did, err
			}
		}
		workflow, err := readTemplate(file, ids)
		if err != nil {
			return did, err
		}
		title, _ := workflow["name"].(string)
		if there[title] == "" {
			if err := c.MakeWorkflow(ctx, workflow); err != nil {
				return did, fmt.Errorf("bringing the workflow %s: %w", title, err)
			}
			did = append(did, "workflow "+title)
		}
		known.Templates = append(known.Templates, name)
	}
	return did, nil
}

func (c *Client) credentialIDs(ctx context.Context) (map[string]string, error) {
	var all []named
	if err := c.call(ctx, "GET", "/rest/credentials", nil, &all); err != nil {
		return nil, fmt.Errorf("reading n8n's credentials: %w", err)
	}
	ids := map[string]string{}
	for _, k := range all {
		ids[k.Name] = k.ID
	}
	return ids, nil
}

// readTemplate reads a workflow and puts the ids of this n8n's credentials into it.
func readTemplate(file string, ids map[string]string) (map[string]any, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxTemplate {
		return nil, fmt.Errorf("%s: %d bytes, the limit is %d", file, info.Size(), maxTemplate)
	}
	data, err := os.ReadFile(file) //nolint:gosec // of the folder that was named
	if err != nil {
		return nil, err
	}
	var workflow map[string]any
	if err := json.Unmarshal(data, &workflow); err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	nodes, _ := workflow["nodes"].([]any)
	for _, n := range nodes {
		node, _ := n.(map[string]any)
		used, _ := node["credentials"].(map[string]any)
		for _, v := range used {
			if k, ok := v.(map[string]any); ok {
				name, _ := k["name"].(string)
				k["id"] = ids[name]
			}
		}
	}
	return workflow, nil
}
