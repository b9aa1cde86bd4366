package bootstrap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// Images are the container images of the applications.
type Images interface {
	Images(ctx context.Context) (api.Images, error)
	// Fetch brings the image of an application onto this machine, and checks it.
	Fetch(ctx context.Context, name string, say Progress) error
}

// Storage is the object store.
type Storage interface {
	// Check lists the buckets and says which are missing or cannot be used.
	Check(ctx context.Context) (detail string, err error)
	Provision(ctx context.Context) error // makes what is missing
}

// Workflows is n8n, from outside.
type Workflows interface {
	// Check says whether owner, credentials and templates are there.
	Check(ctx context.Context) (detail string, err error)
	Provision(ctx context.Context) error
	// Test runs a workflow and says what it gave back.
	Test(ctx context.Context) (detail string, err error)
}

// Apps are the applications, which run in containers.
type Apps struct {
	Units     Units
	Images    Images
	Storage   Storage
	Workflows Workflows
	AI        Door // the gateway
	GPU       GPU

	// By the configuration.
	Licence         bool // n8n's was accepted
	StorageHere     bool // and not another server of S3
	LLMOnly         bool // no other back end answers than this machine's own
	EmbeddingsOnly  bool
	LLMModel        Model
	EmbeddingsModel Model
}

// Model is one that has to be there.
type Model struct {
	Name    string // by the configuration; empty: any will do
	Suggest string // what is fetched when there is none, since it fits this machine
}

// The applications, as arasul images calls them.
const (
	appMinIO = "minio"
	appLLM   = "llm"
	appN8N   = "n8n"
)

// fetchWithin is how long an image or a model may take: 8 GB at 3 Mbit/s.
const fetchWithin = 6 * time.Hour

// Steps bring the applications up, in the order of their start.
func (a Apps) Steps() []Step {
	steps := []Step{
		a.image(appMinIO, "Image of the object store", func() Finding {
			if a.StorageHere {
				return Finding{}
			}
			return NotHere("objects are kept on another server, by [objects] endpoint")
		}),
		a.image(appLLM, "Image of the model server", func() Finding { return Finding{} }),
		a.image(appN8N, "Image of n8n", a.licensed),
	}
	steps = append(steps, a.GPU.steps()...)
	return append(steps,
		a.app("object-store", "Object store", "arasul-minio.service", "image-minio", a.StorageHere),
		a.buckets(),
		a.app("llm", "Language models", "arasul-llm.service", "image-llm", true, "gpu-container"),
		a.app("embeddings", "Embeddings", "arasul-embeddings.service", "image-llm", true, "gpu-container"),
		a.gateway(),
		a.model("model-llm", "Language model", kindChat, a.LLMModel),
		a.model("model-embeddings", "Embedding model", kindEmbedding, a.EmbeddingsModel),
		a.app("n8n", "n8n", "arasul-n8n.service", "image-n8n", true, "database"),
		a.provision(),
	)
}

func (a Apps) licensed() Finding {
	if a.Licence {
		return Finding{}
	}
	return Finding{
		Outcome: Declined, Detail: "n8n is not used: its licence was not accepted",
		Suggestion: "Read https://docs.n8n.io/sustainable-use-license/; to accept it: arasul setup --accept-n8n-licence, or on the page.",
	}
}

// image is the step for one image. Unless says when there is nothing to do; a
// finding without a detail is none.
func (a Apps) image(name, title string, unless func() Finding) Step {
	return Step{
		ID: "image-" + name, Title: title, Needs: []string{"podman", "disk"}, FixWithin: fetchWithin,
		Check: func(ctx context.Context) Finding {
			if f := unless(); f.Detail != "" {
				return f
			}
			return a.present(ctx, name)
		},
		Fix: func(ctx context.Context, say Progress) error {
			err := a.Images.Fetch(ctx, name, say)
			return Advise(err, suggested(err, withoutNetwork(name)))
		},
	}
}

func withoutNetwork(name string) string {
	return fmt.Sprintf("With the internet: arasul images pull %[1]s. Without: on another machine, podman save --format oci-archive -o %[1]s.oci IMAGE; then here: arasul images load %[1]s.oci --as %[1]s", name)
}

func (a Apps) present(ctx context.Context, name string) Finding {
	all, err := a.Images.Images(ctx)
	if err != nil {
		return Failed(err, "arasul images list")
	}
	i := slices.IndexFunc(all.Images, func(i api.Image) bool { return i.Name == name })
	if i < 0 {
		return Bad("it is not among the images", "arasul images list")
	}
	switch image := all.Images[i]; {
	case image.Present && image.Reason == "":
		return OK("%s", image.Reference)
	default:
		return Bad(cmp.Or(image.Reason, image.Reference+" is not on this machine"), cmp.Or(image.Fix, withoutNetwork(name)))
	}
}

// app is the step for a unit that runs an application.
func (a Apps) app(id, title, unit, image string, here bool, needs ...string) Step {
	return Step{
		ID: id, Title: title, Needs: append([]string{image}, needs...), CheckWithin: time.Minute, FixWithin: 6 * time.Minute,
		Check: func(ctx context.Context) Finding {
			if !here {
				return NotHere("another server does this")
			}
			return running(ctx, a.Units, unit)
		},
		Fix: func(ctx context.Context, say Progress) error {
			say("starting "+unit, 0, 0)
			if err := a.Units.Start(ctx, unit); err != nil {
				return Advise(err, "journalctl -u "+unit+" -n 50 says why it does not run")
			}
			return a.awake(ctx, id)
		},
	}
}

