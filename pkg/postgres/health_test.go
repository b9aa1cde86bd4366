package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/arasul/arasul/migrations"
	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/postgres/postgrestest"
)

// Proves DB-1 in part: the limits are watched.
func TestHealthSaysHowTheDatabaseDoes(t *testing.T) {
	d := postgrestest.New(t, migrations.FS)
	db := d.Open(t, "arasul-dashboard")
	h, err := db.Health(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if h.Latency <= 0 || h.Version == "" || h.SizeBytes < 1<<20 || h.ConnectionsUsed < 1 || h.ConnectionsMax < h.ConnectionsUsed || h.MigrationVersion < 6 || h.OldestSampleDay != nil {
		t.Errorf("%+v", h)
	}
	at := time.Date(2026, 3, 1, 23, 59, 0, 0, time.UTC)
	if err := d.Open(t, "arasul-metrics").StoreSamples(t.Context(), []api.Sample{{Time: at, CPUCores: 1}, {Time: at.Add(time.Hour), CPUCores: 1}}); err != nil {
		t.Fatal(err)
	}
	if h, err = db.Health(t.Context()); err != nil || h.OldestSampleDay == nil || !h.OldestSampleDay.Equal(at.Truncate(24*time.Hour)) {
		t.Errorf("%v: the oldest day is %v", err, h.OldestSampleDay)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := db.Health(ctx); err == nil {
		t.Error("nobody was asked, and it is no error")
	}
}
