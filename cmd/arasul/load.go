package main

import (
	"context"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/load"
)

// loader loads this machine.
type loader struct{}

func (loader) Run(ctx context.Context, llm, embeddings, workflows int, over time.Duration) []api.LoadResult {
	address := config.Defaults().Proxy.N8N
	if cfg, err := config.Load(config.Path); err == nil {
		address = cfg.Proxy.N8N
	}
	return load.Run(ctx, load.Options{
		LLM: llm, Embeddings: embeddings, Workflows: workflows, For: over,
		Gateway: aiAddress, Webhook: "http://" + address + "/webhook/arasul-self-test", Dashboard: dashboardSocket,
	})
}