// awake waits until the gateway has seen an engine that was started: its models are
// asked for next.
func (a Apps) awake(ctx context.Context, engine string) error {
	if engine != "llm" && engine != "embeddings" {
		return nil
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for range 60 {
		var s api.AI
		if a.AI.Call(ctx, http.MethodGet, "/status", nil, &s) == nil {
			back := map[string][]api.BackEnd{"llm": s.LLM.BackEnds, "embeddings": s.Embeddings.BackEnds}[engine]
			if slices.ContainsFunc(back, func(b api.BackEnd) bool { return b.Status == api.Up || b.Status == api.Degraded }) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return errors.New("it was started, and does not answer")
}

func (a Apps) buckets() Step {
	return Step{
		ID: "buckets", Title: "Buckets", Needs: []string{"object-store", "secrets"},
		Check: func(ctx context.Context) Finding {
			detail, err := a.Storage.Check(ctx)
			if err != nil {
				return Failed(err, "arasul objects provision; journalctl -u arasul-buckets -n 50")
			}
			return OK("%s", detail)
		},
		Fix: func(ctx context.Context, _ Progress) error { return a.Storage.Provision(ctx) },
	}
}

const unitGateway = "arasul-ai.service"

func (a Apps) gateway() Step {
	return Step{
		ID: "gateway", Title: "Way to the models", Needs: []string{"daemons"},
		Check: func(ctx context.Context) Finding { return running(ctx, a.Units, unitGateway) },
		Fix:   func(ctx context.Context, _ Progress) error { return a.Units.Start(ctx, unitGateway) },
	}
}

func (a Apps) provision() Step {
	return Step{
		ID: "workflows", Title: "Workflows", Needs: []string{"n8n", "secrets"}, CheckWithin: 2 * time.Minute, FixWithin: 6 * time.Minute,
		Check: func(ctx context.Context) Finding {
			detail, err := a.Workflows.Check(ctx)
			if err != nil {
				return Failed(err, "arasul workflows provision; journalctl -u arasul-n8n-provision -n 50")
			}
			return OK("%s", detail)
		},
		Fix: func(ctx context.Context, say Progress) error {
			say("waiting for n8n", 0, 0)
			return a.Workflows.Provision(ctx)
		},
	}
}

// GPU gives containers the GPU.
type GPU struct {
	Present bool // there is an NVIDIA GPU
	Modern  bool // podman knows CDI (4.1 and newer); older ones use NVIDIA's runtime

	Toolkit func() string                                              // version of nvidia-ctk; empty: none
	Install func(ctx context.Context, name string, say Progress) error // a package
	Spec    func() bool                                                // our CDI specification is there
	Write   func(context.Context) error                                // it
	Test    func(ctx context.Context) (devices string, err error)      // a container that looks for the GPU
}

const toolkit = "nvidia-container-toolkit"

// steps prove spec BOOT-3. Models run on the processor without: no machine is
// worse off than a machine without GPU.
func (g GPU) steps() []Step {
	unless := func(look func(context.Context) Finding) func(context.Context) Finding {
		return func(ctx context.Context) Finding {
			if !g.Present {
				return NotHere("there is no NVIDIA GPU")
			}
			return look(ctx)
		}
	}
	return []Step{
		{
			ID: "gpu-toolkit", Title: "NVIDIA container toolkit", FixWithin: 15 * time.Minute,
			Check: unless(func(context.Context) Finding {
				if v := g.Toolkit(); v != "" {
					return OK("%s", v)
				}
				return Bad("it is not installed, so containers do not see the GPU", "On a Jetson: apt install nvidia-container. Elsewhere add NVIDIA's repository (https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/), then: apt install "+toolkit)
			}),
			Fix: func(ctx context.Context, say Progress) error { return g.Install(ctx, toolkit, say) },
		},
		{
			ID: "gpu-cdi", Title: "GPU for containers", Needs: []string{"gpu-toolkit", "podman"},
			Check: unless(func(context.Context) Finding {
				switch {
				case !g.Modern:
					return OK("by NVIDIA's runtime, since this podman is older than 4.1")
				case g.Spec():
					return OK("by CDI")
				}
				return Bad("the GPU is not described for containers (CDI)", "systemctl restart arasul-cdi; journalctl -u arasul-cdi -n 50")
			}),
			Fix: func(ctx context.Context, _ Progress) error { return g.Write(ctx) },
		},
		{
			ID: "gpu-container", Title: "GPU in a container", Needs: []string{"gpu-cdi", "image-llm"}, CheckWithin: 2 * time.Minute,
			Check: unless(func(ctx context.Context) Finding {
				devices, err := g.Test(ctx)
				if err != nil {
					return Failed(err, "systemctl restart arasul-cdi; after a new driver: reboot; nvidia-ctk cdi list")
				}
				return OK("%s", devices)
			}),
		},
	}
}

// errNoName says that it is not known which model to fetch.
var errNoName = errors.New("no model was chosen, and none fits this machine")
