package config

import (
	"fmt"
	"net/url"
	"strings"
)

// validate reports what is wrong with an engine, whose table is called name.
func (e Engine) validate(name string, report func(key, problem string)) {
	within := func(key string, n, lo, hi int) {
		if n < lo || n > hi {
			report(name+"."+key, fmt.Sprintf("%d is not between %d and %d", n, lo, hi))
		}
	}
	within("parallel", e.Parallel, 1, 64)
	within("queue", e.Queue, 0, 10000)
	within("context", e.Context, 512, 1<<20)
	if !plain(e.Model, 200) {
		report(name+".model", fmt.Sprintf("%q is not the name of a model, such as llama3.2:3b", e.Model))
	}
	names := map[string]bool{}
	for _, b := range e.BackEnds {
		key := name + ".back_end"
		switch {
		case !hostLabel(b.Name):
			report(key, fmt.Sprintf("the name %q is not made of a to z, 0 to 9 and hyphens", b.Name))
		case names[b.Name]:
			report(key, fmt.Sprintf("there are two of the name %q", b.Name))
		case b.Kind != KindOllama && b.Kind != KindOpenAI:
			report(key, fmt.Sprintf("the kind %q of %s is neither %q nor %q", b.Kind, b.Name, KindOllama, KindOpenAI))
		case !webURL(b.URL):
			report(key, fmt.Sprintf("the url %q of %s is not an http or https URL without user, query and fragment", b.URL, b.Name))
		case b.Key != "" && !hostLabel(b.Key):
			report(key, fmt.Sprintf("the key %q of %s is not the name of a credential: a to z, 0 to 9, hyphen", b.Key, b.Name))
		}
		names[b.Name] = true
	}
}

func (o Objects) validate(report func(key, problem string)) {
	if o.Endpoint != "" {
		if u, err := url.Parse(o.Endpoint); !webURL(o.Endpoint) || err != nil || strings.Trim(u.Path, "/") != "" {
			report("objects.endpoint", fmt.Sprintf("%q is not an http or https URL without a path", o.Endpoint))
		}
	}
	if !hostLabel(o.Region) {
		report("objects.region", fmt.Sprintf("%q is not a region such as us-east-1", o.Region))
	}
}

func (i Images) validate(report func(key, problem string)) {
	for _, image := range []struct{ key, reference string }{
		{"images.llm", i.LLM},
		{"images.n8n", i.N8N},
		{"images.minio", i.MinIO},
	} {
		if image.reference == "" || !plain(image.reference, 500) || !strings.Contains(image.reference, "/") {
			report(image.key, fmt.Sprintf("%q is not an image with its registry, such as docker.io/ollama/ollama:0.32.15", image.reference))
		}
	}
}

// plain says whether s is short, has no blanks, and cannot be taken for an option.
func plain(s string, limit int) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@+"
	return len(s) <= limit && !strings.HasPrefix(s, "-") && strings.Trim(s, letters) == ""
}

func webURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}
