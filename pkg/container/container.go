// Package container decides how the applications are run as containers: from
// which image, with which arguments for podman, within which limits, and what is
// to be said when one cannot be run.
//
// An image is run by its ID, which stands in images.env, never by its name: a
// name can come to mean another image. Each container shares the network of the
// machine and listens on loopback only, because a network of its own needs kernel
// modules that the kernels of Jetsons lack; it runs as a user of ours without any
// capability, on a root file system that cannot be written to.
//
// It does not call podman, looks at nothing by itself, and does not know what the
// applications do.
package container

import (
	"slices"
	"time"

	"github.com/arasul/arasul/pkg/config"
)

// Application is a program that runs as a container.
type Application struct {
	Name     string // as in arasul-NAME.service, which is also the container's name
	Title    string // for people
	Variable string // the line of images.env that says what it runs
	User     string // whom it runs as
	GPU      bool   // it gets the GPUs
	Optional bool   // without its image nothing is missing
	Stop     time.Duration

	Reference func(config.Images) string // where its image comes from

	// Secrets are the credentials that it reads, as files in /run/secrets.
	Secrets []string
	// Data is the folder that it keeps its own in, and where it sees that.
	Data, DataAt string
	// Licence is what has to be accepted before its image is fetched.
	Licence string
}

// Unit is the name of its unit.
func (a Application) Unit() string { return "arasul-" + a.Name + ".service" }

// N8NLicence says in two sentences what the licence of n8n allows.
const N8NLicence = "n8n is under the Sustainable Use License: free for your own internal business purposes and for " +
	"non-commercial or personal use. To sell it to others, also as a part of a product, needs an agreement with n8n GmbH. " +
	"The text: https://github.com/n8n-io/n8n/blob/master/LICENSE.md"

// Applications are all of them, in the order of their start.
var Applications = []Application{
	{
		Name: "minio", Title: "object store", Variable: "MINIO", User: "arasul-minio", Stop: 30 * time.Second,
		Reference: func(i config.Images) string { return i.MinIO },
		Secrets:   []string{"minio-root-user", "minio-root-password"},
		Data:      "/var/lib/arasul/minio", DataAt: "/data",
	},
	{
		Name: "llm", Title: "language models", Variable: "LLM", User: "arasul-llm", GPU: true, Stop: 20 * time.Second,
		Reference: func(i config.Images) string { return i.LLM },
		Data:      "/var/lib/arasul/llm", DataAt: "/data",
	},
	{
		Name: "embeddings", Title: "embeddings", Variable: "LLM", User: "arasul-embeddings", GPU: true, Stop: 20 * time.Second,
		Reference: func(i config.Images) string { return i.LLM },
		Data:      "/var/lib/arasul/embeddings", DataAt: "/data",
	},
	{
		Name: "n8n", Title: "workflows", Variable: "N8N", User: "arasul-n8n", Stop: time.Minute,
		Reference: func(i config.Images) string { return i.N8N },
		Secrets:   []string{"n8n-encryption-key", "n8n-jwt-secret", "n8n-runners-token"},
		Data:      "/var/lib/arasul/n8n", DataAt: "/data",
		Licence: N8NLicence,
	},
}

// Called returns the application of a name.
func Called(name string) (Application, bool) {
	i := slices.IndexFunc(Applications, func(a Application) bool { return a.Name == name })
	if i < 0 {
		return Application{}, false
	}
	return Applications[i], true
}

// Names are the names of all applications, in the order of their start.
func Names() []string {
	names := make([]string, len(Applications))
	for i, a := range Applications {
		names[i] = a.Name
	}
	return names
}
