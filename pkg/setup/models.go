package setup

import (
	"slices"

	"github.com/arasul/arasul/pkg/api"
)

// model is one that Ollama's library has. Any other name may be given, too.
type model struct {
	name string
	size int64 // bytes to fetch, as the library states them, rounded
}

// The catalogue is short on purpose: each is a common choice for its size. Better
// ones are larger; smallest first.
var (
	chatModels = []model{
		{"llama3.2:1b", 1_300_000_000},
		{"llama3.2:3b", 2_000_000_000},
		{"qwen3:4b", 2_500_000_000},
		{"gemma3:4b", 3_300_000_000},
		{"llama3.1:8b", 4_900_000_000},
		{"qwen3:8b", 5_200_000_000},
		{"gemma3:12b", 8_100_000_000},
		{"phi4:14b", 9_100_000_000},
		{"gpt-oss:20b", 14_000_000_000},
		{"gemma3:27b", 17_000_000_000},
		{"qwen3:32b", 20_000_000_000},
	}
	embeddingModels = []model{
		{"all-minilm", 46_000_000},
		{"nomic-embed-text", 274_000_000},
		{"mxbai-embed-large", 670_000_000},
		{"bge-m3", 1_200_000_000},
	}
)

// What a model takes while it is loaded is its weights, a tenth for what goes
// with them, and the memory of 8192 tokens of context, which grows with the
// model: a rule of thumb, meant to be a little too high.
func (m model) memory() int64 {
	context := int64(300_000_000) + m.size/8
	if m.size < 1_250_000_000 { // embeddings keep little context
		context = 100_000_000
	}
	return m.size + m.size/10 + context
}

const (
	// The most that models may take of the memory (spec PKG-5), and the share of a
	// smaller machine's.
	maxLLM, maxEmbeddings     = 32 << 30, 8 << 30
	shareLLM, shareEmbeddings = 0.6, 0.2

	spare = 5_000_000_000 // bytes of the disk that stay free after fetching
)

// Choices are what can be answered on this machine: models that fit first, the
// largest of them on top, since it answers best.
func Choices(m Machine) api.Choices {
	interfaces := m.Interfaces
	if interfaces == nil {
		interfaces = []api.Interface{}
	}
	return api.Choices{
		Interfaces:      interfaces,
		LLMModels:       choices(chatModels, m, min(maxLLM, int64(float64(m.MemoryBytes)*shareLLM))),
		EmbeddingModels: choices(embeddingModels, m, min(maxEmbeddings, int64(float64(m.MemoryBytes)*shareEmbeddings))),
	}
}

func choices(all []model, m Machine, memory int64) []api.ModelChoice {
	list := []api.ModelChoice{}
	for _, one := range all {
		c := api.ModelChoice{Name: one.name, SizeBytes: one.size, MemoryBytes: one.memory(), Installed: slices.Contains(m.Installed, one.name)}
		room := c.Installed || m.FreeBytes == 0 || m.FreeBytes >= uint64(one.size+spare) //nolint:gosec // sizes of ours
		c.Fits = room && (m.MemoryBytes == 0 || c.MemoryBytes <= memory)
		list = append(list, c)
	}
	slices.SortStableFunc(list, func(a, b api.ModelChoice) int {
		switch {
		case a.Fits && !b.Fits:
			return -1
		case !a.Fits && b.Fits:
			return 1
		case a.Fits:
			return int(b.SizeBytes/1000 - a.SizeBytes/1000)
		}
		return int(a.SizeBytes/1000 - b.SizeBytes/1000)
	})
	return list
}

// Suggest is the model of a list that is taken when nobody chose: on a machine
// without GPU a small one, which answers in time; empty when none fits.
func Suggest(list []api.ModelChoice, gpu bool) string {
	const small = 3_500_000_000 // bytes
	for _, c := range list {
		if c.Fits && (gpu || c.SizeBytes <= small) {
			return c.Name
		}
	}
	return ""
}
