package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/atomicfile"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/setup"
)

// SetupFiles are where setting up leaves its traces.
type SetupFiles struct {
	Request string   // what the page asks for; root takes it from there
	Reports []string // of bootstrap, the newest first
	Config  func() (*config.Config, error)
}

func (d *Dashboard) setupOperations(a huma.API) {
	get(a, "setup-status", "setup", "/api/setup", "How far the appliance has come on its way to being ready", d.setUp, 401, 503)
	huma.Register(a, huma.Operation{
		OperationID: "setup-answer", Method: http.MethodPost, Path: "/api/setup", Tags: []string{"setup"},
		Summary: "Answer what only the owner can, and bring the appliance up", DefaultStatus: http.StatusAccepted,
		Description: "What is empty stays as it is. The answers are taken over by root within a moment; how far that and all that follows has come is in GET /api/setup.",
		Errors:      []int{401, 409, 422, 503}, MaxBodyBytes: 16 << 10,
	}, d.answerSetup)
	huma.Register(a, huma.Operation{
		OperationID: "setup-bootstrap", Method: http.MethodPost, Path: "/api/setup/bootstrap", Tags: []string{"setup"},
		Summary: "Look at everything again, and bring up what is missing", DefaultStatus: http.StatusAccepted,
		Errors: []int{401, 409, 503}, MaxBodyBytes: 1 << 10,
	}, func(ctx context.Context, _ *struct{}) (*answer[api.Setup], error) {
		return d.request(ctx, api.Answers{})
	})
}

func (d *Dashboard) setUp(ctx context.Context, _ *struct{}) (*answer[api.Setup], error) {
	s := api.Setup{Time: time.Now().UTC()}
	if d.opts.Setup.Config == nil {
		return nil, huma.Error503ServiceUnavailable("This machine cannot be set up here.")
	}
	cfg, err := d.opts.Setup.Config()
	if err != nil {
		d.opts.Log.Warn("configuration unread", "err", err)
	}
	s.Answers = setup.Current(cfg)
	s.Choices = setup.Choices(d.machine(ctx))
	s.Report = d.report()
	s.Done = s.Report != nil && (s.Report.State == "ok" || s.Report.State == "warning")
	return &answer[api.Setup]{s}, nil
}

// report is the newest of bootstrap; nil when it never ran.
func (d *Dashboard) report() *api.Report {
	for _, path := range d.opts.Setup.Reports {
		var r api.Report
		switch err := readState(path, &r); {
		case err == nil:
			return &r
		case !errors.Is(err, fs.ErrNotExist):
			d.opts.Log.Warn("report of bootstrap unread", "err", err)
		}
	}
	return nil
}

// machine is what answers are judged by, as far as we know it.
func (d *Dashboard) machine(ctx context.Context) setup.Machine {
	var m setup.Machine
	d.mu.Lock()
	if s := d.seen.Sample; s != nil {
		m.MemoryBytes = s.MemoryTotalBytes
		m.FreeBytes = s.DiskTotalBytes - min(s.DiskUsedBytes, s.DiskTotalBytes)
	}
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	var n api.Network
	if d.opts.Network != nil && d.opts.Network.GetJSON(ctx, "/network", &n) == nil {
		m.Interfaces = n.Interfaces
	}
	var all ModelList
	if d.opts.Gateway != nil && d.opts.Gateway.GetJSON(ctx, "/models", &all) == nil {
		for _, i := range all.Models {
			m.Installed = append(m.Installed, i.Name)
		}
	}
	return m
}

type answersInput struct{ Body api.Answers }

func (d *Dashboard) answerSetup(ctx context.Context, in *answersInput) (*answer[api.Setup], error) {
	problems := setup.Check(in.Body, d.machine(ctx))
	if len(problems) == 0 {
		return d.request(ctx, in.Body)
	}
	p := problemOf(http.StatusUnprocessableEntity, "answers", "Not all answers can be.")
	for _, one := range problems {
		p.Errors = append(p.Errors, &huma.ErrorDetail{Message: one.Text, Location: "body." + one.Field})
	}
	return nil, p
}

// request leaves answers where root takes them from. They may hold a secret, so the
// file is ours alone, and gone in a moment.
func (d *Dashboard) request(ctx context.Context, a api.Answers) (*answer[api.Setup], error) {
	if d.opts.Setup.Request == "" {
		return nil, huma.Error503ServiceUnavailable("This machine cannot be set up here.")
	}
	if r := d.report(); r != nil && r.State == "running" && time.Since(r.Started.Add(time.Duration(r.Seconds*float64(time.Second)))) < time.Minute {
		return nil, problemOf(http.StatusConflict, "running", "It is being set up right now.")
	}
	text, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	if err := atomicfile.Write(d.opts.Setup.Request, text, 0o600); err != nil {
		d.opts.Log.Error("answers not left", "err", err)
		d.audit(ctx, "setup.answer", "", api.ResultFailed, "the answers could not be written")
		return nil, huma.Error503ServiceUnavailable("The answers could not be written: the disk may be full.")
	}
	d.audit(ctx, "setup.answer", "", api.ResultSuccess, "")
	return d.setUp(ctx, nil)
}
